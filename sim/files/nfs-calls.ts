/**
 * NFS calls as the simulator's clients make them: the bytes of their arguments, and of their results as much as somebody looks at. What they
 * are: nfs3-arguments.ts, nfs3-results.ts.
 */
import {
  mount3ProgramNumber,
  mount3Status,
} from '../../src/stargate/front-end-adapter/nfs/mount3-protocol.ts'
import type { Nfs3Procedure } from '../../src/stargate/front-end-adapter/nfs/nfs3-arguments.ts'
import { nfs3Procedure, nfs3ProgramNumber } from '../../src/stargate/front-end-adapter/nfs/nfs3-protocol.ts'
import {
  fileTypes,
  type FileType,
  handleBytesMax,
  nfs3Status,
  type Nfs3Status,
  stabilities,
  transferBytesMax,
  verifierBytes,
} from '../../src/stargate/front-end-adapter/nfs/nfs3-types.ts'
import type { RpcTarget } from '../../src/stargate/front-end-adapter/nfs/rpc-client.ts'
import type { XdrReader, XdrWriter } from '../../src/stargate/front-end-adapter/nfs/xdr.ts'

/** What clients look at of an object. */
export interface Seen {
  readonly id: string
  readonly type: FileType
  readonly sizeBytes: number
  readonly modifySeconds: number
}

export interface Entry {
  readonly name: string
  readonly id: string
  readonly handle?: Buffer
  readonly seen?: Seen
}

export interface Answer {
  readonly status: Nfs3Status
  readonly handle?: Buffer
  readonly seen?: Seen
  /** Of READ. */
  readonly data?: Buffer
  readonly atEnd?: boolean
  /** Of READDIRPLUS, without `.` and `..`. */
  readonly entries?: readonly Entry[]
}

export interface NfsCall {
  /** Whoever gets it twice does it once. */
  readonly once: boolean
  readonly target: RpcTarget
  readonly encode: (writer: XdrWriter) => void
  readonly decode: (reader: XdrReader) => Answer
}

const statuses = new Map<number, Nfs3Status>(
  Object.entries(nfs3Status).map(([name, number]) => [number, name as Nfs3Status]),
)

const onlyOnce: ReadonlySet<Nfs3Procedure> = new Set<Nfs3Procedure>([
  ...(['setattr', 'create', 'mkdir', 'remove', 'rmdir', 'rename', 'link'] as const),
])

const call = (
  procedure: Nfs3Procedure,
  encode: (writer: XdrWriter) => void,
  decode: (reader: XdrReader, status: Nfs3Status) => Omit<Answer, 'status'>,
): NfsCall => ({
  once: onlyOnce.has(procedure),
  target: { program: nfs3ProgramNumber, version: 3, procedure: nfs3Procedure[procedure] },
  encode,
  decode: (reader) => {
    const status = statuses.get(reader.uint32())!
    return { status, ...decode(reader, status) }
  },
})

function decodeSeen(reader: XdrReader): Seen {
  const type = fileTypes[reader.uint32() - 1]
  reader.fixed(16)
  const sizeBytes = reader.uint64()
  reader.fixed(24)
  const id = String(reader.bigUint64())
  reader.fixed(8)
  const modifySeconds = reader.uint32()
  reader.fixed(12)
  return { id, type, sizeBytes, modifySeconds }
}

const optionalSeen = (reader: XdrReader): { seen?: Seen } => {
  const seen = reader.optional(decodeSeen)
  return seen === undefined ? {} : { seen }
}

/** What stood before is not looked at. */
function decodeChange(reader: XdrReader): { seen?: Seen } {
  reader.optional((each) => each.fixed(24))
  return optionalSeen(reader)
}

const nothing = (): Omit<Answer, 'status'> => ({})

const encodePlace = (writer: XdrWriter, directory: Buffer, name: string): void => {
  writer.opaque(directory)
  writer.text(name)
}

/** None of what a creation or SETATTR may set, but what is said. */
function encodeNew(writer: XdrWriter, set: { sizeBytes?: number; modifySeconds?: number } = {}): void {
  for (let i = 0; i < 3; i++) writer.bool(false)
  writer.optional(set.sizeBytes, (each, size) => each.uint64(size))
  writer.uint32(0)
  writer.uint32(set.modifySeconds === undefined ? 0 : 2)
  if (set.modifySeconds === undefined) return
  writer.uint32(set.modifySeconds)
  writer.uint32(0)
}

function decodeMade(reader: XdrReader, status: Nfs3Status): Omit<Answer, 'status'> {
  if (status !== 'OK') return {}
  const handle = reader.optional((each) => each.opaque(handleBytesMax))
  return { ...(handle === undefined ? {} : { handle }), ...optionalSeen(reader) }
}

