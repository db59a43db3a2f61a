/** Attributes, and the states of a file's content: each one change of one inode. */
import type { VDiskId } from '../../base/ids.ts'
import {
  type Around,
  type AttributeChange,
  FileError,
  fileTimeAt,
  type FileTime,
  type Inode,
  type InodeId,
} from './namespace.ts'
import { resized, rowsForSize } from './content.ts'
import { asFile, changeRow, changeTimeAfter, type Parts, putRow, stale } from './parts.ts'
import { dataRowKey, type FileRow, inodeOf, isLive, type LiveRow } from './rows.ts'

export function setAttributes(
  parts: Parts,
  id: InodeId,
  change: AttributeChange,
  ifChangedAt?: FileTime,
): Promise<Around> {
  const { sizeBytes } = change
  return changeRow(
    parts,
    id,
    (row, view) => {
      if (!isLive(row)) throw stale(id)
      if (ifChangedAt !== undefined && row.changeTime !== ifChangedAt)
        throw new FileError('CHANGED', `Inode ${id} has changed since`)
      const sized = sizeBytes === undefined ? row : resized(id, asFile(id, row), view, sizeBytes)
      const changed = withAttributes(sized, change, laterThan(change.modifiedAt, changeTimeAfter(parts, row)))
      putRow(view, changed)
      return { before: inodeOf(id, row), after: inodeOf(id, changed) }
    },
    sizeBytes === undefined ? [] : rowsForSize(sizeBytes),
    sizeBytes === undefined ? 0 : 32 * 1024,
  )
}

/** The owner's clock may be ahead of ours. */
function laterThan(modifiedAt: number | undefined, time: FileTime): FileTime {
  const known = fileTimeAt(modifiedAt ?? 0)
  return time > known ? time : known + 1n
}

function withAttributes(row: LiveRow, change: AttributeChange, now: FileTime): LiveRow {
  const { verifier: _, ...rest } = row
  const {
    mode = row.mode,
    uid = row.uid,
    gid = row.gid,
    accessTime,
    modifyTime,
    sizeBytes,
    modifiedAt,
  } = change
  const unset = sizeBytes === undefined ? row.modifyTime : now
  const common = {
    mode: mode & 0o7777,
    uid,
    gid,
    accessTime: accessTime === 'now' ? now : (accessTime ?? row.accessTime),
    modifyTime: modifyTime === 'now' ? now : (modifyTime ?? unset),
    changeTime: now,
  }
  if (rest.type === 'directory') return { ...rest, ...common }
  if (modifyTime === undefined || modifiedAt === undefined) return { ...rest, ...common }
  return { ...rest, ...common, modifySetOver: modifiedAt }
}

/** A change of a file's content state; `undefined`: it is so already. */
function changeContent(
  parts: Parts,
  id: InodeId,
  next: (row: FileRow) => FileRow | undefined,
): Promise<Inode> {
  return changeRow(parts, id, (now, view) => {
    const row = asFile(id, now)
    if (row.type !== 'file') throw new FileError('INVAL', `${id} is a ${row.type}`)
    const changed = next(row)
    if (changed === undefined) return inodeOf(id, row)
    putRow(view, changed)
    if (changed.checksums === undefined)
      for (const [index, checksum] of (row.checksums ?? []).entries())
        if (checksum !== null) view.remove(dataRowKey(index))
    return inodeOf(id, changed)
  })
}

const otherwise = (id: InodeId, { content }: FileRow): FileError =>
  new FileError('CHANGED', `File ${id} is ${content?.kind ?? 'nothing'} by now`)

const isFor = ({ content }: FileRow, kind: 'promoting' | 'vdisk', vdisk: VDiskId): boolean =>
  content?.kind === kind && content.vdisk === vdisk

const isBeingFilled = (row: FileRow, vdisk: VDiskId, filler: number): boolean =>
  isFor(row, 'promoting', vdisk) && row.content?.kind === 'promoting' && row.content.filler === filler

export const beginPromotion = (parts: Parts, id: InodeId, vdisk: VDiskId): Promise<Inode> =>
  changeContent(parts, id, (row) => {
    if (isBeingFilled(row, vdisk, 1)) return undefined
    if (row.content?.kind !== 'inline') throw otherwise(id, row)
    if (vdisk <= (row.vdisksAbove ?? 0))
      throw new FileError('CHANGED', `vDisk ${vdisk} was made for file ${id} so long ago that it may be gone`)
    return { ...row, content: { kind: 'promoting', vdisk, filler: 1 } }
  })

export const takePromotion = (parts: Parts, id: InodeId, vdisk: VDiskId, filler: number): Promise<Inode> =>
  changeContent(parts, id, (row) => {
    if (!isBeingFilled(row, vdisk, filler)) throw otherwise(id, row)
    return { ...row, content: { kind: 'promoting', vdisk, filler: filler + 1 } }
  })

export const endPromotion = (parts: Parts, id: InodeId, vdisk: VDiskId, filler: number): Promise<Inode> =>
  changeContent(parts, id, (row) => {
    if (!isBeingFilled(row, vdisk, filler)) throw otherwise(id, row)
    const { checksums: _, ...rest } = row
    return { ...rest, content: { kind: 'vdisk', vdisk } }
  })

export const undoPromotion = (parts: Parts, id: InodeId, vdisk: VDiskId): Promise<Inode> =>
  changeContent(parts, id, (row) => {
    if (row.content?.kind === 'inline') return undefined
    if (!isFor(row, 'promoting', vdisk)) throw otherwise(id, row)
    return { ...row, content: { kind: 'inline' } }
  })

/** Numbers of vDisks rise: who is refused makes another one, whose number is higher. */
export const disown = (parts: Parts, id: InodeId, vdisk: VDiskId): Promise<'named' | 'never' | 'missing'> =>
  changeRow(parts, id, (row, view) => {
    if (row?.type === 'removed') return 'never'
    // What no file was made for is damage.
    if (row?.type !== 'file') return 'missing'
    if (isFor(row, 'promoting', vdisk) || isFor(row, 'vdisk', vdisk)) return 'named'
    // A file that is a vDisk stays the one that it is.
    if (row.content?.kind !== 'vdisk' && vdisk > (row.vdisksAbove ?? 0))
      putRow(view, { ...row, vdisksAbove: vdisk })
    return 'never'
  })
