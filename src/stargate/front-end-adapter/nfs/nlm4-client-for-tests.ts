/** A machine that locks files by NLM, for tests: a client, with a lock manager and a port mapper of its own. */
import assert from 'node:assert/strict'
import type { Platform } from '../../../platform/platform.ts'
import {
  decodeNlm4Result,
  type Nlm4Lock,
  type Nlm4Result,
  type Nlm4Status,
  type Nlm4TestArguments,
} from './nlm4-messages.ts'
import { nlm4Procedure, nlm4Program, nlm4ProgramNumber, type Nlm4Service } from './nlm4-protocol.ts'
import { portmap2Program } from './portmap2-protocol.ts'
import { connectRpc, type RpcClient } from './rpc-client.ts'
import type { Caller } from './rpc-program.ts'
import { createRpcServer } from './rpc-server.ts'
import type { Credentials } from './rpc.ts'
import type { XdrReader, XdrWriter } from './xdr.ts'

/** A test, or what else ends. */
interface Ends {
  after(end: () => Promise<void>): void
}

const timeoutMs = 20_000
const root: Credentials = { flavour: 'sys', machine: 'c', uid: 0, gid: 0, gids: [] }
export const cookie = Buffer.of(7, 7)

export const lockOf = (handle: Buffer, caller = 'vm1', svid = 1, offset = 0n, length = 0n): Nlm4Lock => ({
  ...{ caller, handle, svid, offset, length },
  owner: Buffer.from(`${svid}@${caller}`),
})

export function writeLock(writer: XdrWriter, lock: Nlm4Lock): void {
  writer.text(lock.caller)
  writer.opaque(lock.handle)
  writer.opaque(lock.owner)
  writer.int32(lock.svid)
  writer.bigUint64(lock.offset)
  writer.bigUint64(lock.length)
}

/** A client's machine: it calls from its address, on which its lock manager and its port mapper listen. */
export class LockingMachine {
  readonly host: string
  readonly granted: { readonly args: Nlm4TestArguments; readonly from: string }[] = []
  readonly results: [kind: string, status: Nlm4Status][] = []
  answer: Nlm4Status = 'GRANTED'
  readonly #platform: Platform
  readonly #connections: RpcClient[] = []

  static async start(
    platform: Platform,
    t: Ends,
    host: string,
    portMapperPort = 0,
  ): Promise<[LockingMachine, number]> {
    const machine = new LockingMachine(platform, host)
    const program = nlm4Program({
      granted: (args: Nlm4TestArguments, caller: Caller): Nlm4Result => {
        machine.granted.push({ args, from: caller.host })
        return { cookie: args.cookie, status: machine.answer }
      },
      answered: (kind: string, { status }: Nlm4Result) => void machine.results.push([kind, status]),
    } as unknown as Nlm4Service)
    const manager = createRpcServer({ platform, programs: [program] })
    const port = Number((await manager.listen(`${host}:0`)).split(':').at(-1))
    const ports = portmap2Program({
      set: () => false,
      unset: () => false,
      dump: () => [],
      getport: ({ program, version, protocol }) =>
        program === nlm4ProgramNumber && version === 4 && protocol === 6 ? port : 0,
    })
    const mapper = createRpcServer({ platform, programs: [ports] })
    const mapped = Number((await mapper.listen(`${host}:${portMapperPort}`)).split(':').at(-1))
    t.after(async () => {
      for (const client of machine.#connections) client.close()
      await Promise.all([manager.close(), mapper.close()])
    })
    return [machine, mapped]
  }

  private constructor(platform: Platform, host: string) {
    this.#platform = platform
    this.host = host
  }

  async connect(address: string): Promise<RpcClient> {
    const client = await connectRpc(this.#platform, address, timeoutMs, {
      fromHost: this.host,
      credentials: root,
    })
    this.#connections.push(client)
    return client
  }
}

export const call = (
  client: RpcClient,
  procedure: keyof typeof nlm4Procedure,
  encode: (writer: XdrWriter) => void,
): Promise<XdrReader> => {
  const target = { program: nlm4ProgramNumber, version: 4, procedure: nlm4Procedure[procedure] }
  return client.call(
    target,
    (writer) => {
      writer.opaque(cookie)
      encode(writer)
    },
    timeoutMs,
  )
}

export const asking = (
  client: RpcClient,
  wanted: Nlm4Lock,
  block = false,
  procedure: 'lock' | 'lockMsg' = 'lock',
  state = 3,
) =>
  call(client, procedure, (writer) => {
    writer.bool(block)
    writer.bool(true)
    writeLock(writer, wanted)
    writer.bool(false)
    writer.int32(state)
  })

export async function statusOf(results: Promise<XdrReader>): Promise<Nlm4Status> {
  const result = decodeNlm4Result(await results)
  assert.deepEqual(result.cookie, cookie)
  return result.status
}
