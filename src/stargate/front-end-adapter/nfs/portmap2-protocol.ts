/**
 * The port mapper, version 2 (RFC 1833, section 3): on which port a program listens.
 *
 *   mapping   program │ version │ protocol (6 TCP, 17 UDP) │ port
 *
 *   SET       mapping  →  bool
 *   UNSET     mapping  →  bool;          protocol and port of it mean nothing
 *   GETPORT   mapping  →  port, or 0;    port of it means nothing
 *   DUMP               →  true │ mapping, for each; false
 *
 * CALLIT, by which a port mapper calls other programs for a client, is answered with PROC_UNAVAIL: it lets strangers speak with our address.
 * The encoders and decoders of the other direction serve who registers with the port mapper of the machine.
 */
import type { Maybe } from '../../io/io.ts'
import { nothing, nullProcedure, procedure, type Caller, type Program } from './rpc-program.ts'
import type { XdrReader, XdrWriter } from './xdr.ts'

export const portmap2ProgramNumber = 100000
export const portmap2Procedure = { null: 0, set: 1, unset: 2, getport: 3, dump: 4 } as const
export const portmapProtocol = { tcp: 6, udp: 17 } as const

export interface PortMapping {
  readonly program: number
  readonly version: number
  /** One of `portmapProtocol`. */
  readonly protocol: number
  readonly port: number
}

export interface Portmap2Service {
  /** False: it was not done. */
  set(args: PortMapping, caller: Caller): Maybe<boolean>
  unset(args: PortMapping, caller: Caller): Maybe<boolean>
  /** 0: there is none. */
  getport(args: PortMapping, caller: Caller): Maybe<number>
  dump(args: undefined, caller: Caller): Maybe<readonly PortMapping[]>
}

export const decodePortMapping = (reader: XdrReader): PortMapping => ({
  program: reader.uint32(),
  version: reader.uint32(),
  protocol: reader.uint32(),
  port: reader.uint32(),
})

export function encodePortMapping(writer: XdrWriter, mapping: PortMapping): void {
  writer.uint32(mapping.program)
  writer.uint32(mapping.version)
  writer.uint32(mapping.protocol)
  writer.uint32(mapping.port)
}

const encodeDone = (writer: XdrWriter, done: boolean): void => writer.bool(done)

export function portmap2Program(service: Portmap2Service): Program {
  const procedures = [
    nullProcedure,
    procedure<PortMapping, boolean>({
      name: 'SET',
      decode: decodePortMapping,
      serve: (args, caller) => service.set(args, caller),
      encode: encodeDone,
    }),
    procedure<PortMapping, boolean>({
      name: 'UNSET',
      decode: decodePortMapping,
      serve: (args, caller) => service.unset(args, caller),
      encode: encodeDone,
    }),
    procedure<PortMapping, number>({
      name: 'GETPORT',
      decode: decodePortMapping,
      serve: (args, caller) => service.getport(args, caller),
      encode: (writer, port) => writer.uint32(port),
    }),
    procedure<undefined, readonly PortMapping[]>({
      name: 'DUMP',
      decode: nothing,
      serve: (args, caller) => service.dump(args, caller),
      encode: (writer, mappings) => writer.chain(mappings, encodePortMapping),
    }),
  ]
  return { name: 'PORTMAP', number: portmap2ProgramNumber, versions: new Map([[2, procedures]]) }
}
