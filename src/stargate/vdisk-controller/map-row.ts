/**
 * One vBlock's row of the map: which page of which extent group holds each of its 256 pages. Little-endian.
 *
 *   0         2        4         8                         8 + 16 g                  8 + 16 g + 6 r
 *   ┌─────────┬────────┬─────────┬──── ─ ─ ────────────────┬──── ─ ─ ────────────────┐
 *   │ version │ groups │ runs    │ groups × 16 bytes:      │ runs × 6 bytes:         │
 *   │ u16     │ g u16  │ r u32   │ vdisk u64, epoch u32,   │ page u8, count - 1 u8,  │
 *   │         │        │         │ counter u32             │ group u16, at u16       │
 *   └─────────┴────────┴─────────┴──── ─ ─ ────────────────┴──── ─ ─ ────────────────┘
 *
 * A page in no run is a hole. `group` is a place in the row's own list, or `badGroup`: every copy of its base was read
 * and failed, and reads fail until it is overwritten (F9). Groups stand once however often they are named, so a row
 * that 256 random writes made takes 256 × 6 bytes and its groups, not 256 × 22.
 */
import { assert } from '../../base/assert.ts'
import { NdfsError } from '../../base/errors.ts'
import { type Epoch, groupIdOf, type GroupId, partsOfGroupId, type VDiskId } from '../../base/ids.ts'
import { pagesPerVBlock } from '../../base/units.ts'
import type { GroupHandle } from '../extent-cache/extent-cache.ts'

const mapRowVersion = 1
const headerBytes = 8
const groupBytes = 16
const runBytes = 6
const badGroup = 0xffff

/** No bytes are stored: it reads as zeros. */
export const hole: GroupHandle = 0
/** Reads fail until it is overwritten. */
export const bad: GroupHandle = 0xffff_ffff

/** The map of one vBlock in memory: for each page its group's handle (or `hole`, `bad`) and the page in the group. */
export interface VBlock {
  readonly groups: Uint32Array
  readonly pages: Uint16Array
}

export const emptyVBlock = (): VBlock => ({
  groups: new Uint32Array(pagesPerVBlock),
  pages: new Uint16Array(pagesPerVBlock),
})

export const copyOfVBlock = (block: VBlock): VBlock => ({
  groups: block.groups.slice(),
  pages: block.pages.slice(),
})

export function encodeVBlock(block: VBlock, idOf: (handle: GroupHandle) => GroupId): Buffer {
  const places = new Map<GroupHandle, number>()
  const runs: number[] = []
  for (let page = 0; page < pagesPerVBlock;) {
    const group = block.groups[page]
    let count = 1
    while (
      page + count < pagesPerVBlock &&
      block.groups[page + count] === group &&
      (group === hole || group === bad || block.pages[page + count] === block.pages[page] + count)
    )
      count++
    if (group !== hole) {
      if (group !== bad && !places.has(group)) places.set(group, places.size)
      runs.push(
        page,
        count - 1,
        group === bad ? badGroup : places.get(group)!,
        group === bad ? 0 : block.pages[page],
      )
    }
    page += count
  }
  const bytes = Buffer.alloc(headerBytes + places.size * groupBytes + (runs.length / 4) * runBytes)
  bytes.writeUInt16LE(mapRowVersion, 0)
  bytes.writeUInt16LE(places.size, 2)
  bytes.writeUInt32LE(runs.length / 4, 4)
  let at = headerBytes
  for (const handle of places.keys()) {
    const { vdisk, epoch, counter } = partsOfGroupId(idOf(handle))
    bytes.writeBigUInt64LE(BigInt(vdisk), at)
    bytes.writeUInt32LE(epoch, at + 8)
    bytes.writeUInt32LE(counter, at + 12)
    at += groupBytes
  }
  for (let run = 0; run < runs.length; run += 4) {
    bytes.writeUInt8(runs[run], at)
    bytes.writeUInt8(runs[run + 1], at + 1)
    bytes.writeUInt16LE(runs[run + 2], at + 2)
    bytes.writeUInt16LE(runs[run + 3], at + 4)
    at += runBytes
  }
  assert(at === bytes.length, 'a map row is as long as its parts')
  return bytes
}

export function decodeVBlock(bytes: Buffer, handleOf: (id: GroupId) => GroupHandle): VBlock {
  if (bytes.length < headerBytes)
    throw new NdfsError('DAMAGED_METADATA', `Cannot read a map row of ${bytes.length} bytes`)
  const version = bytes.readUInt16LE(0)
  const groupCount = bytes.readUInt16LE(2)
  const runCount = bytes.readUInt32LE(4)
  if (
    version !== mapRowVersion ||
    bytes.length !== headerBytes + groupCount * groupBytes + runCount * runBytes
  )
    throw new NdfsError(
      'DAMAGED_METADATA',
      `Cannot read a map row of version ${version} and ${bytes.length} bytes`,
      {
        version,
        groupCount,
        runCount,
      },
    )
  const handles: GroupHandle[] = []
  let at = headerBytes
  for (let i = 0; i < groupCount; i++, at += groupBytes)
    handles.push(
      handleOf(
        groupIdOf(
          Number(bytes.readBigUInt64LE(at)) as VDiskId,
          bytes.readUInt32LE(at + 8) as Epoch,
          bytes.readUInt32LE(at + 12),
        ),
      ),
    )
  const block = emptyVBlock()
  for (let i = 0; i < runCount; i++, at += runBytes) {
    const page = bytes.readUInt8(at)
    const count = bytes.readUInt8(at + 1) + 1
    const group = bytes.readUInt16LE(at + 2)
    const first = bytes.readUInt16LE(at + 4)
    if (page + count > pagesPerVBlock || (group !== badGroup && group >= groupCount))
      throw new NdfsError(
        'DAMAGED_METADATA',
        'Cannot read a map row: a run leaves its vBlock or names no group',
        { page, count, group },
      )
    for (let k = 0; k < count; k++) {
      block.groups[page + k] = group === badGroup ? bad : handles[group]
      block.pages[page + k] = group === badGroup ? 0 : first + k
    }
  }
  return block
}
