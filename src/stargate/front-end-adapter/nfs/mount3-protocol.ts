/**
 * The MOUNT protocol, version 3 (RFC 1813, appendix I): from the path of an export to the handle of its root, and a list of who has asked
 * for which. The list is for people only; clients die without a word.
 *
 *   MNT      string path<1024>  →  status │ nfs_fh3 │ flavours<>  where the status is OK
 *   DUMP                        →  true │ host<255> │ path<1024>, for each; false
 *   UMNT     string path<1024>  →  nothing
 *   UMNTALL                     →  nothing
 *   EXPORT                      →  true │ path<1024> │ groups, for each; false;   groups: true │ name<255>, for each; false
 */
import type { Maybe } from '../../io/io.ts'
import { nothing, nullProcedure, procedure, type Caller, type Program } from './rpc-program.ts'
import type { XdrReader, XdrWriter } from './xdr.ts'

export const mount3ProgramNumber = 100005
export const mountPathBytesMax = 1024

export const mount3Status = {
  OK: 0,
  PERM: 1,
  NOENT: 2,
  IO: 5,
  ACCES: 13,
  NOTDIR: 20,
  INVAL: 22,
  NAMETOOLONG: 63,
  NOTSUPP: 10004,
  SERVERFAULT: 10006,
} as const
export type Mount3Status = keyof typeof mount3Status

/** What a client may present to NFS, by the numbers of RPC: the strongest first. */
export const mountFlavour = { none: 0, sys: 1 } as const

export interface MountArguments {
  /** As the client's user wrote it; perhaps without the slash in front. */
  readonly path: Buffer
}

export type MountResult =
  | { readonly status: 'OK'; readonly handle: Buffer; readonly flavours: readonly number[] }
  | { readonly status: Exclude<Mount3Status, 'OK'> }

export interface MountEntry {
  readonly host: string
  readonly path: Buffer
}

export interface ExportEntry {
  readonly path: Buffer
  /** Who may mount it; empty: everyone. */
  readonly groups: readonly string[]
}

export interface Mount3Service {
  mnt(args: MountArguments, caller: Caller): Maybe<MountResult>
  dump(args: undefined, caller: Caller): Maybe<readonly MountEntry[]>
  umnt(args: MountArguments, caller: Caller): Maybe<void>
  umntall(args: undefined, caller: Caller): Maybe<void>
  export(args: undefined, caller: Caller): Maybe<readonly ExportEntry[]>
}

export const decodeMountArguments = (reader: XdrReader): MountArguments => ({
  path: reader.opaque(mountPathBytesMax),
})

export function encodeMountResult(writer: XdrWriter, result: MountResult): void {
  writer.uint32(mount3Status[result.status])
  if (result.status !== 'OK') return
  writer.opaque(result.handle)
  writer.array(result.flavours, (each, flavour) => each.uint32(flavour))
}

export function encodeMounts(writer: XdrWriter, mounts: readonly MountEntry[]): void {
  writer.chain(mounts, (each, { host, path }) => {
    each.text(host)
    each.opaque(path)
  })
}

export function encodeExports(writer: XdrWriter, exports: readonly ExportEntry[]): void {
  writer.chain(exports, (each, { path, groups }) => {
    each.opaque(path)
    each.chain(groups, (one, group) => one.text(group))
  })
}

export function mount3Program(service: Mount3Service): Program {
  const procedures = [
    nullProcedure,
    procedure<MountArguments, MountResult>({
      name: 'MNT',
      decode: decodeMountArguments,
      serve: (args, caller) => service.mnt(args, caller),
      encode: encodeMountResult,
    }),
    procedure<undefined, readonly MountEntry[]>({
      name: 'DUMP',
      decode: nothing,
      serve: (args, caller) => service.dump(args, caller),
      encode: encodeMounts,
    }),
    procedure<MountArguments, void>({
      name: 'UMNT',
      decode: decodeMountArguments,
      serve: (args, caller) => service.umnt(args, caller),
      encode: nothing,
    }),
    procedure<undefined, void>({
      name: 'UMNTALL',
      decode: nothing,
      serve: (args, caller) => service.umntall(args, caller),
      encode: nothing,
    }),
    procedure<undefined, readonly ExportEntry[]>({
      name: 'EXPORT',
      decode: nothing,
      serve: (args, caller) => service.export(args, caller),
      encode: encodeExports,
    }),
  ]
  return { name: 'MOUNT', number: mount3ProgramNumber, versions: new Map([[3, procedures]]) }
}
