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
import { firstFormat, formatKey } from './cluster-format.ts'
import type { Disk, DiskFile } from './disk/disk.ts'
import type { PartitionName, Row } from './medusa/medusa.ts'
import type { Epoch } from './base/ids.ts'
import type { FormatValue } from './zeus/zeus.ts'

export type BackupEntry =
  | { readonly kind: 'begin'; readonly version: number; readonly cluster: string; readonly takenAt: number }
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

/** In the first entry. */
export const fileVersion = 1
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

export interface WholeBackup {
  /** Milliseconds since 1970. */
  readonly takenAt: number
  /** The cluster's, then. */
  readonly format: number
}

/**
 * What a backup is of, where it is whole and of this cluster; read to its end.
 *
 * @throws {NdfsError} REFUSED: it is this cluster's, and its file is of a newer version than this release reads.
 */
export async function wholeBackup(file: DiskFile, cluster: string): Promise<WholeBackup | undefined> {
  let found: WholeBackup | undefined
  try {
    for await (const entry of readBackup(file))
      if (entry.kind === 'begin' && entry.cluster !== cluster) return undefined
      else if (entry.kind === 'begin' && entry.version !== fileVersion)
        throw otherVersion(file, entry.version)
      else if (entry.kind === 'begin') found = { takenAt: entry.takenAt, format: firstFormat }
      else if (entry.kind === 'key' && entry.key === formatKey && found !== undefined)
        found = { ...found, format: (entry.value as FormatValue).format }
    return found
  } catch (error) {
    if (error instanceof NdfsError && error.code !== 'REFUSED') return undefined
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

const otherVersion = (file: DiskFile, version: number): NdfsError =>
  new NdfsError(
    'REFUSED',
    `Cannot read the backup ${file.name}: it is of version ${version}, and this release reads version ${fileVersion}. Install a newer release`,
    { file: file.name, version },
  )
