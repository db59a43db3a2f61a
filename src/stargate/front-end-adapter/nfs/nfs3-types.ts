/**
 * The types of NFS version 3 that more than one procedure has (RFC 1813, section 2), their bounds, and their bytes:
 *
 *   fattr3        type │ mode │ nlink │ uid │ gid │ size: 8 │ used: 8 │ rdev: major │ minor │ fsid: 8 │ fileid: 8 │ atime │ mtime │ ctime
 *   nfstime3      seconds │ nanoseconds
 *   post_op_attr  bool │ fattr3 where true
 *   wcc_data      bool │ size: 8 │ mtime │ ctime where true, then post_op_attr: the object before and after
 *   sattr3        mode, uid, gid, size: each a bool and the value where true; atime, mtime: 0 │ 1 │ 2 and nfstime3
 *   nfs_fh3       opaque<64>
 *   diropargs3    nfs_fh3 │ name
 */
import { nameBytesMax } from '../../namespace/namespace.ts'
import type { XdrReader, XdrWriter } from './xdr.ts'

export const handleBytesMax = 64
/** Longer ones are no names in any system: they aren't read. Between the two the answer is NAMETOOLONG. */
export const readNameBytesMax = 4096
/** The most that one READ or WRITE carries, in bytes: what Linux asks for at most. */
export const transferBytesMax = 1024 * 1024
/** Of the opaque values that have a fixed size: cookie verifiers, create verifiers, write verifiers. */
export const verifierBytes = 8

/** What can go wrong, with the protocol's numbers. */
export const nfs3Status = {
  OK: 0,
  PERM: 1,
  NOENT: 2,
  IO: 5,
  NXIO: 6,
  ACCES: 13,
  EXIST: 17,
  XDEV: 18,
  NODEV: 19,
  NOTDIR: 20,
  ISDIR: 21,
  INVAL: 22,
  FBIG: 27,
  NOSPC: 28,
  ROFS: 30,
  MLINK: 31,
  NAMETOOLONG: 63,
  NOTEMPTY: 66,
  DQUOT: 69,
  STALE: 70,
  REMOTE: 71,
  BADHANDLE: 10001,
  NOT_SYNC: 10002,
  BAD_COOKIE: 10003,
  NOTSUPP: 10004,
  TOOSMALL: 10005,
  SERVERFAULT: 10006,
  BADTYPE: 10007,
  JUKEBOX: 10008,
} as const
export type Nfs3Status = keyof typeof nfs3Status
export type Nfs3Error = Exclude<Nfs3Status, 'OK'>

/** In the order of ftype3, whose first is 1. */
export const fileTypes = ['file', 'directory', 'block', 'character', 'link', 'socket', 'fifo'] as const
export type FileType = (typeof fileTypes)[number]

/** How far a write is: in memory, its data durable, or its data and its metadata. */
export const stabilities = ['unstable', 'dataSync', 'fileSync'] as const
export type Stability = (typeof stabilities)[number]

/** Bits of ACCESS. */
export const access = { read: 1, lookup: 2, modify: 4, extend: 8, delete: 16, execute: 32 } as const

/** Bits of FSINFO's `properties`. */
export const fsProperty = { link: 1, symlink: 2, homogeneous: 8, canSetTime: 16 } as const

export interface Time {
  /** Since 1970; below 2^32. */
  readonly seconds: number
  readonly nanoseconds: number
}

export interface Device {
  readonly major: number
  readonly minor: number
}

export interface Attributes {
  readonly type: FileType
  /** Permission bits, without the type. */
  readonly mode: number
  readonly links: number
  readonly uid: number
  readonly gid: number
  readonly sizeBytes: number
  readonly usedBytes: number
  /** Of a block or character device. */
  readonly device?: Device
  readonly fileSystemId: bigint
  readonly fileId: bigint
  readonly accessTime: Time
  readonly modifyTime: Time
  readonly changeTime: Time
}

/** What a client needs of an object before a change to know whether its cache was fresh. */
export interface BeforeChange {
  readonly sizeBytes: number
  readonly modifyTime: Time
  readonly changeTime: Time
}

