/**
 * A whole copy, held against the checksums of its group's row: what scrub and `ndfs check` ask of the node that has the disk.
 *
 * What the copy says of itself counts for nothing: a file that was written wrongly says so in a trailer that is sound. The trailer is
 * looked at all the same, for it is what the metadata can be rebuilt from (M11).
 */
import { decodeControl, encodeControl } from '../../base/control.ts'
import { NdfsError } from '../../base/errors.ts'
import type { CopyNumber, DiskId, GroupId, Incarnation, NodeId } from '../../base/ids.ts'
import { MiB, pageBytes, pagesPerGroupMax, roundDown, roundUp } from '../../base/units.ts'
import type { DiskFile } from '../../disk/disk.ts'
import { badRuns } from './checksums.ts'
import type { CopyRef, CopyVerdict } from './extent-store.ts'
import { isCopyNumber, isGroupId } from './group-file.ts'
import { decodeTrailer, trailerBytesOf, trailerFooterBytes } from './trailer.ts'

/** Read at once: long enough for a disk, short enough that the loop serves guests between two pieces. */
export const verifyPieceBytes = 1 * MiB
/** Wrong runs of pages that are named; the others are counted. */
const runsNamed = 3

export interface VerifiedCopy {
  readonly group: GroupId
  readonly number: CopyNumber
  /** As the group's row has them. */
  readonly checksums: Uint32Array
}

/** `piece`: memory for a direct file, `verifyPieceBytes` of it. A read that the disk fails rejects. */
export async function verifyCopyFile(
  file: DiskFile,
  copy: VerifiedCopy,
  piece: Buffer,
): Promise<CopyVerdict> {
  const { checksums } = copy
  const size = await file.size()
  const bytes = checksums.length * pageBytes
  const short = (end: number): CopyVerdict => ({
    state: 'short',
    reason: `its file ends after ${end} bytes, and its pages take ${bytes}`,
  })
  if (size < bytes) return short(size)
  const wrong: string[] = []
  let pages = 0
  for (let at = 0; at < bytes; at += piece.length) {
    const target = piece.subarray(0, Math.min(piece.length, bytes - at))
    const read = await file.read(target, at)
    if (read < target.length) return short(at + read)
    const [first, count] = [at / pageBytes, target.length / pageBytes]
    for (const run of badRuns(target, { first: 0, count }, checksums.subarray(first, first + count))) {
      wrong.push(run.count === 1 ? `${first + run.first}` : `${first + run.first}+${run.count}`)
      pages += run.count
    }
  }
  if (pages > 0) return { state: 'bad', reason: `${pages} of its pages have other bytes: ${someOf(wrong)}` }
  const trailer = await trailerOf(file, size, piece)
  if (trailer?.group === copy.group && trailer.number === copy.number) return { state: 'right' }
  return { state: 'bad', reason: `its trailer is ${trailer === undefined ? 'damaged' : "another copy's"}` }
}

const someOf = (runs: readonly string[]): string =>
  runs.length > runsNamed
    ? `${runs.slice(0, runsNamed).join(', ')} and ${runs.length - runsNamed} runs more`
    : runs.join(', ')

/** From whole pages, as a direct file gives them. */
async function trailerOf(
  file: DiskFile,
  size: number,
  piece: Buffer,
): Promise<ReturnType<typeof decodeTrailer>> {
  const footer = await tailOf(file, size, trailerFooterBytes, piece)
  const length = footer === undefined ? undefined : trailerBytesOf(footer)
  if (length === undefined || length > size) return undefined
  const bytes = await tailOf(file, size, length, piece)
  return bytes === undefined ? undefined : decodeTrailer(bytes)
}

async function tailOf(
  file: DiskFile,
  size: number,
  length: number,
  piece: Buffer,
): Promise<Buffer | undefined> {
  if (size < length) return undefined
  const from = roundDown(size - length, pageBytes)
  const bytes = Buffer.alloc(roundUp(size - from, pageBytes))
  for (let at = 0; at < bytes.length; at += piece.length) {
    const target = piece.subarray(0, Math.min(piece.length, bytes.length - at))
    const read = await file.read(target, from + at)
    target.copy(bytes, at, 0, read)
  }
  return bytes.subarray(size - length - from, size - from)
}

/** `extents.verify`, in the encoding of control messages; the checksums as little-endian words. */
interface VerifyMessage {
  readonly disk: string
  readonly incarnation: string
  readonly number: number
  readonly group: string
  readonly checksums: Uint8Array
}

export interface VerifyRequest {
  readonly copy: CopyRef
  readonly group: GroupId
  readonly checksums: Uint32Array
}

export function encodeVerifyRequest({ copy, group, checksums }: VerifyRequest): Buffer {
  const { disk, incarnation, number } = copy
  const words = Buffer.from(checksums.buffer, checksums.byteOffset, checksums.byteLength)
  const message: VerifyMessage = { disk, incarnation, number, group, checksums: words }
  return encodeControl(message)
}

/** Refuses what no sound peer sends: nothing of it may reach a path or an assertion. */
export function decodeVerifyRequest(node: NodeId, body: Buffer): VerifyRequest {
  const { disk, incarnation, number, group, checksums: words } = decodeControl<VerifyMessage>(body)
  const refuse = (why: string): NdfsError =>
    new NdfsError('REFUSED', `Cannot do what extents.verify asks: ${why}`)
  if (typeof disk !== 'string' || typeof incarnation !== 'string') throw refuse('it names no disk')
  if (typeof group !== 'string' || !isGroupId(group)) throw refuse('it names no extent group')
  if (typeof number !== 'number' || !isCopyNumber(number)) throw refuse('it names no copy')
  const isWhole = words instanceof Uint8Array && words.length > 0 && words.length % 4 === 0
  if (!isWhole || words.length / 4 > pagesPerGroupMax) throw refuse('no group has so many pages')
  const checksums = new Uint32Array(words.length / 4)
  new Uint8Array(checksums.buffer).set(words)
  return {
    copy: { node, disk: disk as DiskId, incarnation: incarnation as Incarnation, number },
    group,
    checksums,
  }
}
