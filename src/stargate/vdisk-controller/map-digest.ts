/**
 * The digest of a partition of the map, which is written with each change of it: the version of each vBlock, so that what is missing shows itself
 * (I5, F12), and where the deltas begin that are needed, so that those that were deleted are not even looked for. Little-endian.
 *
 *   0                        4096
 *   ┬─── ─ ─ ────────────────┬──────────────────────────────┬
 *   │ 1024 × version u32     │ version of the oldest delta  │   (absent or 0: no delta is needed)
 *   ┴─── ─ ─ ────────────────┴──────────────────────────────┴
 */
import { getUint64, putUint64 } from '../../base/uint64.ts'
import { deltaKey, type MapDelta } from './map-delta.ts'

export const digestKey = 'digest'

export function encodeDigest(versions: Uint32Array, needed: readonly MapDelta[]): Buffer {
  const bytes = Buffer.alloc(versions.byteLength + 8)
  bytes.set(new Uint8Array(versions.buffer, versions.byteOffset, versions.byteLength))
  putUint64(bytes, needed.length === 0 ? 0 : Number(needed[0].key.slice(1)), versions.byteLength)
  return bytes
}

/** Fills in the versions; returns the key of the oldest delta that is needed, undefined where none is. */
export function decodeDigest(bytes: Buffer, versions: Uint32Array): string | undefined {
  const target = new Uint8Array(versions.buffer, versions.byteOffset, versions.byteLength)
  target.set(bytes.subarray(0, versions.byteLength))
  const oldest = bytes.length < versions.byteLength + 8 ? 0 : getUint64(bytes, versions.byteLength)
  return oldest === 0 ? undefined : deltaKey(oldest)
}
