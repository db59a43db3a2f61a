/**
 * The bytes of a file that lies here, in rows of 32 KiB. A row ends with the last byte that was written in it; behind it, and where there is
 * no row, the file has zeros. So a file grows without touching a row, and is cut by shortening one and removing those behind it.
 *
 * A row is compared with its checksum whenever its bytes are used, also when only a part of it is overwritten: else a wrong byte would
 * get a right checksum.
 */
import { crc32c } from '../../base/crc32c.ts'
import type { Row } from '../../medusa/medusa.ts'
import { type Around, FileError, type Inode, type InodeId, inlineBytesMax } from './namespace.ts'
import { asFile, changeRow, damaged, modified, type Parts, putRow } from './parts.ts'
import type { PartitionView } from '../partition-changes/partition-changes.ts'
import {
  dataRowBytes,
  dataRowKey,
  decodeInodeRow,
  type FileRow,
  inodeOf,
  inodeRowKey,
  partitionOf,
} from './rows.ts'

const dataRowsMax = inlineBytesMax / dataRowBytes

/** The data rows that hold the bytes from `offset` to `end`. */
function rowsOf(offset: number, end: number): number[] {
  const first = Math.floor(offset / dataRowBytes)
  const count = end > offset ? Math.ceil(end / dataRowBytes) - first : 0
  return Array.from({ length: count }, (_, i) => first + i)
}

/** The bytes of one data row, compared with its checksum; empty where there is none. */
function checkedRow(id: InodeId, row: FileRow, index: number, bytes: Buffer | undefined): Buffer {
  const checksum = row.checksums?.[index] ?? null
  if ((checksum === null) !== (bytes === undefined))
    throw damaged(id, `data row ${index} is ${bytes ? 'there, and should not be' : 'not there'}`)
  if (bytes === undefined) return Buffer.alloc(0)
  if (crc32c(bytes) !== checksum) throw damaged(id, `data row ${index} has other bytes than were written`)
  return bytes
}

/** Compares all data rows of a file with its row, as they were read together. How many bytes they are; DAMAGED_METADATA. */
export function checkData(id: InodeId, row: FileRow, rows: readonly Row[]): number {
  const values = new Map(rows.map(({ key, value }) => [key, value]))
  values.delete(inodeRowKey)
  let sum = 0
  for (let index = 0; index < dataRowsMax; index++) {
    const key = dataRowKey(index)
    const { length } = checkedRow(id, row, index, values.get(key))
    if (length > 0 && index * dataRowBytes + length > row.sizeBytes)
      throw damaged(id, `data row ${index} ends behind the file, which has ${row.sizeBytes} bytes`)
    sum += length
    values.delete(key)
  }
  for (const key of values.keys()) throw damaged(id, `it has a row ${key}, and should not`)
  return sum
}

function checkInline(id: InodeId, row: FileRow): void {
  if (row.type !== 'file') throw new FileError('INVAL', `${id} is a ${row.type}: it has no bytes`)
  if (row.content?.kind !== 'inline') throw new FileError('CHANGED', `File ${id} does not lie here only`)
}

export async function read(
  parts: Parts,
  id: InodeId,
  offset: number,
  length: number,
): Promise<{ readonly bytes: Buffer; readonly inode: Inode }> {
  const indices = rowsOf(offset, Math.min(offset + length, inlineBytesMax))
  const { rows } = await parts.medusa.get(partitionOf(id), [inodeRowKey, ...indices.map(dataRowKey)])
  const values = new Map(rows.map(({ key, value }) => [key, value]))
  const inodeBytes = values.get(inodeRowKey)
  const row = asFile(id, inodeBytes && decodeInodeRow(inodeBytes))
  if (row.type !== 'file') throw new FileError('INVAL', `${id} is a ${row.type}: it has no bytes`)
  if (row.content?.kind === 'vdisk') throw new FileError('CHANGED', `File ${id} is a vDisk`)
  const end = Math.min(offset + length, row.sizeBytes)
  const bytes = Buffer.alloc(Math.max(0, end - offset))
  for (const index of rowsOf(offset, end)) {
    const start = index * dataRowBytes
    const from = checkedRow(id, row, index, values.get(dataRowKey(index)))
    const skipped = Math.max(0, offset - start)
    if (skipped < from.length) from.copy(bytes, start + skipped - offset, skipped)
  }
  return { bytes, inode: inodeOf(id, row) }
}

export function write(parts: Parts, id: InodeId, offset: number, bytes: Buffer): Promise<Around> {
  const end = offset + bytes.length
  const indices = rowsOf(offset, Math.min(end, inlineBytesMax))
  // Rows that are overwritten whole need not be read; nor be sound.
  const partly = indices.filter((index) => offset > index * dataRowBytes || end < (index + 1) * dataRowBytes)
  return changeRow(
    parts,
    id,
    (now, view) => {
      const row = asFile(id, now)
      checkInline(id, row)
      const before = inodeOf(id, row)
      if (bytes.length === 0) return { before, after: before }
      if (end >= inlineBytesMax)
        throw new FileError('FBIG', `A file that reaches ${inlineBytesMax} bytes is a vDisk`)
      const checksums = checksumsOf(row)
      for (const index of indices) {
        const old = partly.includes(index)
          ? checkedRow(id, row, index, view.get(dataRowKey(index)))
          : undefined
        const data = overwritten(old, offset - index * dataRowBytes, bytes)
        view.put(dataRowKey(index), data)
        checksums[index] = crc32c(data)
      }
      const changed = modified(parts, { ...row, checksums, sizeBytes: Math.max(row.sizeBytes, end) })
      putRow(view, changed)
      return { before, after: inodeOf(id, changed) }
    },
    partly.map(dataRowKey),
    bytes.length + 2 * dataRowBytes,
  )
}

const checksumsOf = (row: FileRow): (number | null)[] =>
  Array.from({ length: dataRowsMax }, (_, i) => row.checksums?.[i] ?? null)

/** A data row after bytes were written at `at` in it, which may begin before it and end behind it. */
function overwritten(old: Buffer | undefined, at: number, bytes: Buffer): Buffer {
  const start = Math.max(0, at)
  const end = Math.min(dataRowBytes, at + bytes.length)
  const data = Buffer.alloc(Math.max(old?.length ?? 0, end))
  old?.copy(data)
  bytes.copy(data, start, start - at, end - at)
  return data
}

/** The data row in which a file of that size ends, if it ends within one. */
export const rowsForSize = (sizeBytes: number): readonly string[] =>
  sizeBytes % dataRowBytes === 0 ? [] : [dataRowKey(Math.floor(sizeBytes / dataRowBytes))]

/** Cuts an inline file, or grows it with zeros. Its times are the caller's. */
export function resized(id: InodeId, row: FileRow, view: PartitionView, sizeBytes: number): FileRow {
  checkInline(id, row)
  if (sizeBytes >= inlineBytesMax)
    throw new FileError('FBIG', `A file that reaches ${inlineBytesMax} bytes is a vDisk`)
  if (sizeBytes >= row.sizeBytes) return { ...row, sizeBytes }
  const checksums = checksumsOf(row)
  for (const [index, checksum] of checksums.entries()) {
    const stays = sizeBytes - index * dataRowBytes
    if (checksum === null || stays >= dataRowBytes) continue
    checksums[index] = null
    if (stays <= 0) view.remove(dataRowKey(index))
    else {
      const data = checkedRow(id, row, index, view.get(dataRowKey(index))).subarray(0, stays)
      view.put(dataRowKey(index), data)
      checksums[index] = crc32c(data)
    }
  }
  return { ...row, sizeBytes, checksums }
}
