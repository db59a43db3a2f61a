/**
 * The results of the procedures of NFS version 3 (RFC 1813, section 3.3), as whoever serves them gives them. Each begins with a status;
 * where that is not OK there follows only what tells a client how its cache stands. In words of 4 bytes; what several share is drawn in
 * nfs3-types.ts:
 *
 *                OK                                                            else
 *   GETATTR      fattr3                                                        nothing
 *   SETATTR      wcc_data                                                      wcc_data
 *   LOOKUP       nfs_fh3 │ post_op_attr │ post_op_attr of the directory        post_op_attr of the directory
 *   ACCESS       post_op_attr │ bits                                           post_op_attr
 *   READLINK     post_op_attr │ string path<>                                  post_op_attr
 *   READ         post_op_attr │ count │ eof │ opaque data<>                    post_op_attr
 *   WRITE        wcc_data │ count │ committed │ verifier: 8                    wcc_data
 *   CREATE, MKDIR, SYMLINK, MKNOD
 *                post_op_fh3 │ post_op_attr │ wcc_data of the directory        wcc_data of the directory
 *   REMOVE, RMDIR   wcc_data of the directory                                  wcc_data of the directory
 *   RENAME       wcc_data from │ wcc_data to                                   wcc_data from │ wcc_data to
 *   LINK         post_op_attr │ wcc_data of the directory                      post_op_attr │ wcc_data of the directory
 *   READDIR, READDIRPLUS
 *                post_op_attr │ verifier: 8 │ entries │ false │ eof            post_op_attr
 *   FSSTAT       post_op_attr │ tbytes fbytes abytes tfiles ffiles afiles: 8 each │ invarsec     post_op_attr
 *   FSINFO       post_op_attr │ rtmax rtpref rtmult wtmax wtpref wtmult dtpref │ maxfilesize: 8 │ time_delta │ properties   post_op_attr
 *   PATHCONF     post_op_attr │ linkmax name_max no_trunc chown_restricted case_insensitive case_preserving              post_op_attr
 *   COMMIT       wcc_data │ verifier: 8                                        wcc_data
 */
import type { DirectoryListing, DirectoryListingPlus } from './directory-listing.ts'
import type { Nfs3Procedure } from './nfs3-arguments.ts'
import {
  encodeAttributes,
  encodeChange,
  encodeOptionalAttributes,
  encodeOptionalHandle,
  encodeStatus,
  encodeTime,
  stabilities,
  type Attributes,
  type Change,
  type Nfs3Error,
  type Stability,
  type Time,
} from './nfs3-types.ts'
import type { XdrWriter } from './xdr.ts'

/** `Always` stands in the answer whether it went well or not. */
type Outcome<Ok, Always> = (({ readonly status: 'OK' } & Ok) | { readonly status: Nfs3Error }) & Always

/** The object, after the call. It may be missing everywhere but in GETATTR. */
interface After {
  readonly attributes?: Attributes
}
interface Changed {
  readonly change?: Change
}
interface DirectoryChanged {
  readonly directoryChange?: Change
}
/** What was made. A client looks it up where something is missing. */
interface Made {
  readonly handle?: Buffer
  readonly attributes?: Attributes
}
/** 8 bytes that change when what was written unstable may be lost: with each start of the server. */
interface WriteVerifier {
  readonly verifier: Buffer
}
interface Listed<L> {
  /** 8 bytes that come back with the cookies. */
  readonly verifier: Buffer
  readonly listing: L
  /** No entry follows the last one of the listing. */
  readonly atEnd: boolean
}

export interface Nfs3Results {
  readonly null: void
  readonly getattr: Outcome<{ readonly attributes: Attributes }, unknown>
  readonly setattr: Outcome<unknown, Changed>
  readonly lookup: Outcome<
    { readonly handle: Buffer; readonly attributes?: Attributes },
    { readonly directoryAttributes?: Attributes }
  >
  readonly access: Outcome<{ readonly granted: number }, After>
  readonly readlink: Outcome<{ readonly target: Buffer }, After>
  /** `data` is not copied: it stays as it is until it was sent. */
  readonly read: Outcome<{ readonly data: readonly Buffer[]; readonly atEnd: boolean }, After>
  readonly write: Outcome<{ readonly count: number; readonly committed: Stability } & WriteVerifier, Changed>
  readonly create: Outcome<Made, DirectoryChanged>
  readonly mkdir: Outcome<Made, DirectoryChanged>
  readonly symlink: Outcome<Made, DirectoryChanged>
  readonly mknod: Outcome<Made, DirectoryChanged>
  readonly remove: Outcome<unknown, DirectoryChanged>
  readonly rmdir: Outcome<unknown, DirectoryChanged>
  readonly rename: Outcome<unknown, { readonly fromChange?: Change; readonly toChange?: Change }>
  readonly link: Outcome<unknown, After & DirectoryChanged>
  readonly readdir: Outcome<Listed<DirectoryListing>, After>
  readonly readdirplus: Outcome<Listed<DirectoryListingPlus>, After>
  readonly fsstat: Outcome<FsStat, After>
  readonly fsinfo: Outcome<FsInfo, After>
  readonly pathconf: Outcome<PathConf, After>
  readonly commit: Outcome<WriteVerifier, Changed>
}

export interface FsStat {
  readonly totalBytes: number
  readonly freeBytes: number
  /** Free for this user. */
  readonly availableBytes: number
  readonly totalFiles: number
  readonly freeFiles: number
  readonly availableFiles: number
  /** For how long these figures hold; 0: at any moment they may be others. */
  readonly steadySeconds: number
}

