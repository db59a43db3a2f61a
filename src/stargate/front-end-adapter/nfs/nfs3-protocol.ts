/**
 * NFS version 3 (RFC 1813) as a program of ONC RPC: 22 procedures, each of them one method of a service. What their arguments and results
 * are: nfs3-arguments.ts, nfs3-results.ts; the bytes of these are drawn there.
 */
import type { Maybe } from '../../io/io.ts'
import { listingBytesMax } from './directory-listing.ts'
import { nfs3Decoders, type Nfs3Arguments, type Nfs3Procedure } from './nfs3-arguments.ts'
import { nfs3Encoders, type Nfs3Results } from './nfs3-results.ts'
import { transferBytesMax } from './nfs3-types.ts'
import type { Caller, Procedure, Program } from './rpc-program.ts'

export const nfs3ProgramNumber = 100003

/**
 * Who serves files. Errors are told in the results, by `status`; a rejection is answered with SYSTEM_ERR, from which clients learn nothing.
 * A status of JUKEBOX has the client ask again later.
 */
export type Nfs3Service = {
  readonly [Name in Exclude<Nfs3Procedure, 'null'>]: (
    args: Nfs3Arguments[Name],
    caller: Caller,
  ) => Maybe<Nfs3Results[Name]>
}

/** In the order of their numbers. */
const names = [
  'null',
  'getattr',
  'setattr',
  'lookup',
  'access',
  'readlink',
  'read',
  'write',
  'create',
  'mkdir',
  'symlink',
  'mknod',
  'remove',
  'rmdir',
  'rename',
  'link',
  'readdir',
  'readdirplus',
  'fsstat',
  'fsinfo',
  'pathconf',
  'commit',
] as const satisfies readonly Nfs3Procedure[]

/** The numbers of the procedures. */
export const nfs3Procedure = Object.fromEntries(names.map((name, number) => [name, number])) as Readonly<
  Record<Nfs3Procedure, number>
>

/** Writing the same bytes once more changes nothing, so WRITE is not among them. */
const once: ReadonlySet<Nfs3Procedure> = new Set<Nfs3Procedure>([
  'setattr',
  'create',
  'mkdir',
  'symlink',
  'mknod',
  'remove',
  'rmdir',
  'rename',
  'link',
])

const answerBytes: { readonly [Name in Nfs3Procedure]?: (args: Nfs3Arguments[Name]) => number } = {
  read: ({ count }) => Math.min(count, transferBytesMax),
  readdir: ({ count }) => Math.min(count, listingBytesMax),
  readdirplus: ({ count }) => Math.min(count, listingBytesMax),
}

export function nfs3Program(service: Nfs3Service): Program {
  const procedures = names.map((name) => procedureOf(name, service))
  return { name: 'NFS', number: nfs3ProgramNumber, versions: new Map([[3, procedures]]) }
}

function procedureOf<Name extends Nfs3Procedure>(name: Name, service: Nfs3Service): Procedure {
  const procedure: Procedure<Nfs3Arguments[Name], Nfs3Results[Name]> = {
    name: name.toUpperCase(),
    decode: nfs3Decoders[name],
    serve: name === 'null' ? () => undefined as Nfs3Results[Name] : methodOf(name, service),
    encode: nfs3Encoders[name],
    once: once.has(name),
    answerBytes: answerBytes[name],
  }
  return procedure
}

function methodOf<Name extends Nfs3Procedure>(
  name: Name,
  service: Nfs3Service,
): (args: Nfs3Arguments[Name], caller: Caller) => Maybe<Nfs3Results[Name]> {
  // The compiler can't see that a name which is not `null` stands for the method of that name.
  const methods = service as unknown as Record<string, (args: unknown, caller: Caller) => unknown>
  return (args, caller) => methods[name](args, caller) as Maybe<Nfs3Results[Name]>
}
