/**
 * The file of a backup of the metadata: entries one after the other, so that neither who writes it nor who reads it holds it whole.
 *
 *   ┌──────────┬──────────┬───────────────┬──────────┬──────────┬───────────────┬─ ─ ─
 *   │ length   │ crc32c   │ first entry   │ length   │ crc32c   │ second entry  │
 *   └──────────┴──────────┴───────────────┴──────────┴──────────┴───────────────┴─ ─ ─
 *     4 bytes    4 bytes    CBOR            little-endian; the crc is of the entry's bytes
 *
 * The first entry says whose it is and of when, the last one how many stand before it: a file without that one was not finished, and
 * counts for nothing.
 */
import { decodeControl, encodeControl } from './base/control.ts'
import { crc32c } from './base/crc32c.ts'
import { NdfsError } from './base/errors.ts'
import { MiB } from './base/units.ts'
import type { Disk, DiskFile } from './disk/disk.ts'
import type { PartitionName, Row } from './medusa/medusa.ts'
import type { Epoch } from './base/ids.ts'

export type BackupEntry =
  | { readonly kind: 'begin'; readonly version: 1; readonly cluster: string; readonly takenAt: number }
  /** A key of Zeus. */
  | { readonly kind: 'key'; readonly key: string; readonly value: unknown }
  /** Rows of a partition; of a large one several in a row. */
  | {
      readonly kind: 'rows'
      readonly partition: PartitionName
      readonly epoch: Epoch
      readonly rows: readonly Row[]
    }
  | { readonly kind: 'end'; readonly entries: number }

export const backupFolder = 'metadata'
/** By its time in milliseconds since 1970, so that names sort as times do. */
export const backupName = (takenAt: number): string =>
  `${backupFolder}/backup-${String(takenAt).padStart(15, '0')}`

const headBytes = 8
const entryBytesMax = 16 * MiB

export function encodeEntry(entry: BackupEntry): Buffer[] {
  const bytes = encodeControl(entry)
  const head = Buffer.alloc(headBytes)
  head.writeUInt32LE(bytes.length)
  head.writeUInt32LE(crc32c(bytes), 4)
  return [head, bytes]
}

/** The entries of a backup. Rejects with DAMAGED_METADATA where it is not whole, at its place: read it to its end before anything rests on it. */
export async function* readBackup(file: DiskFile): AsyncGenerator<BackupEntry> {
  let count = 0
  for (let at = 0; ;) {
    const head = await exactly(file, headBytes, at)
    const length = head?.readUInt32LE() ?? 0
    const bytes =
      length === 0 || length > entryBytesMax ? undefined : await exactly(file, length, at + headBytes)
    if (bytes === undefined || crc32c(bytes) !== head!.readUInt32LE(4)) throw notWhole(file, at)
    const entry = decodeControl<BackupEntry>(bytes)
    if (entry.kind === 'end' && entry.entries !== count) throw notWhole(file, at)
    yield entry
    if (entry.kind === 'end') return
    count++
    at += headBytes + length
  }
}

/** When the backup was taken, where it is whole and of this cluster; read to its end. */
export async function wholeBackup(file: DiskFile, cluster: string): Promise<number | undefined> {
  let takenAt: number | undefined
  try {
    for await (const entry of readBackup(file))
      if (entry.kind === 'begin' && entry.cluster === cluster && entry.version === 1) takenAt = entry.takenAt
    return takenAt
  } catch (error) {
    if (error instanceof NdfsError) return undefined
    throw error
  }
}

/** Names of the backups on a disk, the newest first; whether they are whole shows itself when they are read. */
export const backupsOn = async (disk: Disk): Promise<string[]> =>
  (await disk.list(backupFolder).catch(() => []))
    .map((name) => `${backupFolder}/${name.slice(name.lastIndexOf('/') + 1)}`)
    .filter((name) => /\/backup-\d{15}$/.test(name))
    .sort()
    .reverse()

async function exactly(file: DiskFile, length: number, at: number): Promise<Buffer | undefined> {
  const bytes = Buffer.alloc(length)
  const read = await file.read(bytes, at)
  return read === length ? bytes : undefined
}

const notWhole = (file: DiskFile, at: number): NdfsError =>
  new NdfsError(
    'DAMAGED_METADATA',
    `Cannot read the backup ${file.name}: it is damaged at byte ${at}, or was not finished`,
    {
      file: file.name,
      at,
    },
  )