export interface FsInfo {
  readonly readBytesMax: number
  readonly readBytesPreferred: number
  readonly readBytesMultiple: number
  readonly writeBytesMax: number
  readonly writeBytesPreferred: number
  readonly writeBytesMultiple: number
  readonly readdirBytesPreferred: number
  readonly fileBytesMax: number
  readonly timeDelta: Time
  /** Bits of `fsProperty`. */
  readonly properties: number
}

export interface PathConf {
  readonly linksMax: number
  readonly nameBytesMax: number
  /** Long names are refused, not cut off. */
  readonly noTruncation: boolean
  readonly chownRestricted: boolean
  readonly caseInsensitive: boolean
  readonly casePreserving: boolean
}

type Encoder<Name extends Nfs3Procedure> = (writer: XdrWriter, result: Nfs3Results[Name]) => void

export const nfs3Encoders: { readonly [Name in Nfs3Procedure]: Encoder<Name> } = {
  null: () => {},
  getattr: (writer, result) => {
    encodeStatus(writer, result.status)
    if (result.status === 'OK') encodeAttributes(writer, result.attributes)
  },
  setattr: (writer, result) => {
    encodeStatus(writer, result.status)
    encodeChange(writer, result.change)
  },
  lookup: (writer, result) => {
    encodeStatus(writer, result.status)
    if (result.status === 'OK') {
      writer.opaque(result.handle)
      encodeOptionalAttributes(writer, result.attributes)
    }
    encodeOptionalAttributes(writer, result.directoryAttributes)
  },
  access: (writer, result) => {
    encodeAfter(writer, result)
    if (result.status === 'OK') writer.uint32(result.granted)
  },
  readlink: (writer, result) => {
    encodeAfter(writer, result)
    if (result.status === 'OK') writer.opaque(result.target)
  },
  read: (writer, result) => {
    encodeAfter(writer, result)
    if (result.status !== 'OK') return
    writer.uint32(result.data.reduce((sum, { length }) => sum + length, 0))
    writer.bool(result.atEnd)
    writer.pieces(result.data)
  },
  write: (writer, result) => {
    encodeStatus(writer, result.status)
    encodeChange(writer, result.change)
    if (result.status !== 'OK') return
    writer.uint32(result.count)
    writer.oneOf(stabilities, result.committed)
    writer.fixed(result.verifier)
  },
  create: encodeMade,
  mkdir: encodeMade,
  symlink: encodeMade,
  mknod: encodeMade,
  remove: encodeRemoved,
  rmdir: encodeRemoved,
  rename: (writer, result) => {
    encodeStatus(writer, result.status)
    encodeChange(writer, result.fromChange)
    encodeChange(writer, result.toChange)
  },
  link: (writer, result) => {
    encodeAfter(writer, result)
    encodeChange(writer, result.directoryChange)
  },
  readdir: encodeListed,
  readdirplus: encodeListed,
  fsstat: (writer, result) => {
    encodeAfter(writer, result)
    if (result.status !== 'OK') return
    for (const number of [
      result.totalBytes,
      result.freeBytes,
      result.availableBytes,
      result.totalFiles,
      result.freeFiles,
      result.availableFiles,
    ])
      writer.uint64(number)
    writer.uint32(result.steadySeconds)
  },
  fsinfo: (writer, result) => {
    encodeAfter(writer, result)
    if (result.status !== 'OK') return
    for (const number of [
      result.readBytesMax,
      result.readBytesPreferred,
      result.readBytesMultiple,
      result.writeBytesMax,
      result.writeBytesPreferred,
      result.writeBytesMultiple,
      result.readdirBytesPreferred,
    ])
      writer.uint32(number)
    writer.uint64(result.fileBytesMax)
    encodeTime(writer, result.timeDelta)
    writer.uint32(result.properties)
  },
  pathconf: (writer, result) => {
    encodeAfter(writer, result)
    if (result.status !== 'OK') return
    writer.uint32(result.linksMax)
    writer.uint32(result.nameBytesMax)
    writer.bool(result.noTruncation)
    writer.bool(result.chownRestricted)
    writer.bool(result.caseInsensitive)
    writer.bool(result.casePreserving)
  },
  commit: (writer, result) => {
    encodeStatus(writer, result.status)
    encodeChange(writer, result.change)
    if (result.status === 'OK') writer.fixed(result.verifier)
  },
}

function encodeAfter(writer: XdrWriter, result: Outcome<unknown, After>): void {
  encodeStatus(writer, result.status)
  encodeOptionalAttributes(writer, result.attributes)
}

function encodeMade(writer: XdrWriter, result: Outcome<Made, DirectoryChanged>): void {
  encodeStatus(writer, result.status)
  if (result.status === 'OK') {
    encodeOptionalHandle(writer, result.handle)
    encodeOptionalAttributes(writer, result.attributes)
  }
  encodeChange(writer, result.directoryChange)
}

function encodeRemoved(writer: XdrWriter, result: Outcome<unknown, DirectoryChanged>): void {
  encodeStatus(writer, result.status)
  encodeChange(writer, result.directoryChange)
}

function encodeListed(
  writer: XdrWriter,
  result: Outcome<Listed<DirectoryListing | DirectoryListingPlus>, After>,
): void {
  encodeAfter(writer, result)
  if (result.status !== 'OK') return
  writer.fixed(result.verifier)
  writer.append(result.listing.finish())
  writer.bool(false)
  writer.bool(result.atEnd)
}
