/**
 * One NBD connection to one node, as its client: negotiation, then requests and their answers.
 *
 *  1. Requests leave in the order in which they were given, those of one turn in one write.
 *  2. After `destroy`, or after `onLost`, nothing of it is heard again, and no buffer that it was given is touched.
 */
import { NdfsError, type NdfsErrorCode } from '../base/errors.ts'
import type { Millis } from '../base/units.ts'
import { hostAndPort, isWithinMachine } from '../base/networks.ts'
import type { Address, Clock, Platform, Socket, TlsSide } from '../platform/platform.ts'
import {
  clientFlag,
  encodeOption,
  encodeRequestHeader,
  info,
  numbers,
  option,
  optionReply,
  serverFlag,
  stringBytesMax,
} from '../stargate/front-end-adapter/nbd/nbd-protocol.ts'
import { NbdReplies, type Awaited } from './nbd-replies.ts'

export interface ClientRequest extends Awaited {
  /** Unique among those under way, from 1. */
  readonly cookie: number
  readonly command: number
  readonly flags: number
  readonly payload?: Buffer
}

export interface NbdClientEvents {
  answered(request: ClientRequest, error: number, message: string): void
  /** The connection is gone, or what came over it made no sense. Once. */
  lost(reason: string): void
}

/** Connects and enters the export; with `tls` under TLS, where that leaves the machine, with whom a certificate names as the host. Rejects with NOT_FOUND, UNAVAILABLE, or what else the server or the system said. */
export async function connectNbd(
  { sockets, clock }: Pick<Platform, 'sockets' | 'clock'>,
  address: Address,
  exportName: string,
  timeoutMs: number,
  events: NbdClientEvents,
  tls?: TlsSide,
): Promise<NbdClient> {
  const until = clock.now() + timeoutMs
  let socket = await sockets.connect(address, timeoutMs)
  let handshake = new Handshake(socket)
  const timer = clock.after(until - clock.now(), () => {
    handshake.fail(new NdfsError('TIMED_OUT', `did not finish negotiation in ${timeoutMs} ms`))
    socket.destroy()
  })
  try {
    await handshake.greet()
    if (tls !== undefined && !isWithinMachine(address)) {
      await handshake.startTls()
      const secure = await tls.connect(socket)
      handshake = new Handshake((socket = secure))
      const { host } = hostAndPort(address)
      if (!secure.proof?.names(host))
        throw new NdfsError('REFUSED', `shows a certificate of ${secure.proof?.text}, not of ${host}`)
    }
    return new NbdClient(socket, clock, await handshake.enter(exportName), events)
  } catch (error) {
    socket.destroy()
    throw error
  } finally {
    timer.cancel()
  }
}

interface Entered {
  readonly sizeBytes: number
  readonly hasStatus: boolean
}

export class NbdClient {
  readonly sizeBytes: number
  /** Whether block status was agreed on. */
  readonly hasStatus: boolean
  /** When anything came over it last. */
  heardAt: Millis
  readonly #socket: Socket
  readonly #clock: Clock
  readonly #events: NbdClientEvents
  readonly #underWay = new Map<number, ClientRequest>()
  #unsent: Uint8Array[] = []
  #over = false

