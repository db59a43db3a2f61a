/**
 * The trailer of a finished extent group: with the oplogs' records it is what is left to rebuild the metadata from when
 * nothing but the disks is left (M11). It ends where the file ends, so it is found from there. Little-endian; 64-bit
 * fields hold whole numbers below 2^53.
 *
 *   0         8          16       20       24            28        32       36         40
 *   ┌─────────┬──────────┬────────┬────────┬─────────────┬─────────┬────────┬──────────┬────────┬──
 *   │ vdisk   │ counter  │ epoch  │ layer  │ copy number │ copies  │ pages  │ extents  │ zeros  │
 *   └─────────┴──────────┴────────┴────────┴─────────────┴─────────┴────────┴──────────┴────────┴──
 *   44                 46               48
 *   ┬──────────────────┬────────────────┬──────────┬───────────┬─ ─ ─ ─┬─ ─ ─ ─┬─ ─ ─ ─ ─ ─┬──────────┐
 *   │ cluster's length │ container's    │ cluster  │ container │ extent │ zero   │ checksum │ standing │
 *   ┴──────────────────┴────────────────┴──────────┴───────────┴─ ─ ─ ─┴─ ─ ─ ─┴─ ─ ─ ─ ─ ─┴──────────┘
 *   extent, 24 bytes: page (8), sequence (8), count (4), at (4)
 *   zero, 24 bytes: page (8), sequence (8), count (8)
 *   checksum, 4 bytes: crc32c of a page of the group, in the group's order
 *   standing, 32 bytes, from version 2 on: drained sequence (8), end of the prefix (8), size (8), time of the last change (8)
 *
 *   and at the end of the file, 16 bytes:
 *   ┌────────┬──────────┬────────────┬─────────┐
 *   │ length │ version  │ NDFS magic │ crc32c  │
 *   └────────┴──────────┴────────────┴─────────┘
 *
 * `length` counts the whole trailer. The crc covers everything before it, so a torn trailer is none: its group was not
 * finished, or is damaged. vdisk, epoch and counter are the group's id, and the copy number stands in the file's name:
 * a trailer that says other than its name is of a misplaced file.
 */
import { assert } from '../../base/assert.ts'
import { crc32c } from '../../base/crc32c.ts'
import { groupIdOf, partsOfGroupId } from '../../base/ids.ts'
import type { CopyNumber, Epoch, GroupId, LayerId, Sequence, VDiskId } from '../../base/ids.ts'
import { getUint64, putUint64 } from '../../base/uint64.ts'
import { groupPage, KiB, pageBytes, pagesPerGroupMax, roundUp, vDiskPage } from '../../base/units.ts'
import type { Extent, Trailer, ZeroRun } from './extent-store.ts'

/** A trailer with what tells one copy's from all others. */
export interface CopyTrailer extends Trailer {
  readonly cluster: string
  readonly group: GroupId
  readonly number: CopyNumber
}

export const trailerFooterBytes = 16

/**
 * Room for the trailer of a group whose extents are not known yet: an extent and a checksum for each page, and the
 * names. Zero runs come with drains, which know their trailers when they create their files.
 */
export const trailerRoom = (pages: number): number => roundUp(pages * (runBytes + 4) + 2 * KiB, pageBytes)

const trailerVersion = 2
/** Of a trailer without `standing`. */
const trailerVersionBefore = 1

const magic = 0x53_46_44_4e // "NDFS" as it lies on the disk
const headerBytes = 48
const runBytes = 24
const standingBytes = 32
const runsMax = 2 ** 20

function putWhole(target: Buffer, value: number, at: number): void {
  assert(Number.isSafeInteger(value) && value >= 0, () => `${value} does not fit a trailer`)
  putUint64(target, value, at)
}

