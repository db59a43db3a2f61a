/** CRC-32C (Castagnoli), the checksum of every page, record and header. */
import { crc32c as crc32cOf } from '@node-rs/crc32'

/** The checksum of `bytes`, going on from `initial` (the checksum of what comes before). */
export const crc32c = (bytes: Uint8Array, initial?: number): number => crc32cOf(bytes, initial)
