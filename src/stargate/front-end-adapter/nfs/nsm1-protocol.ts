/**
 * The Network Status Monitor, version 1 (X/Open "Protocols for Interworking: XNFS", chapter 11): who holds locks hears of it when the other
 * side has started again. Each machine has a state, which is odd while it is up and grows with each start.
 *
 *   STAT         name<1024>                                      →  result │ state
 *   MON          name │ my_id │ private: 16                       →  result │ state
 *   UNMON        name │ my_id                                     →  state
 *   UNMON_ALL    my_id                                            →  state
 *   SIMU_CRASH                                                    →  nothing
 *   NOTIFY       name │ state                                     →  nothing
 *
 *   my_id        name<1024> │ program │ version │ procedure:      what to call when the monitored host has started again
 *   result       0 done, 1 refused
 *
 * Clients that start again send NOTIFY, and a server does the same to those who had locks; the other procedures are what a machine's own
 * lock manager asks its status monitor for.
 */
import type { Maybe } from '../../io/io.ts'
import { nothing, nullProcedure, procedure, type Caller, type Program } from './rpc-program.ts'
import type { XdrReader, XdrWriter } from './xdr.ts'

export const nsm1ProgramNumber = 100024
export const nsm1Procedure = {
  null: 0,
  stat: 1,
  mon: 2,
  unmon: 3,
  unmonAll: 4,
  simuCrash: 5,
  notify: 6,
} as const
export const nsmNameBytesMax = 1024
const privateBytes = 16

/** Whom to call back. */
export interface NsmCallback {
  readonly name: string
  readonly program: number
  readonly version: number
  readonly procedure: number
}

export interface NsmMonitored {
  /** The host that is watched. */
  readonly name: string
  readonly callback: NsmCallback
}

/** A host has started again: all locks that it held, or that it kept for us, are gone. */
export interface NsmNotice {
  readonly name: string
  /** Signed, though it never is below 0. */
  readonly state: number
}

export interface NsmStat {
  readonly done: boolean
  readonly state: number
}

export interface Nsm1Service {
  stat(args: { readonly name: string }, caller: Caller): Maybe<NsmStat>
  /** `private`: 16 bytes that come back in the callback. */
  mon(args: NsmMonitored & { readonly private: Buffer }, caller: Caller): Maybe<NsmStat>
  /** Resolves to our state. */
  unmon(args: NsmMonitored, caller: Caller): Maybe<number>
  /** Resolves to our state. */
  unmonAll(args: NsmCallback, caller: Caller): Maybe<number>
  simuCrash(args: undefined, caller: Caller): Maybe<void>
  notify(args: NsmNotice, caller: Caller): Maybe<void>
}

const decodeName = (reader: XdrReader): { name: string } => ({ name: reader.text(nsmNameBytesMax) })

const decodeCallback = (reader: XdrReader): NsmCallback => ({
  name: reader.text(nsmNameBytesMax),
  program: reader.int32(),
  version: reader.int32(),
  procedure: reader.int32(),
})

const decodeMonitored = (reader: XdrReader): NsmMonitored => ({
  name: reader.text(nsmNameBytesMax),
  callback: decodeCallback(reader),
})

export const nsm1Decoders = {
  stat: decodeName,
  mon: (reader: XdrReader) => ({ ...decodeMonitored(reader), private: reader.fixed(privateBytes) }),
  unmon: decodeMonitored,
  unmonAll: decodeCallback,
  notify: (reader: XdrReader): NsmNotice => ({ name: reader.text(nsmNameBytesMax), state: reader.int32() }),
}

/** The arguments of our own NOTIFY. */
export function encodeNsmNotice(writer: XdrWriter, notice: NsmNotice): void {
  writer.text(notice.name)
  writer.int32(notice.state)
}

function encodeStat(writer: XdrWriter, { done, state }: NsmStat): void {
  writer.uint32(done ? 0 : 1)
  writer.int32(state)
}

const encodeState = (writer: XdrWriter, state: number): void => writer.int32(state)

export function nsm1Program(service: Nsm1Service): Program {
  const procedures = [
    nullProcedure,
    procedure<{ name: string }, NsmStat>({
      name: 'STAT',
      decode: nsm1Decoders.stat,
      serve: (args, caller) => service.stat(args, caller),
      encode: encodeStat,
    }),
    procedure<NsmMonitored & { private: Buffer }, NsmStat>({
      name: 'MON',
      decode: nsm1Decoders.mon,
      serve: (args, caller) => service.mon(args, caller),
      encode: encodeStat,
    }),
    procedure<NsmMonitored, number>({
      name: 'UNMON',
      decode: nsm1Decoders.unmon,
      serve: (args, caller) => service.unmon(args, caller),
      encode: encodeState,
    }),
    procedure<NsmCallback, number>({
      name: 'UNMON_ALL',
      decode: nsm1Decoders.unmonAll,
      serve: (args, caller) => service.unmonAll(args, caller),
      encode: encodeState,
    }),
    procedure<undefined, void>({
      name: 'SIMU_CRASH',
      decode: nothing,
      serve: (args, caller) => service.simuCrash(args, caller),
      encode: nothing,
    }),
    procedure<NsmNotice, void>({
      name: 'NOTIFY',
      decode: nsm1Decoders.notify,
      serve: (args, caller) => service.notify(args, caller),
      encode: nothing,
    }),
  ]
  return { name: 'NSM', number: nsm1ProgramNumber, versions: new Map([[1, procedures]]) }
}
