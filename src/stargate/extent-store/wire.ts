/**
 * What one extent store asks of another: `extents.write`, `.read`, `.finish`, `.remove`, `.inventory`. Little-endian.
 *
 *   0           1            2                    3          4              8      12       16               20
 *   ┌───────────┬────────────┬────────────────────┬──────────┬──────────────┬──────┬────────┬────────────────┬──
 *   │ disk's    │ group's    │ incarnation's      │ purpose  │ copy number  │ at   │ count  │ trailer's      │
 *   │ length    │ length     │ length             │          │              │      │        │ length         │
 *   └───────────┴────────────┴────────────────────┴──────────┴──────────────┴──────┴────────┴────────────────┴──
 *   20          24      28
 *   ┬───────────┬───────┬──────┬───────┬─────────────┬─ ─ ─ ─ ─ ─ ─ ─ ─ ─┬─ ─ ─ ─┬─ ─ ─ ─ ─┐
 *   │ pages max │ epoch │ disk │ group │ incarnation │ checksum (4)      │ pages │ trailer │
 *   ┴───────────┴───────┴──────┴───────┴─────────────┴─ ─ ─ ─ ─ ─ ─ ─ ─ ─┴─ ─ ─ ─┴─ ─ ─ ─ ─┘
 *                                                      one per page; only with pages, which only `write` has
 *
 * Pages begin at a multiple of 4096, behind zeroes: so they lie in memory as direct writes ask for (see large-buffers.ts).
 *
 * purpose: 0 guest, 1 maintenance. `at` and `count` are pages; `pages max`: what a new file is made for; of an inventory, `at` is the hash folder and there is no
 * group. The peer protocol's handshake carries the version. The answer to a read is its pages; an inventory's is in the
 * encoding of control messages; the others' are empty.
 */
import { NdfsError } from '../../base/errors.ts'
import type { CopyNumber, DiskId, Epoch, GroupId, Incarnation, NodeId } from '../../base/ids.ts'
import { groupPage, pageBytes, pagesPerGroupMax, roundUp, type GroupPage } from '../../base/units.ts'
import type { SpacePurpose } from '../../disk/disk.ts'
import type { CopyRef } from './extent-store.ts'
import { isCopyNumber, isGroupId } from './group-file.ts'

export interface ExtentRequest {
  readonly copy: CopyRef
  readonly group: GroupId
  readonly purpose: SpacePurpose
  readonly at: GroupPage
  readonly count: number
  readonly pagesMax: number
  /** Of the owner that asks; of what makes, finishes or unlinks a file only. */
  readonly epoch: Epoch
  readonly checksums: Uint32Array
  /** `count` pages, or none. */
  readonly pages: Buffer
  /** Where they lie in the body: the whole pages before them. */
  readonly pagesAt: number
  readonly trailer: Buffer | undefined
}

export type ExtentRequestHead = Pick<ExtentRequest, 'copy' | 'group' | 'at' | 'count'> & {
  readonly purpose?: SpacePurpose
  readonly pagesMax?: number
  readonly epoch?: Epoch
}

const headBytes = 28

export function encodeExtentRequest(
  head: ExtentRequestHead,
  checksums?: Uint32Array,
  pages: readonly Buffer[] = [],
  trailer?: Buffer,
): Buffer[] {
  const { disk, incarnation, number } = head.copy
  const checksumBytes = (checksums?.length ?? 0) * 4
  const namesBytes = disk.length + head.group.length + incarnation.length
  const end = headBytes + namesBytes + checksumBytes
  const bytes = Buffer.alloc(pages.length === 0 ? end : roundUp(end, pageBytes))
  bytes.writeUInt8(disk.length, 0)
  bytes.writeUInt8(head.group.length, 1)
  bytes.writeUInt8(incarnation.length, 2)
  bytes.writeUInt8(head.purpose === 'maintenance' ? 1 : 0, 3)
  bytes.writeUInt32LE(number, 4)
  bytes.writeUInt32LE(head.at, 8)
  bytes.writeUInt32LE(head.count, 12)
  bytes.writeUInt32LE(trailer?.length ?? 0, 16)
  bytes.writeUInt32LE(head.pagesMax ?? 0, 20)
  bytes.writeUInt32LE(head.epoch ?? 0, 24)
  bytes.write(`${disk}${head.group}${incarnation}`, headBytes, 'latin1')
  let at = headBytes + namesBytes
  for (const checksum of checksums ?? []) at = bytes.writeUInt32LE(checksum, at)
  return trailer === undefined ? [bytes, ...pages] : [bytes, ...pages, trailer]
}

/** Refuses what no sound peer sends: nothing of it may reach a path or an assertion. */
export function decodeExtentRequest(kind: string, node: NodeId, body: Buffer): ExtentRequest {
  const refuse = (why: string) => new NdfsError('REFUSED', `Cannot do what ${kind} asks: ${why}`)
  if (body.length < headBytes) throw refuse('it is too short')
  const withPages = kind === 'extents.write'
  const count = body.readUInt32LE(12)
  if (count > pagesPerGroupMax) throw refuse(`no group has ${count} pages`)
  const pagesMax = body.readUInt32LE(20)
  if (pagesMax > pagesPerGroupMax) throw refuse(`no group has ${pagesMax} pages`)
  const trailerBytes = body.readUInt32LE(16)
  const names = headBytes + body.readUInt8(0) + body.readUInt8(1) + body.readUInt8(2)
  const checksumsEnd = names + (withPages ? count * 4 : 0)
  const pagesAt = withPages ? roundUp(checksumsEnd, pageBytes) : checksumsEnd
  const pagesEnd = pagesAt + (withPages ? count * pageBytes : 0)
  if (pagesEnd + trailerBytes !== body.length) throw refuse('its length is not that of what it holds')

  const groupAt = headBytes + body.readUInt8(0)
  const incarnationAt = groupAt + body.readUInt8(1)
  const group = body.toString('latin1', groupAt, incarnationAt)
  const number = body.readUInt32LE(4)
  const at = body.readUInt32LE(8)
  if (kind === 'extents.inventory') {
    if (at > 0xff) throw refuse(`there is no folder ${at}`)
  } else {
    if (!isGroupId(group)) throw refuse(`${JSON.stringify(group)} names no extent group`)
    if (!isCopyNumber(number)) throw refuse(`no copy has the number ${number}`)
    if (at + count > pagesPerGroupMax) throw refuse(`page ${at + count - 1} is past the end of any group`)
  }
  if ((kind === 'extents.write' || kind === 'extents.read') && count === 0) throw refuse('it names no pages')
  if (withPages && pagesMax < at + count) throw refuse('it has more pages than the group will have')
  if (kind === 'extents.finish' && trailerBytes === 0) throw refuse('it has no trailer')

  const checksums = new Uint32Array(withPages ? count : 0)
  for (let i = 0; i < checksums.length; i++) checksums[i] = body.readUInt32LE(names + i * 4)
  return {
    copy: {
      node,
      disk: body.toString('latin1', headBytes, groupAt) as DiskId,
      incarnation: body.toString('latin1', incarnationAt, names) as Incarnation,
      number: number as CopyNumber,
    },
    group: group as GroupId,
    purpose: body.readUInt8(3) === 1 ? 'maintenance' : 'guest',
    at: groupPage(at),
    count,
    pagesMax,
    epoch: body.readUInt32LE(24) as Epoch,
    checksums,
    pages: body.subarray(pagesAt, pagesEnd),
    pagesAt: pagesAt / pageBytes,
    trailer: trailerBytes === 0 ? undefined : body.subarray(pagesEnd),
  }
}
