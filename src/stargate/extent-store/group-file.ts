/**
 * One copy of an extent group: a file that is created exclusively, at its full size, and written to once.
 *
 *   groups/<hh>/<group>.<copy number>      hh: two hex digits, from the group's id, so that no folder grows long
 *
 *   0       4096                                                          size − length of trailer     size
 *   ┌───────┬───────┬─ ─ ─ ─ ─ ─┬─────────────────┬── ─ ─ ─ ─ ─ ─ ─ ─ ─ ──┬─────────────────────────┐
 *   │ page 0│ page 1│           │ last page       │ room that was not used │ trailer (trailer.ts)    │
 *   └───────┴───────┴─ ─ ─ ─ ─ ─┴─────────────────┴── ─ ─ ─ ─ ─ ─ ─ ─ ─ ──┴─────────────────────────┘
 *
 * Pages have no headers: their checksums are in Medusa, away from them, so that a page that is torn, rotten or another
 * one's shows itself to whoever reads (I5). A drain's group is written in one go and has less than a page of unused room;
 * a sequential stream's gets its trailer only when it is drained, and is made with room for any that it may get.
 */
import { crc32c } from '../../base/crc32c.ts'
import type { CopyNumber, GroupId } from '../../base/ids.ts'
import { pageBytes, roundUp } from '../../base/units.ts'
import type { DiskFile } from '../../disk/disk.ts'
import { inventoryFolders } from './extent-store.ts'
import {
  decodeTrailer,
  trailerBytesOf,
  trailerFooterBytes,
  trailerRoom,
  type CopyTrailer,
} from './trailer.ts'

export const groupsFolder = 'groups'
/** Folders that a disk's groups are spread over: a million files are then four thousand in each. */
export const hashFolders: readonly string[] = Array.from({ length: inventoryFolders }, (_, i) =>
  i.toString(16).padStart(2, '0'),
)

const groupIdPattern = /^[1-9]\d{0,15}-[1-9]\d{0,9}-(?:0|[1-9]\d{0,15})$/
const fileNamePattern = /^(.+)\.([1-9]\d{0,9})$/

/** Whether a peer's words can be a group's name: nothing else gets near a path. */
export const isGroupId = (text: string): text is GroupId => groupIdPattern.test(text)
export const isCopyNumber = (value: number): value is CopyNumber =>
  Number.isInteger(value) && value >= 1 && value < 2 ** 32

export const folderOf = (group: GroupId): string =>
  `${groupsFolder}/${hashFolders[crc32c(Buffer.from(group)) & 0xff]}`

export const groupFileName = (group: GroupId, number: CopyNumber): string =>
  `${folderOf(group)}/${group}.${number}`

/** What a name in one of the hash folders stands for; undefined where it is not a group's file. */
export function parseGroupFileName(name: string): { group: GroupId; number: CopyNumber } | undefined {
  const match = fileNamePattern.exec(name)
  if (match === null || !isGroupId(match[1])) return undefined
  const number = Number(match[2])
  return isCopyNumber(number) ? { group: match[1], number } : undefined
}

/** What a new file takes: exactly what it will hold where the trailer is known, else with room for any trailer. */
export const groupFileBytes = (pages: number, trailerBytes: number | undefined): number =>
  pages * pageBytes + (trailerBytes === undefined ? trailerRoom(pages) : roundUp(trailerBytes, pageBytes))

/** Where the trailer of a group that was made without it ends: where the file's room ends, or the file by now. */
export const lateTrailerEnd = (pages: number, trailerBytes: number, fileBytes: number): number =>
  Math.max(groupFileBytes(pages, undefined), groupFileBytes(pages, trailerBytes), fileBytes)

/** The trailer of a file; undefined where it was not finished, or its trailer is damaged. */
export async function readTrailer(file: DiskFile): Promise<CopyTrailer | undefined> {
  const size = await file.size()
  const length = await finishedBytes(file, size)
  if (length === undefined || length > size) return undefined
  const bytes = Buffer.alloc(length)
  await file.read(bytes, size - length)
  return decodeTrailer(bytes)
}

/** Whether a trailer was written to the file: nothing may be written to it any more. */
export const isFinished = async (file: DiskFile): Promise<boolean> =>
  (await finishedBytes(file, await file.size())) !== undefined

async function finishedBytes(file: DiskFile, size: number): Promise<number | undefined> {
  if (size < trailerFooterBytes) return undefined
  const footer = Buffer.alloc(trailerFooterBytes)
  await file.read(footer, size - trailerFooterBytes)
  return trailerBytesOf(footer)
}
