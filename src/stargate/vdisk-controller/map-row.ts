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
import { NdfsError } from '../../base/errors.ts'
import { type Epoch, groupIdOf, type GroupId, partOfGroupId, type VDiskId } from '../../base/ids.ts'
import { putUint64 } from '../../base/uint64.ts'
import { pagesPerVBlock } from '../../base/units.ts'
import type { GroupHandle } from '../extent-cache/extent-cache.ts'

const mapRowVersion = 1
const headerBytes = 8
/** A group's id in a row, and a run of pages. */
export const groupIdBytes = 16
export const runBytes = 6
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

/** What rows are put together in, one at a time: thousands are encoded in each drain, and what they left would be collected. */
const groupScratch = Buffer.alloc(pagesPerVBlock * groupIdBytes)
const runScratch = Buffer.alloc(pagesPerVBlock * runBytes)
const places = { handles: new Uint32Array(4 * pagesPerVBlock), places: new Uint16Array(4 * pagesPerVBlock) }

/** The row, behind `front` bytes that are the caller's to fill. */
export function encodeVBlock(block: VBlock, idOf: (handle: GroupHandle) => GroupId, front = 0): Buffer {
  const { groups, pages } = block
  places.handles.fill(hole)
  let groupCount = 0
  let runsEnd = 0
  for (let page = 0, past: number; page < pagesPerVBlock; page = past) {
    const group = groups[page]
    const isNowhere = group === hole || group === bad
    for (past = page + 1; past < pagesPerVBlock && groups[past] === group; past++)
      if (!isNowhere && pages[past] !== pages[page] + past - page) break
    if (group === hole) continue
    let place = badGroup
    if (group !== bad) {
      const slot = slotOf(group)
      if (places.handles[slot] === hole) {
        places.handles[slot] = group
        places.places[slot] = groupCount
        putGroupId(groupScratch, idOf(group), groupCount++ * groupIdBytes)
      }
      place = places.places[slot]
    }
    runScratch[runsEnd] = page
    runScratch[runsEnd + 1] = past - page - 1
    runScratch.writeUInt16LE(place, runsEnd + 2)
    runScratch.writeUInt16LE(group === bad ? 0 : pages[page], runsEnd + 4)
    runsEnd += runBytes
  }
  const runsAt = front + headerBytes + groupCount * groupIdBytes
  const bytes = Buffer.allocUnsafe(runsAt + runsEnd)
  bytes.writeUInt16LE(mapRowVersion, front)
  bytes.writeUInt16LE(groupCount, front + 2)
  bytes.writeUInt32LE(runsEnd / runBytes, front + 4)
  groupScratch.copy(bytes, front + headerBytes, 0, groupCount * groupIdBytes)
  runScratch.copy(bytes, runsAt, 0, runsEnd)
  return bytes
}

/** Where the group stands among those of this row, or an empty slot: of four for each group that a row can name. */
function slotOf(group: GroupHandle): number {
  const { handles } = places
  for (let slot = Math.imul(group, 0x9e37_79b1) >>> 0; ; slot++) {
    const found = handles[slot % handles.length]
    if (found === group || found === hole) return slot % handles.length
  }
}

export function putGroupId(target: Buffer, id: GroupId, at: number): void {
  putUint64(target, partOfGroupId(id, 0), at)
  target.writeUInt32LE(partOfGroupId(id, 1), at + 8)
  target.writeUInt32LE(partOfGroupId(id, 2), at + 12)
}

export const groupIdAt = (bytes: Buffer, at: number): GroupId =>
  groupIdOf(
    Number(bytes.readBigUInt64LE(at)) as VDiskId,
    bytes.readUInt32LE(at + 8) as Epoch,
    bytes.readUInt32LE(at + 12),
  )

export function decodeVBlock(bytes: Buffer, handleOf: (id: GroupId) => GroupHandle): VBlock {
  if (bytes.length < headerBytes)
    throw new NdfsError('DAMAGED_METADATA', `Cannot read a map row of ${bytes.length} bytes`)
  const version = bytes.readUInt16LE(0)
  const groupCount = bytes.readUInt16LE(2)
  const runCount = bytes.readUInt32LE(4)
  if (
    version !== mapRowVersion ||
    bytes.length !== headerBytes + groupCount * groupIdBytes + runCount * runBytes
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
  for (let i = 0; i < groupCount; i++, at += groupIdBytes) handles.push(handleOf(groupIdAt(bytes, at)))
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

/** The version of its vBlock, in front of it. */
const versionBytes = 4

/** A vBlock's own row in its partition: the vBlock as it was in one version. */
export function encodeOwnRow(block: VBlock, version: number, idOf: (handle: GroupHandle) => GroupId): Buffer {
  const bytes = encodeVBlock(block, idOf, versionBytes)
  bytes.writeUInt32LE(version)
  return bytes
}

/** Of a vBlock that has none: empty, in version 0. */
export function decodeOwnRow(
  value: Buffer | undefined,
  handleOf: (id: GroupId) => GroupHandle,
): { readonly block: VBlock; readonly version: number } {
  if (value === undefined) return { block: emptyVBlock(), version: 0 }
  const block = decodeVBlock(value.subarray(versionBytes), handleOf)
  return { block, version: value.readUInt32LE(0) }
}
