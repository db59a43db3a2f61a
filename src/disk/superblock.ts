/**
 * The superblock is the name of a disk, in the file `superblock.json` at its root: text, so that a person who finds a disk
 * in a drawer can read whose it is.
 *
 *   { "ndfs": "disk", "version": 1,                the format of everything on this disk
 *     "cluster": "c-5f0e…",                        the only cluster that may use it
 *     "disk": "n1-flash-0",                        its name, as the operator knows it
 *     "incarnation": "0123456789abcdef",           random, new with each formatting: a blank disk is another disk (M2)
 *     "tier": "flash", "capacityBytes": 10737418240,
 *     "crc32c": "e3069283" }                       of the JSON of all fields before it, in this order, without spaces
 *
 * `ndfs` and `version` mean the same in every version, so that an older program can refuse a newer disk by name.
 */
import { crc32c } from '../base/crc32c.ts'
import { NdfsError } from '../base/errors.ts'
import type { DiskId, Incarnation } from '../base/ids.ts'
import type { Tier } from './disk.ts'

export const superblockName = 'superblock.json'
const superblockVersion = 1

export interface Superblock {
  readonly cluster: string
  readonly disk: DiskId
  readonly incarnation: Incarnation
  readonly tier: Tier
  readonly capacityBytes: number
}

export function encodeSuperblock(superblock: Superblock): Buffer {
  const fields = fieldsOf(superblock)
  return Buffer.from(`${JSON.stringify({ ...fields, crc32c: checksumOf(fields) }, null, 2)}\n`)
}

/** Throws a REFUSED that says what is wrong with it and what to do. */
export function decodeSuperblock(bytes: Uint8Array, path: string): Superblock {
  const found = parsed(bytes)
  if (found?.ndfs !== 'disk' || typeof found.version !== 'number')
    throw refused(path, 'its superblock is no NDFS superblock', 'Restore the file, or format an empty folder')
  if (found.version !== superblockVersion)
    throw refused(
      path,
      `its format is version ${found.version} and this program knows version ${superblockVersion}`,
      'Use the NDFS that wrote it, or one that is newer',
    )
  const superblock = found as unknown as Superblock
  const fields = fieldsOf(superblock)
  if (found.crc32c !== checksumOf(fields))
    throw refused(
      path,
      'the checksum of its superblock does not match',
      'It was edited or has rotted: restore the file from a backup; the data beside it is untouched',
    )
  const { cluster, disk, incarnation, tier, capacityBytes } = superblock
  return { cluster, disk, incarnation, tier, capacityBytes }
}

const fieldsOf = ({ cluster, disk, incarnation, tier, capacityBytes }: Superblock): object => ({
  ndfs: 'disk',
  version: superblockVersion,
  cluster,
  disk,
  incarnation,
  tier,
  capacityBytes,
})

const checksumOf = (fields: object): string =>
  crc32c(Buffer.from(JSON.stringify(fields)))
    .toString(16)
    .padStart(8, '0')

function parsed(bytes: Uint8Array): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes).toString())
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}

export const refused = (path: string, how: string, whatToDo: string): NdfsError =>
  new NdfsError('REFUSED', `Cannot use the disk at ${path}: ${how}. ${whatToDo}.`, { path })