export type CreateHow = { readonly mode: 'unchecked' | 'guarded' } | { readonly verifier: Buffer }

/** The handle of a container's root. */
export const mount = (container: string): NfsCall => ({
  once: false,
  target: { program: mount3ProgramNumber, version: 3, procedure: 1 },
  encode: (writer) => writer.text(`/${container}`),
  decode: (reader) => {
    const number = reader.uint32()
    if (number === mount3Status.OK) return { status: 'OK', handle: reader.opaque(handleBytesMax) }
    // It has no word for what is to be asked again.
    return { status: number === mount3Status.SERVERFAULT ? 'JUKEBOX' : statuses.get(number)! }
  },
})

export const getattr = (handle: Buffer): NfsCall =>
  call(
    'getattr',
    (writer) => writer.opaque(handle),
    (reader, status) => (status === 'OK' ? { seen: decodeSeen(reader) } : {}),
  )

export const setattr = (handle: Buffer, set: { sizeBytes?: number; modifySeconds?: number }): NfsCall =>
  call(
    'setattr',
    (writer) => {
      writer.opaque(handle)
      encodeNew(writer, set)
      writer.bool(false)
    },
    decodeChange,
  )

export const lookup = (directory: Buffer, name: string): NfsCall =>
  call(
    'lookup',
    (writer) => encodePlace(writer, directory, name),
    (reader, status) =>
      status === 'OK' ? { handle: reader.opaque(handleBytesMax), ...optionalSeen(reader) } : {},
  )

export const read = (handle: Buffer, offset: number, count: number): NfsCall =>
  call(
    'read',
    (writer) => {
      writer.opaque(handle)
      writer.uint64(offset)
      writer.uint32(count)
    },
    (reader, status) => {
      const seen = optionalSeen(reader)
      if (status !== 'OK') return seen
      reader.uint32()
      return { ...seen, atEnd: reader.bool(), data: reader.opaque(transferBytesMax) }
    },
  )

export const write = (handle: Buffer, offset: number, data: Buffer): NfsCall =>
  call(
    'write',
    (writer) => {
      writer.opaque(handle)
      writer.uint64(offset)
      writer.uint32(data.length)
      writer.oneOf(stabilities, 'unstable')
      writer.pieces([data])
    },
    decodeChange,
  )

export const create = (directory: Buffer, name: string, how: CreateHow): NfsCall =>
  call(
    'create',
    (writer) => {
      encodePlace(writer, directory, name)
      writer.uint32('verifier' in how ? 2 : how.mode === 'guarded' ? 1 : 0)
      if ('verifier' in how) writer.fixed(how.verifier)
      else encodeNew(writer)
    },
    decodeMade,
  )

export const mkdir = (directory: Buffer, name: string): NfsCall =>
  call(
    'mkdir',
    (writer) => {
      encodePlace(writer, directory, name)
      encodeNew(writer)
    },
    decodeMade,
  )

export const remove = (directory: Buffer, name: string): NfsCall =>
  call('remove', (writer) => encodePlace(writer, directory, name), nothing)

export const rmdir = (directory: Buffer, name: string): NfsCall =>
  call('rmdir', (writer) => encodePlace(writer, directory, name), nothing)

export const rename = (from: Buffer, name: string, to: Buffer, as: string): NfsCall =>
  call(
    'rename',
    (writer) => {
      encodePlace(writer, from, name)
      encodePlace(writer, to, as)
    },
    nothing,
  )

export const link = (handle: Buffer, directory: Buffer, name: string): NfsCall =>
  call(
    'link',
    (writer) => {
      writer.opaque(handle)
      encodePlace(writer, directory, name)
    },
    optionalSeen,
  )

/** More than any directory of the simulator's takes. */
const listingBytes = 32 * 1024

export const readdirplus = (handle: Buffer): NfsCall =>
  call(
    'readdirplus',
    (writer) => {
      writer.opaque(handle)
      writer.uint64(0)
      writer.fixed(Buffer.alloc(verifierBytes))
      writer.uint32(listingBytes)
      writer.uint32(listingBytes)
    },
    (reader, status) => {
      reader.optional(decodeSeen)
      if (status !== 'OK') return {}
      reader.fixed(verifierBytes)
      const entries: Entry[] = []
      while (reader.bool()) {
        const id = String(reader.bigUint64())
        const name = reader.text(255)
        reader.bigUint64()
        const seen = reader.optional(decodeSeen)
        const handle = reader.optional((each) => each.opaque(handleBytesMax))
        if (name !== '.' && name !== '..')
          entries.push({ name, id, ...(handle && { handle }), ...(seen && { seen }) })
      }
      return { entries, atEnd: reader.bool() }
    },
  )
