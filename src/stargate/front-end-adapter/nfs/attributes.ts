/** From inodes to what NFS tells of them, and back. */
import type { AttributeChange, Around, FileTime, Inode } from '../../namespace/namespace.ts'
import type { Attributes, BeforeChange, Change, NewAttributes, NewTime, Time } from './nfs3-types.ts'

const nanosecondsPerSecond = 1_000_000_000n
/** Of what is counted as used: pages and rows are no smaller. */
const usedUnitBytes = 4096

export const timeOf = (time: FileTime): Time => ({
  seconds: Number(BigInt.asUintN(32, time / nanosecondsPerSecond)),
  nanoseconds: Number(time % nanosecondsPerSecond),
})
export const fileTimeOf = ({ seconds, nanoseconds }: Time): FileTime =>
  BigInt(seconds) * nanosecondsPerSecond + BigInt(nanoseconds)

/** `sizeBytes`: as whoever holds the bytes knows it. */
export function attributesOf(inode: Inode, root: number, sizeBytes = inode.sizeBytes): Attributes {
  const { type, mode, uid, gid, links, device, id } = inode
  return {
    ...{ type, mode, uid, gid, links, sizeBytes },
    usedBytes: Math.ceil(sizeBytes / usedUnitBytes) * usedUnitBytes,
    ...(device === undefined ? {} : { device }),
    fileSystemId: BigInt(root),
    fileId: BigInt(id),
    accessTime: timeOf(inode.accessTime),
    modifyTime: timeOf(inode.modifyTime),
    changeTime: timeOf(inode.changeTime),
  }
}

const beforeOf = ({ sizeBytes, modifyTime, changeTime }: Inode): BeforeChange => ({
  sizeBytes,
  modifyTime: timeOf(modifyTime),
  changeTime: timeOf(changeTime),
})

export const changeOf = ({ before, after }: Around, root: number): Change => ({
  before: beforeOf(before),
  after: attributesOf(after, root),
})

/** Without the size. */
export function attributeChangeOf({
  mode,
  uid,
  gid,
  accessTime,
  modifyTime,
}: NewAttributes): AttributeChange {
  return {
    ...(mode === undefined ? {} : { mode: mode & 0o7777 }),
    ...(uid === undefined ? {} : { uid }),
    ...(gid === undefined ? {} : { gid }),
    ...(accessTime === undefined ? {} : { accessTime: newTimeOf(accessTime) }),
    ...(modifyTime === undefined ? {} : { modifyTime: newTimeOf(modifyTime) }),
  }
}

const newTimeOf = (time: NewTime): FileTime | 'now' => (time === 'now' ? 'now' : fileTimeOf(time))
