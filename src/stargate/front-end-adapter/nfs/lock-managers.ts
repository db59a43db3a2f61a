/**
 * Calls of ours to the lock managers of clients. On which port one listens the client's port mapper tells, each time anew: it is another after
 * the client has started again. Both are called over TCP, and from the address to which the client's own call came: it believes no other.
 *
 * Not here: clients that are reached by IPv6 only, as their port mappers speak version 2 over IPv4.
 */
import { hasCode } from '../../../base/errors.ts'
import { Limit } from '../../../base/limit.ts'
import type { Platform } from '../../../platform/platform.ts'
import { nlm4Procedure, nlm4ProgramNumber } from './nlm4-protocol.ts'
import {
  encodePortMapping,
  portmap2Procedure,
  portmap2ProgramNumber,
  portmapProtocol,
} from './portmap2-protocol.ts'
import { connectRpc, type RpcTarget } from './rpc-client.ts'
import type { Caller } from './rpc-program.ts'
import { type XdrReader, XdrError, type XdrWriter } from './xdr.ts'

export interface LockManagersParts {
  readonly platform: Pick<Platform, 'clock' | 'chance' | 'sockets'>
  /** Of clients: 111 where nothing else is said. */
  readonly portMapperPort?: number
}

/** Where a client's call came from, and to. */
export type ClientPlace = Pick<Caller, 'host' | 'localHost'>

export type Called<T> =
  | { readonly outcome: 'answered'; readonly result: T }
  /** It may have been done. */
  | { readonly outcome: 'unanswered' }
  /** It was not done. */
  | { readonly outcome: 'unreached' }

/** For all of a call: to find the port, and to be answered. */
const timeoutMs = 5000
/** Each has two connections, one after the other; the others wait. */
const callsAtOnce = 64
/** Beyond these none is made. */
const callsMax = 2048
const usualPortMapperPort = 111

export class LockManagers {
  readonly #parts: LockManagersParts
  readonly #limit = new Limit(callsAtOnce)
  #calls = 0

  constructor(parts: LockManagersParts) {
    this.#parts = parts
  }

  /** `begins` is asked once the call has its turn, from which it takes 5 s at most; where it says no the client is not called. */
  async call<T>(
    client: ClientPlace,
    procedure: keyof typeof nlm4Procedure,
    encode: (writer: XdrWriter) => void,
    decode: (reader: XdrReader) => T,
    begins: () => boolean = () => true,
  ): Promise<Called<T>> {
    // Over a Unix socket there is nobody to be called back.
    if (client.host === '' || this.#calls >= callsMax) return { outcome: 'unreached' }
    this.#calls += 1
    try {
      return await this.#limit.run(async () => {
        if (!begins()) return { outcome: 'unreached' }
        const until = this.#parts.platform.clock.now() + timeoutMs
        const port = await this.#portOf(client, until)
        if (port === undefined || port === 0) return { outcome: 'unreached' }
        const target = { program: nlm4ProgramNumber, version: 4, procedure: nlm4Procedure[procedure] }
        return this.#called(client, port, until, target, encode, decode)
      })
    } finally {
      this.#calls -= 1
    }
  }

  async #portOf(client: ClientPlace, until: number): Promise<number | undefined> {
    const { portMapperPort = usualPortMapperPort } = this.#parts
    const target = { program: portmap2ProgramNumber, version: 2, procedure: portmap2Procedure.getport }
    const wanted = { program: nlm4ProgramNumber, version: 4, protocol: portmapProtocol.tcp, port: 0 }
    const called = await this.#called(
      client,
      portMapperPort,
      until,
      target,
      (writer) => encodePortMapping(writer, wanted),
      (reader) => reader.uint32(),
    )
    return called.outcome === 'answered' && called.result < 2 ** 16 ? called.result : undefined
  }

  async #called<T>(
    { host, localHost }: ClientPlace,
    port: number,
    until: number,
    target: RpcTarget,
    encode: (writer: XdrWriter) => void,
    decode: (reader: XdrReader) => T,
  ): Promise<Called<T>> {
    const address = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
    const fromHost = localHost === '' ? undefined : localHost
    const { platform } = this.#parts
    const leftMs = (): number => until - platform.clock.now()
    if (leftMs() <= 0) return { outcome: 'unreached' }
    const connected = await connectRpc(platform, address, leftMs(), { fromHost }).catch((error: unknown) => {
      if (!hasCode(error, 'PEER_UNREACHABLE')) throw error
      return undefined
    })
    if (connected === undefined) return { outcome: 'unreached' }
    try {
      if (leftMs() <= 0) return { outcome: 'unreached' }
      return { outcome: 'answered', result: decode(await connected.call(target, encode, leftMs())) }
    } catch (error) {
      if (hasCode(error, 'REFUSED')) return { outcome: 'unreached' }
      if (!hasCode(error, 'PEER_UNREACHABLE', 'TIMED_OUT') && !(error instanceof XdrError)) throw error
      return { outcome: 'unanswered' }
    } finally {
      connected.close()
    }
  }
}
