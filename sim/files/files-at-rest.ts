/**
 * Holds the rows of files and directories against each other and against the vDisks, in a cluster at rest (docs/nfs.md, "Namespace").
 *
 *  1. Each name that an inode lists has an entry with the inode among its candidates: no name is lost. None is listed twice.
 *  2. A directory counts the entries whose first candidate is a directory.
 *  3. Of a file that lies here each data row has its checksum; of another there is none, and its vDisk is live, and no other file's.
 *
 * What a crash may leave is no fault: entries that count for nothing, and vDisks that no inode names.
 */
import type Database from 'better-sqlite3'
import { crc32c } from '../../src/base/crc32c.ts'
import type { VDiskId } from '../../src/base/ids.ts'
import {
  dataRowKey,
  decodeEntry,
  decodeInodeRow,
  type DirectoryRow,
  type Entry,
  type FileRow,
  inodeRowKey,
  isLive,
  type LiveRow,
  type Name,
} from '../../src/stargate/namespace/rows.ts'
import { isDirectoryId, type InodeId } from '../../src/stargate/namespace/namespace.ts'
import { rowsOf, vDiskStates } from '../metadata-check.ts'

type Rows = ReadonlyMap<string, Buffer>

/** What is wrong, one line each, which begins with the promise that it breaks. */
export function findFileFaults(database: Database.Database): string[] {
  const partitions = new Map<InodeId, Map<string, Buffer>>()
  for (const table of ['inode', 'directory'])
    for (const { partition, key, value } of rowsOf(database, table)) {
      const id = Number(partition) as InodeId
      if (!Number.isInteger(id)) continue
      if (!partitions.has(id)) partitions.set(id, new Map())
      partitions.get(id)!.set(key, value)
    }
  const live = new Map<InodeId, LiveRow>()
  for (const [id, rows] of partitions) {
    const bytes = rows.get(inodeRowKey)
    const row = bytes && decodeInodeRow(bytes)
    if (isLive(row)) live.set(id, row)
  }
  const vdisks = vDiskStates(database)
  const isVDiskLive = (vdisk: VDiskId): boolean => vdisks.get(vdisk)?.state === 'live'
  const fileOf = new Map<VDiskId, InodeId>()
  const faults: string[] = []
  for (const [id, row] of live) {
    const rows = partitions.get(id)!
    faults.push(...nameFaults(id, row, partitions, live))
    if (row.type === 'directory') faults.push(...countFaults(id, row, rows))
    else if (row.type === 'file') faults.push(...contentFaults(id, row, rows, isVDiskLive, fileOf))
  }
  return faults
}

/** What has the name in the directory. */
function candidatesOf({ name }: Name, rows: Rows | undefined): readonly InodeId[] {
  return entriesIn(rows).find((entry) => entry.name.equals(name))?.candidates ?? []
}

const entriesIn = (rows: Rows | undefined): Entry[] =>
  [...(rows ?? [])].filter(([key]) => key.startsWith('e')).map(([, value]) => decodeEntry(value))

function nameFaults(
  id: InodeId,
  row: LiveRow,
  partitions: ReadonlyMap<InodeId, Rows>,
  live: ReadonlyMap<InodeId, LiveRow>,
): string[] {
  const names = row.type === 'directory' ? [{ directory: row.parent, name: row.name }] : row.names
  // The root.
  if (names.some(({ directory }) => directory === id)) return []
  const faults = names.flatMap((name) => {
    const what = `inode ${id} has the name ${name.name.toString('latin1')} in ${name.directory}`
    if (!live.has(name.directory)) return [`I1: ${what}, which is gone`]
    return candidatesOf(name, partitions.get(name.directory)).includes(id)
      ? []
      : [`I1: ${what}, and no entry there names it`]
  })
  const texts = names.map(({ directory, name }) => `${directory} ${name.toString('latin1')}`)
  if (new Set(texts).size < texts.length) faults.push(`I3: inode ${id} lists a name twice: ${texts.join()}`)
  return faults
}

function countFaults(id: InodeId, row: DirectoryRow, rows: Rows): string[] {
  const counted = entriesIn(rows).filter(({ candidates }) => isDirectoryId(candidates[0])).length
  return counted === row.subdirectories
    ? []
    : [`I3: directory ${id} counts ${row.subdirectories} directories in it, and has ${counted}`]
}

function contentFaults(
  id: InodeId,
  row: FileRow,
  rows: Rows,
  isVDiskLive: (vdisk: VDiskId) => boolean,
  fileOf: Map<VDiskId, InodeId>,
): string[] {
  const faults: string[] = []
  const { content, checksums = [] } = row
  const dataRows = [...rows.keys()].filter((key) => key.startsWith('d'))
  checksums.forEach((checksum, index) => {
    const bytes = rows.get(dataRowKey(index))
    if ((bytes === undefined ? null : crc32c(bytes)) !== checksum)
      faults.push(`I5: data row ${index} of inode ${id} is not what it should be`)
  })
  if (dataRows.length !== checksums.filter((checksum) => checksum !== null).length)
    faults.push(`I5: inode ${id} has ${dataRows.length} data rows: not those that it should have`)
  if (content === undefined || content.kind === 'inline') return faults
  const { kind, vdisk } = content
  if (!isVDiskLive(vdisk)) faults.push(`I3: inode ${id} names vDisk ${vdisk}, which is not there`)
  if (kind === 'vdisk' && dataRows.length > 0)
    faults.push(`I3: inode ${id} is vDisk ${vdisk}, and has data rows still`)
  if (fileOf.has(vdisk)) faults.push(`I3: vDisk ${vdisk} is of inode ${fileOf.get(vdisk)} and of ${id}`)
  fileOf.set(vdisk, id)
  return faults
}

/** vDisks of files in these containers that no inode names: a node died after it had made one, or before it deleted one. */
export function vDisksWithoutFile(database: Database.Database, containers: readonly string[]): VDiskId[] {
  const named = new Set(
    rowsOf(database, 'inode').flatMap(({ key, value }) => {
      const row = key === inodeRowKey ? decodeInodeRow(value) : undefined
      const content = isLive(row) && row.type === 'file' ? row.content : undefined
      return content === undefined || content.kind === 'inline' ? [] : [content.vdisk]
    }),
  )
  return [...vDiskStates(database)].flatMap(([id, { name, state }]) =>
    state === 'live' && containers.includes(name.split('/')[0]) && !named.has(id) ? [id] : [],
  )
}