/** An object around a change: `before` only where nothing else changed it in between. */
export interface Change {
  readonly before?: BeforeChange
  readonly after?: Attributes
}

export type NewTime = 'now' | Time

/** What is to be set; what is missing stays as it is. */
export interface NewAttributes {
  readonly mode?: number
  readonly uid?: number
  readonly gid?: number
  readonly sizeBytes?: number
  readonly accessTime?: NewTime
  readonly modifyTime?: NewTime
}

/** An entry of a directory. */
export interface Place {
  readonly directory: Buffer
  /** Unchecked: see `refusalOfName`. */
  readonly name: Buffer
}

/** Why this can't be the name of something new, or of anything but `.` and `..`; `undefined` where it can. */
export function refusalOfName(name: Buffer): Nfs3Error | undefined {
  if (name.length > nameBytesMax) return 'NAMETOOLONG'
  if (name.length === 0 || name.includes(0) || name.includes('/')) return 'INVAL'
  return undefined
}

export const decodeHandle = (reader: XdrReader): Buffer => reader.opaque(handleBytesMax)

export const decodePlace = (reader: XdrReader): Place => ({
  directory: decodeHandle(reader),
  name: reader.opaque(readNameBytesMax),
})

export const decodeTime = (reader: XdrReader): Time => ({
  seconds: reader.uint32(),
  nanoseconds: reader.uint32(),
})

export const decodeNewAttributes = (reader: XdrReader): NewAttributes => ({
  mode: reader.optional((each) => each.uint32()),
  uid: reader.optional((each) => each.uint32()),
  gid: reader.optional((each) => each.uint32()),
  sizeBytes: reader.optional((each) => each.uint64()),
  accessTime: decodeNewTime(reader),
  modifyTime: decodeNewTime(reader),
})

const timeHows = ['keep', 'serverTime', 'clientTime'] as const

function decodeNewTime(reader: XdrReader): NewTime | undefined {
  const how = reader.oneOf(timeHows)
  switch (how) {
    case 'keep':
      return undefined
    case 'serverTime':
      return 'now'
    case 'clientTime':
      return decodeTime(reader)
    default:
      return how satisfies never
  }
}

export const encodeStatus = (writer: XdrWriter, status: Nfs3Status): void => writer.uint32(nfs3Status[status])

export function encodeTime(writer: XdrWriter, time: Time): void {
  writer.uint32(time.seconds)
  writer.uint32(time.nanoseconds)
}

export const attributesBytes = 84

export function encodeAttributes(writer: XdrWriter, attributes: Attributes): void {
  writer.uint32(fileTypes.indexOf(attributes.type) + 1)
  writer.uint32(attributes.mode)
  writer.uint32(attributes.links)
  writer.uint32(attributes.uid)
  writer.uint32(attributes.gid)
  writer.uint64(attributes.sizeBytes)
  writer.uint64(attributes.usedBytes)
  writer.uint32(attributes.device?.major ?? 0)
  writer.uint32(attributes.device?.minor ?? 0)
  writer.bigUint64(attributes.fileSystemId)
  writer.bigUint64(attributes.fileId)
  encodeTime(writer, attributes.accessTime)
  encodeTime(writer, attributes.modifyTime)
  encodeTime(writer, attributes.changeTime)
}

export const encodeOptionalAttributes = (writer: XdrWriter, attributes: Attributes | undefined): void =>
  writer.optional(attributes, encodeAttributes)

export const encodeOptionalHandle = (writer: XdrWriter, handle: Buffer | undefined): void =>
  writer.optional(handle, (_, each) => writer.opaque(each))

export function encodeChange(writer: XdrWriter, change: Change | undefined): void {
  writer.optional(change?.before, (_, before) => {
    writer.uint64(before.sizeBytes)
    encodeTime(writer, before.modifyTime)
    encodeTime(writer, before.changeTime)
  })
  encodeOptionalAttributes(writer, change?.after)
}