  constructor(socket: Socket, clock: Clock, { sizeBytes, hasStatus }: Entered, events: NbdClientEvents) {
    this.sizeBytes = sizeBytes
    this.hasStatus = hasStatus
    this.#socket = socket
    this.#clock = clock
    this.#events = events
    this.heardAt = clock.now()
    const replies = new NbdReplies({
      awaited: (cookie) => this.#underWay.get(cookie),
      answered: (cookie, error, message) => this.#answered(cookie, error, message),
    })
    socket.onData = (piece) => {
      if (this.#over) return
      this.heardAt = clock.now()
      try {
        replies.receive(piece)
      } catch (error) {
        if (!(error instanceof Error) || error.name !== 'SenselessReply') throw error
        this.#lost(`sent what makes no sense: ${error.message}`)
      }
    }
    socket.onClose = (error) => this.#lost(error?.message ?? 'closed the connection')
  }

  send(request: ClientRequest): void {
    if (this.#over) return
    this.#underWay.set(request.cookie, request)
    if (this.#unsent.length === 0) this.#clock.soon(() => this.#flush())
    const { command, flags, cookie, offset, length, payload } = request
    this.#unsent.push(
      encodeRequestHeader({ command, flags, cookie: BigInt(cookie), offset: BigInt(offset), length }),
    )
    if (payload) this.#unsent.push(payload)
  }

  destroy(): void {
    this.#over = true
    this.#unsent = []
    this.#underWay.clear()
    this.#socket.destroy()
  }

  #flush(): void {
    if (this.#over) return
    const unsent = this.#unsent
    this.#unsent = []
    // What waits is bounded by those who send: they hold every request until it is answered.
    this.#socket.write(unsent)
  }

  #answered(cookie: number, error: number, message: string): void {
    const request = this.#underWay.get(cookie)
    // A callback of an earlier answer in the same piece may have ended it all.
    if (!request || this.#over) return
    this.#underWay.delete(cookie)
    this.#events.answered(request, error, message)
  }

  #lost(reason: string): void {
    if (this.#over) return
    this.destroy()
    this.#events.lost(reason)
  }
}

const greetingBytes = 18
const optionReplyHeaderBytes = 20
const allocationContext = 'base:allocation'
/** Of one reply to an option: a name, a text. */
const optionReplyBytesMax = 4 * stringBytesMax

/** Negotiation by bytes that come as they like: `take` waits for the next ones. */
class Handshake {
  readonly #socket: Socket
  #bytes: Buffer = Buffer.alloc(0)
  #failure: Error | undefined
  #wake: () => void = () => undefined

  constructor(socket: Socket) {
    this.#socket = socket
    socket.onData = (piece) => {
      this.#bytes = Buffer.concat([this.#bytes, piece])
      this.#wake()
    }
    socket.onClose = (error) => this.fail(error ?? new Error('closed the connection while negotiating'))
  }

  fail(error: Error): void {
    this.#failure ??= error
    this.#wake()
  }

  async greet(): Promise<void> {
    const greeting = await this.#take(greetingBytes)
    if (greeting.toString('latin1', 0, 16) !== 'NBDMAGICIHAVEOPT')
      throw new NdfsError('REFUSED', 'does not speak NBD')
    if ((greeting.readUInt16BE(16) & serverFlag.fixedNewstyle) === 0)
      throw new NdfsError('REFUSED', 'speaks an NBD that is too old')
    this.#socket.write([numbers([4, clientFlag.fixedNewstyle | clientFlag.noZeroes])])
  }

  /** What comes after the answer is TLS. */
  async startTls(): Promise<void> {
    this.#socket.write([encodeOption(option.startTls, Buffer.alloc(0))])
    const [{ type, data }] = await this.#replies(option.startTls)
    if (type !== optionReply.ack || this.#bytes.length > 0)
      throw new NdfsError('REFUSED', `speaks no TLS: ${data.toString()}`)
  }

  async enter(exportName: string): Promise<Entered> {
    const name = Buffer.from(exportName)
    const named = Buffer.concat([numbers([4, name.length]), name])
    const context = Buffer.from(allocationContext)
    // All at once: the server answers one after the other.
    this.#socket.write([
      encodeOption(option.structuredReply, Buffer.alloc(0)),
      encodeOption(
        option.setMetaContext,
        Buffer.concat([named, numbers([4, 1], [4, context.length]), context]),
      ),
      encodeOption(option.go, Buffer.concat([named, numbers([2, 0])])),
    ])
    await this.#replies(option.structuredReply)
    const contexts = await this.#replies(option.setMetaContext)
    const hasStatus = contexts.some(({ type }) => type === optionReply.metaContext)
    return { sizeBytes: await this.#go(), hasStatus }
  }

  async #go(): Promise<number> {
    const replies = await this.#replies(option.go)
    const refusal = replies.find(({ type }) => type >= optionReply.unsupported)
    if (refusal) throw new NdfsError(codeOf(refusal.type), refusal.data.toString() || 'refused the export')
    const described = replies.find(
      ({ type, data }) =>
        type === optionReply.info && data.length >= 12 && data.readUInt16BE(0) === info.export,
    )
    const size = described?.data.readBigUInt64BE(2)
    if (size === undefined || size > BigInt(Number.MAX_SAFE_INTEGER))
      throw new NdfsError('REFUSED', `does not tell a size that can be used (${size ?? 'none'})`)
    return Number(size)
  }

  /** All replies to one option: up to its ACK or an error. */
  async #replies(code: number): Promise<{ type: number; data: Buffer }[]> {
    const replies: { type: number; data: Buffer }[] = []
    for (;;) {
      const header = await this.#take(optionReplyHeaderBytes)
      const [type, length] = [header.readUInt32BE(12), header.readUInt32BE(16)]
      if (header.readUInt32BE(8) !== code || length > optionReplyBytesMax)
        throw new NdfsError('REFUSED', 'answered in negotiation what was not asked')
      replies.push({ type, data: await this.#take(length) })
      if (type === optionReply.ack || type >= optionReply.unsupported) return replies
    }
  }

  async #take(count: number): Promise<Buffer> {
    while (this.#bytes.length < count) {
      if (this.#failure) throw this.#failure
      await new Promise<void>((resolve) => (this.#wake = resolve))
    }
    if (this.#failure) throw this.#failure
    const taken = this.#bytes.subarray(0, count)
    this.#bytes = this.#bytes.subarray(count)
    return taken
  }
}

function codeOf(type: number): NdfsErrorCode {
  if (type === optionReply.unknown) return 'NOT_FOUND'
  if (type === optionReply.shutdown) return 'UNAVAILABLE'
  return 'REFUSED'
}
