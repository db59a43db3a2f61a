/**
 * What clients write: sectors each of which tells, in all of its bytes, by which write it was written and where.
 *
 *   0         8        12       16                                  512
 *   ┌─────────┬────────┬────────┬────────┬────────┬── ─ ─ ──┬────────┐
 *   │ marker  │ stamp  │ sector │ stamp  │ sector │ …       │ sector │    little-endian; the marker stands nowhere else
 *   └─────────┴────────┴────────┴────────┴────────┴── ─ ─ ──┴────────┘
 *
 * So a stamp is found in any bytes, wherever a sector begins in them. A sector that was never written, or was zeroed, is all
 * zeros, and its stamp is `zeroStamp`.
 */
import { InvariantViolation } from './checkers/invariant-violation.ts'

export const sectorBytes = 512

/** What all sectors hold at first, and after zeroing. Other stamps are written once. */
export const zeroStamp = 0

const markerLow = 0x90f5_ec51
const markerHigh = 0xa37b_1d06
export const stampMarker = Buffer.alloc(8)
stampMarker.writeUInt32LE(markerLow, 0)
stampMarker.writeUInt32LE(markerHigh, 4)

const unitBytes = 8
const unitsAt = 16

/** Fills a buffer of whole sectors so that each tells its stamp and its number. */
export function stampSectors(target: Buffer, stamp: number, first: number): void {
  for (let at = 0; at < target.length; at += sectorBytes) {
    stampMarker.copy(target, at)
    target.writeUInt32LE(stamp, at + 8)
    target.writeUInt32LE(first + at / sectorBytes, at + 12)
    target.copyWithin(at + 16, at + 8, at + 16)
    for (let done = 24; done < sectorBytes;) {
      const count = Math.min(done - 8, sectorBytes - done)
      target.copyWithin(at + done, at + 8, at + 8 + count)
      done += count
    }
  }
}

/** The stamp of the sector that begins there; undefined where none begins. Looks at no more than its first bytes. */
export function readStamp(bytes: Buffer, at: number): { stamp: number; sector: number } | undefined {
  if (at + unitsAt > bytes.length) return undefined
  if (bytes.readUInt32LE(at) !== markerLow || bytes.readUInt32LE(at + 4) !== markerHigh) return undefined
  return { stamp: bytes.readUInt32LE(at + 8), sector: bytes.readUInt32LE(at + 12) }
}

/** The sector that begins there is all of one write. */
export const isWholeSector = (bytes: Buffer, at: number): boolean =>
  at + sectorBytes <= bytes.length &&
  // All units the same as the one before them: the first is the marker's neighbour.
  bytes.compare(bytes, at + 8, at + sectorBytes - unitBytes, at + 8 + unitBytes, at + sectorBytes) === 0

const zeroes = Buffer.alloc(sectorBytes)

/** The stamp of each sector. Throws where one holds what was never written there (I5); `whose`: where the bytes come from. */
export function stampsIn(bytes: Buffer, first: number, whose = 'a read'): Uint32Array {
  const stamps = new Uint32Array(bytes.length / sectorBytes)
  for (let at = 0; at < bytes.length; at += sectorBytes) {
    const end = at + sectorBytes
    const sector = first + at / sectorBytes
    const found = readStamp(bytes, at)
    if (found === undefined && bytes.compare(zeroes, 0, sectorBytes, at, end) === 0) continue
    const isWhole = found !== undefined && isWholeSector(bytes, at)
    if (!isWhole || found.sector !== sector || found.stamp === zeroStamp)
      throw new InvariantViolation(
        'I5',
        `${whose}: sector ${sector} holds ${isWhole ? `what was written to sector ${found.sector}` : 'a mix'}: ${bytes.toString('hex', at, at + 24)}`,
      )
    stamps[at / sectorBytes] = found.stamp
  }
  return stamps
}