export function encodeTrailer(trailer: CopyTrailer): Buffer {
  const { extents, zeros, checksums, standing } = trailer
  const pages = checksums.length
  assert(pages <= pagesPerGroupMax, () => `a group of ${pages} pages`)
  assert(zeros.length <= runsMax, () => `a trailer of ${zeros.length} zero runs`)
  for (const { at, count } of extents) assert(at + count <= pages, 'an extent past the end of its group')
  const names = [Buffer.from(trailer.cluster), Buffer.from(trailer.container)]
  const body = headerBytes + names[0].length + names[1].length
  const bytes = Buffer.alloc(
    body +
      (extents.length + zeros.length) * runBytes +
      pages * 4 +
      (standing === undefined ? 0 : standingBytes) +
      trailerFooterBytes,
  )
  const { vdisk, epoch, counter } = partsOfGroupId(trailer.group)
  putWhole(bytes, vdisk, 0)
  putWhole(bytes, counter, 8)
  bytes.writeUInt32LE(epoch, 16)
  bytes.writeUInt32LE(trailer.layer, 20)
  bytes.writeUInt32LE(trailer.number, 24)
  bytes.writeUInt32LE(trailer.copies, 28)
  bytes.writeUInt32LE(pages, 32)
  bytes.writeUInt32LE(extents.length, 36)
  bytes.writeUInt32LE(zeros.length, 40)
  bytes.writeUInt16LE(names[0].length, 44)
  bytes.writeUInt16LE(names[1].length, 46)
  bytes.set(names[0], headerBytes)
  bytes.set(names[1], headerBytes + names[0].length)
  let at = body
  for (const extent of extents) {
    putWhole(bytes, extent.page, at)
    putWhole(bytes, extent.sequence, at + 8)
    bytes.writeUInt32LE(extent.count, at + 16)
    bytes.writeUInt32LE(extent.at, at + 20)
    at += runBytes
  }
  for (const zero of zeros) {
    putWhole(bytes, zero.page, at)
    putWhole(bytes, zero.sequence, at + 8)
    putWhole(bytes, zero.count, at + 16)
    at += runBytes
  }
  for (let page = 0; page < pages; page++) at = bytes.writeUInt32LE(checksums[page], at)
  if (standing !== undefined) {
    putWhole(bytes, standing.drained, at)
    putWhole(bytes, standing.through, at + 8)
    putWhole(bytes, standing.sizeBytes, at + 16)
    putWhole(bytes, standing.modifiedAt, at + 24)
    at += standingBytes
  }
  bytes.writeUInt32LE(bytes.length, at)
  bytes.writeUInt32LE(standing === undefined ? trailerVersionBefore : trailerVersion, at + 4)
  bytes.writeUInt32LE(magic, at + 8)
  bytes.writeUInt32LE(crc32c(bytes.subarray(0, at + 12)), at + 12)
  return bytes
}

/** The length of the trailer that ends in this footer (the last bytes of a file); undefined where there is none. */
export function trailerBytesOf(footer: Buffer): number | undefined {
  const at = footer.length - trailerFooterBytes
  if (at < 0 || footer.readUInt32LE(at + 8) !== magic) return undefined
  return footer.readUInt32LE(at)
}

/** The trailer that ends where `source` ends; undefined where it is torn, rotten, or of another version. */
export function decodeTrailer(source: Buffer): CopyTrailer | undefined {
  const length = trailerBytesOf(source)
  if (length === undefined || length > source.length || length < headerBytes + trailerFooterBytes)
    return undefined
  const bytes = source.subarray(source.length - length)
  if (crc32c(bytes.subarray(0, length - 4)) !== bytes.readUInt32LE(length - 4)) return undefined
  const version = bytes.readUInt32LE(length - 12)
  if (version !== trailerVersion && version !== trailerVersionBefore) return undefined
  const hasStanding = version === trailerVersion

  const pages = bytes.readUInt32LE(32)
  const extentCount = bytes.readUInt32LE(36)
  const zeroCount = bytes.readUInt32LE(40)
  const clusterBytes = bytes.readUInt16LE(44)
  const containerBytes = bytes.readUInt16LE(46)
  let at = headerBytes + clusterBytes + containerBytes
  const listsBytes = (extentCount + zeroCount) * runBytes + pages * 4 + (hasStanding ? standingBytes : 0)
  if (at + listsBytes + trailerFooterBytes !== length) return undefined

  const extents: Extent[] = []
  for (let i = 0; i < extentCount; i++, at += runBytes)
    extents.push({
      page: vDiskPage(getUint64(bytes, at)),
      sequence: getUint64(bytes, at + 8) as Sequence,
      count: bytes.readUInt32LE(at + 16),
      at: groupPage(bytes.readUInt32LE(at + 20)),
    })
  const zeros: ZeroRun[] = []
  for (let i = 0; i < zeroCount; i++, at += runBytes)
    zeros.push({
      page: vDiskPage(getUint64(bytes, at)),
      sequence: getUint64(bytes, at + 8) as Sequence,
      count: getUint64(bytes, at + 16),
    })
  const checksums = new Uint32Array(pages)
  for (let page = 0; page < pages; page++, at += 4) checksums[page] = bytes.readUInt32LE(at)

  return {
    cluster: bytes.toString('utf8', headerBytes, headerBytes + clusterBytes),
    container: bytes.toString(
      'utf8',
      headerBytes + clusterBytes,
      headerBytes + clusterBytes + containerBytes,
    ),
    group: groupIdOf(getUint64(bytes, 0) as VDiskId, bytes.readUInt32LE(16) as Epoch, getUint64(bytes, 8)),
    layer: bytes.readUInt32LE(20) as LayerId,
    number: bytes.readUInt32LE(24) as CopyNumber,
    copies: bytes.readUInt32LE(28),
    extents,
    zeros,
    checksums,
    ...(hasStanding
      ? {
          standing: {
            drained: getUint64(bytes, at) as Sequence,
            through: getUint64(bytes, at + 8) as Sequence,
            sizeBytes: getUint64(bytes, at + 16),
            modifiedAt: getUint64(bytes, at + 24),
          },
        }
      : {}),
  }
}
