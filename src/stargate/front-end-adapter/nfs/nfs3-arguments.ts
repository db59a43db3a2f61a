/**
 * The arguments of the procedures of NFS version 3 (RFC 1813, section 3.3), as they come. A decoder checks what the bytes must be to be
 * understood (bounds, enumerations) and throws XdrError; whether they make sense (names, handles, ranges) is for whoever serves them.
 * In words of 4 bytes; the types that several share are drawn in nfs3-types.ts:
 *
 *   SETATTR      nfs_fh3 │ sattr3 │ guard: bool │ ctime where true
 *   ACCESS       nfs_fh3 │ bits
 *   READ         nfs_fh3 │ offset: 8 │ count
 *   WRITE        nfs_fh3 │ offset: 8 │ count │ stable │ opaque data<>
 *   CREATE       diropargs3 │ 0 unchecked, 1 guarded │ sattr3
 *                           │ 2 exclusive │ verifier: 8
 *   MKDIR        diropargs3 │ sattr3
 *   SYMLINK      diropargs3 │ sattr3 │ string path<>
 *   MKNOD        diropargs3 │ ftype3 │ sattr3 │ major │ minor        (devices)
 *                                    │ sattr3                        (sockets, fifos)
 *   RENAME       diropargs3 from │ diropargs3 to
 *   LINK         nfs_fh3 │ diropargs3
 *   READDIR      nfs_fh3 │ cookie: 8 │ verifier: 8 │ count
 *   READDIRPLUS  nfs_fh3 │ cookie: 8 │ verifier: 8 │ dircount │ maxcount
 *   COMMIT       nfs_fh3 │ offset: 8 │ count
 *
 * GETATTR, READLINK, FSSTAT, FSINFO and PATHCONF have a nfs_fh3; LOOKUP, REMOVE and RMDIR a diropargs3; NULL nothing.
 */
import { linkBytesMax } from '../../namespace/namespace.ts'
import { XdrError, type XdrReader } from './xdr.ts'
import {
  decodeHandle,
  decodeNewAttributes,
  decodePlace,
  decodeTime,
  fileTypes,
  stabilities,
  transferBytesMax,
  verifierBytes,
  type Device,
  type FileType,
  type NewAttributes,
  type Place,
  type Stability,
  type Time,
} from './nfs3-types.ts'

/** By handle alone. */
export interface OfHandle {
  readonly handle: Buffer
}

export type CreateMode =
  /** Where there is such a file: unchecked, it is taken, and gets these attributes; guarded, the answer is EXIST. */
  | { readonly mode: 'unchecked' | 'guarded'; readonly attributes: NewAttributes }
  /** Where there is one it must have been made under the same 8 bytes. */
  | { readonly mode: 'exclusive'; readonly verifier: Buffer }

export type NewNode =
  | { readonly type: 'block' | 'character'; readonly attributes: NewAttributes; readonly device: Device }
  | { readonly type: 'socket' | 'fifo'; readonly attributes: NewAttributes }
  /** Nothing that MKNOD makes: the answer is BADTYPE. */
  | { readonly type: 'file' | 'directory' | 'link' | 'unknown' }

export interface Nfs3Arguments {
  readonly null: undefined
  readonly getattr: OfHandle
  readonly setattr: {
    readonly handle: Buffer
    readonly attributes: NewAttributes
    /** The change is made only where the object's change time is this one; else the answer is NOT_SYNC. */
    readonly guard?: Time
  }
  readonly lookup: Place
  readonly access: { readonly handle: Buffer; readonly wanted: number }
  readonly readlink: OfHandle
  /** `offset` may be beyond any size; `count` may be anything below 2^32, and fewer bytes may be answered. */
  readonly read: { readonly handle: Buffer; readonly offset: number; readonly count: number }
  readonly write: {
    readonly handle: Buffer
    readonly offset: number
    /** The bytes of `data`; at most `transferBytesMax`. */
    readonly count: number
    readonly stability: Stability
    /** Windows on what was received, which are the callee's to keep. One, but for a client that cuts its records. */
    readonly data: readonly Buffer[]
  }
  readonly create: Place & { readonly how: CreateMode }
  readonly mkdir: Place & { readonly attributes: NewAttributes }
  readonly symlink: Place & { readonly attributes: NewAttributes; readonly target: Buffer }
  readonly mknod: Place & { readonly node: NewNode }
  readonly remove: Place
  readonly rmdir: Place
  readonly rename: { readonly from: Place; readonly to: Place }
  readonly link: { readonly handle: Buffer; readonly to: Place }
  readonly readdir: {
    readonly handle: Buffer
    /** 0: from the beginning; else of the last entry that the client has. */
    readonly cookie: bigint
    readonly verifier: Buffer
    /** Bytes that the answer may have: see directory-listing.ts. */
    readonly count: number
  }
  readonly readdirplus: {
    readonly handle: Buffer
    readonly cookie: bigint
    readonly verifier: Buffer
    /** Bytes that names, file ids and cookies may have. */
    readonly namesCount: number
    /** Bytes that the answer may have. */
    readonly count: number
  }
  readonly fsstat: OfHandle
  readonly fsinfo: OfHandle
  readonly pathconf: OfHandle
  /** `count` 0: to the end of the file. */
  readonly commit: { readonly handle: Buffer; readonly offset: number; readonly count: number }
}

export type Nfs3Procedure = keyof Nfs3Arguments

const ofHandle = (reader: XdrReader): OfHandle => ({ handle: decodeHandle(reader) })

export const nfs3Decoders: {
  readonly [Name in Nfs3Procedure]: (reader: XdrReader) => Nfs3Arguments[Name]
} = {
  null: () => undefined,
  getattr: ofHandle,
  setattr: (reader) => ({
    handle: decodeHandle(reader),
    attributes: decodeNewAttributes(reader),
    guard: reader.optional(decodeTime),
  }),
  lookup: decodePlace,
  access: (reader) => ({ handle: decodeHandle(reader), wanted: reader.uint32() }),
  readlink: ofHandle,
  read: (reader) => ({ handle: decodeHandle(reader), offset: reader.uint64(), count: reader.uint32() }),
  write: decodeWrite,
  create: (reader) => ({ ...decodePlace(reader), how: decodeCreateMode(reader) }),
  mkdir: (reader) => ({ ...decodePlace(reader), attributes: decodeNewAttributes(reader) }),
  symlink: (reader) => ({
    ...decodePlace(reader),
    attributes: decodeNewAttributes(reader),
    target: reader.opaque(linkBytesMax),
  }),
  mknod: (reader) => ({ ...decodePlace(reader), node: decodeNewNode(reader) }),
  remove: decodePlace,
  rmdir: decodePlace,
  rename: (reader) => ({ from: decodePlace(reader), to: decodePlace(reader) }),
  link: (reader) => ({ handle: decodeHandle(reader), to: decodePlace(reader) }),
  readdir: (reader) => ({
    handle: decodeHandle(reader),
    cookie: reader.bigUint64(),
    verifier: reader.fixed(verifierBytes),
    count: reader.uint32(),
  }),
  readdirplus: (reader) => ({
    handle: decodeHandle(reader),
    cookie: reader.bigUint64(),
    verifier: reader.fixed(verifierBytes),
    namesCount: reader.uint32(),
    count: reader.uint32(),
  }),
  fsstat: ofHandle,
  fsinfo: ofHandle,
  pathconf: ofHandle,
  commit: (reader) => ({ handle: decodeHandle(reader), offset: reader.uint64(), count: reader.uint32() }),
}

function decodeWrite(reader: XdrReader): Nfs3Arguments['write'] {
  const handle = decodeHandle(reader)
  const offset = reader.uint64()
  const count = reader.uint32()
  const stability = reader.oneOf(stabilities)
  const data = reader.pieces(transferBytesMax)
  // They say the same twice; where they don't, nobody knows what was meant.
  if (data.reduce((sum, { length }) => sum + length, 0) !== count)
    throw new XdrError('A WRITE has another count than bytes')
  return { handle, offset, count, stability, data }
}

const createModes = ['unchecked', 'guarded', 'exclusive'] as const

function decodeCreateMode(reader: XdrReader): CreateMode {
  const mode = reader.oneOf(createModes)
  if (mode === 'exclusive') return { mode, verifier: reader.fixed(verifierBytes) }
  return { mode, attributes: decodeNewAttributes(reader) }
}

function decodeNewNode(reader: XdrReader): NewNode {
  const number = reader.uint32()
  const type: FileType | 'unknown' =
    number >= 1 && number <= fileTypes.length ? fileTypes[number - 1] : 'unknown'
  switch (type) {
    case 'block':
    case 'character':
      return {
        type,
        attributes: decodeNewAttributes(reader),
        device: { major: reader.uint32(), minor: reader.uint32() },
      }
    case 'socket':
    case 'fifo':
      return { type, attributes: decodeNewAttributes(reader) }
    case 'file':
    case 'directory':
    case 'link':
    case 'unknown':
      return { type }
    default:
      return type satisfies never
  }
}
