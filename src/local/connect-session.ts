/**
 * One vDisk for one VM, through whichever node serves: what keeps the VM going when a node dies.
 *
 *   seeking → serving   a node took us in: what was not answered is sent again, in order     [#adopt]
 *   serving → seeking   its connection broke, it shuts down, or it has fallen silent         [#leave]
 *   any     → closed    the VM is gone, or the person stops us                               [close]
 *
 *  1. A request is answered once: with a node's answer, or with an error when no node served for `giveUpMs`.
 *  2. Each connection bears this client's name and a higher number than the one before it. A node that takes the newer
 *     one in has seen to it that requests of older ones are over (F3), so that nothing late can undo what came later.
 *  3. A change that overlaps another one waits until that one is answered: sent again, the two could swap places.
 *  4. At most `requestsMax` requests and `bytesMax` bytes are under way; the rest waits (I9).
 *
 * A node that answers nothing at all is frozen, or cut off. One that answers a flush, which costs it nothing, is alive:
 * what it does not answer then waits for others (a takeover, a missing replica), and going away would only send it all
 * once more.
 */
import { assert } from '../base/assert.ts'
import { messageOf, NdfsError, type NdfsErrorCode } from '../base/errors.ts'
import { MiB, type VDiskOffset } from '../base/units.ts'
import type { Address, Platform, Timer, TlsSide } from '../platform/platform.ts'
import { command, commandFlag, errno } from '../stargate/front-end-adapter/nbd/nbd-protocol.ts'
import type { OpenVDisk, Run } from '../stargate/io/io.ts'
import { NoNodeReachable } from './api-client.ts'
import type { Output } from './local.ts'
import { connectNbd, type ClientRequest, type NbdClient } from './nbd-client.ts'

export interface NodePlace {
  readonly id: string
  readonly address: Address
}

export interface ConnectSessionOptions {
  /** `container/vdisk`. */
  readonly name: string
  /** Where the nodes are now, the preferred one first. Asked again before each round: a node may come back elsewhere. */
  readonly nodes: () => Promise<readonly NodePlace[]>
  readonly giveUpMs: number
  /** With nodes on other machines; left out: their container has to allow it. */
  readonly tls?: () => TlsSide
  readonly platform: Platform
  readonly output: Output
}

/** As many as Linux has under way on one device; four of the largest requests. */
const requestsMax = 128
const bytesMax = 128 * MiB
/** Longer than a node may stand still for reasons of its own; short enough for a guest. */
const silenceMs = 4000
const probeAfterMs = 1000
/** A node that is alive has its own ways to get at a lost owner (M16), which need 10 s. */
const patienceMsMin = 15_000
const patienceMsMax = 60_000
const tickMs = 250
const roundPauseMs = 100
/** A connection that lasted so long was no false start. */
const soundMs = 1000
/** A node may have to take the vDisk over before it lets us in. */
const enterTimeoutMs = 6000
/** How long the first connection is sought before a person is told that there is none. */
const firstTimeoutMs = 15_000

interface Pending extends ClientRequest {
  readonly resolve: () => void
  readonly reject: (error: NdfsError) => void
}

export class ConnectSession {
  readonly #options: ConnectSessionOptions
  readonly #client: string
  #connections = 0
  #cookies = 0
  #sizeBytes = 0
  #node: NodePlace | undefined
  #connection: NbdClient | undefined
  #lastNode: string | undefined
  /** In the order in which they came. */
  readonly #underWay = new Map<number, Pending>()
  #bytesUnderWay = 0
  readonly #waiting: Pending[] = []
  readonly #open = new Set<ConnectedVDisk>()
  /** The last answer to a request, or the moment since which one is awaited. */
  #answeredAt = 0
  /** When the present connection was entered. */
  #enteredAt = 0
  #probe: number | undefined
  #patienceMs = patienceMsMin
  /** A node was changed, and nothing was answered since. */
  #stalled = false
  #closed = false
  #timer: Timer | undefined

  constructor(options: ConnectSessionOptions) {
    this.#options = options
    this.#client = options.platform.chance.bytes(8).toString('hex')
  }

  get sizeBytes(): number {
    return this.#sizeBytes
  }

  /** Resolves when a node serves. Rejects where the vDisk does not exist, or no node could be reached for a while. */
  async start(): Promise<void> {
    const { clock } = this.#options.platform
    const until = clock.now() + firstTimeoutMs
    let reasons: string[] = []
    while (clock.now() < until && !this.#closed) {
      const outcome = await this.#round()
      if (outcome === 'found') {
        this.#tick()
        return
      }
      const gone = outcome.find(({ error }) => error instanceof NdfsError && error.code === 'NOT_FOUND')
      if (gone) throw gone.error
      reasons = outcome.map(({ node, error }) => `${node.id} (${node.address}): ${messageOf(error)}`)
      await clock.sleep(roundPauseMs)
    }
    throw new NoNodeReachable(
      `Cannot reach a node that serves ${this.#options.name}: ${reasons.join('; ')}. Start the cluster with \`ndfs up\`.`,
      { name: this.#options.name },
    )
  }

  openVDisk(): OpenVDisk {
    const vdisk = new ConnectedVDisk(this, () => this.#open.delete(vdisk))
    this.#open.add(vdisk)
    return vdisk
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#timer?.cancel()
    this.#connection?.destroy()
    this.#connection = undefined
    this.#rejectAll('UNAVAILABLE', 'Cannot answer: the connection to the cluster was closed')
  }

  /** Resolves with the node's answer. */
  request(what: Omit<ClientRequest, 'cookie'>): Promise<void> {
    return new Promise((resolve, reject) => {
      const pending: Pending = { ...what, cookie: ++this.#cookies, resolve, reject }
      if (this.#closed)
        return reject(new NdfsError('UNAVAILABLE', 'Cannot answer: the connection was closed'))
      if (this.#waiting.length === 0 && this.#mayGo(pending)) this.#begin(pending)
      else this.#waiting.push(pending)
    })
  }

  get hasStatus(): boolean {
    return this.#connection?.hasStatus ?? true
  }

  #mayGo(request: Pending): boolean {
    if (this.#underWay.size === 0) return true
    if (this.#underWay.size >= requestsMax || this.#bytesUnderWay + heldBytes(request) > bytesMax)
      return false
    if (!isChange(request)) return true
    for (const other of this.#underWay.values()) if (isChange(other) && overlap(request, other)) return false
    return true
  }

  #begin(request: Pending): void {
    if (this.#underWay.size === 0) this.#answeredAt = this.#options.platform.clock.now()
    this.#underWay.set(request.cookie, request)
    this.#bytesUnderWay += heldBytes(request)
    assert(this.#underWay.size === 1 || this.#bytesUnderWay <= bytesMax, 'more bytes under way than allowed')
    this.#connection?.send(request)
  }

  #answered(connection: NbdClient, { cookie }: ClientRequest, error: number, message: string): void {
    if (cookie === this.#probe) {
      this.#probe = undefined
      return
    }
    const now = this.#options.platform.clock.now()
    const request = this.#underWay.get(cookie)
    assert(request, 'an answer to a request that was answered')
    // What it did not do another node can.
    if (error === errno.ESHUTDOWN) return this.#leave(connection, 'it shuts down')
    if (this.#stalled) this.#reportEndOfStall(now - this.#answeredAt)
    this.#answeredAt = now
    this.#patienceMs = patienceMsMin
    this.#forget(request)
    if (error === 0) request.resolve()
    else request.reject(new NdfsError(codeOf(error), message || `The node answered with error ${error}`))
    while (this.#waiting.length > 0 && this.#mayGo(this.#waiting[0]))
      this.#begin(this.#waiting.shift() as Pending)
  }

  #forget(request: Pending): void {
    this.#underWay.delete(request.cookie)
    this.#bytesUnderWay -= heldBytes(request)
    assert(this.#bytesUnderWay >= 0, 'more bytes given back than were taken')
  }

  #rejectAll(code: NdfsErrorCode, message: string): void {
    const all = [...this.#underWay.values(), ...this.#waiting.splice(0)]
    this.#underWay.clear()
    this.#bytesUnderWay = 0
    for (const { reject } of all) reject(new NdfsError(code, message))
  }

  /** Looks after time while the session lives. */
  #tick(): void {
    if (this.#closed) return
    this.#timer = this.#options.platform.clock.after(tickMs, () => this.#tick())
    if (this.#underWay.size === 0) return
    const { clock } = this.#options.platform
    const now = clock.now()
    const unanswered = now - this.#answeredAt
    if (unanswered > this.#options.giveUpMs) {
      this.#say(`no node served for ${seconds(unanswered)}: ${this.#underWay.size} requests fail`, {
        event: 'gave up',
        requests: this.#underWay.size,
      })
      // They may yet happen where they were sent: the connection that bore them is not used again.
      const connection = this.#connection
      this.#rejectAll('TIMED_OUT', `No node answered for ${seconds(unanswered)}`)
      if (connection) this.#leave(connection, 'it did not answer')
      return
    }
    const connection = this.#connection
    if (!connection) return
    const silent = now - Math.max(connection.heardAt, this.#answeredAt)
    if (silent > silenceMs) return this.#leave(connection, `it was silent for ${seconds(silent)}`)
    if (now - Math.max(this.#answeredAt, this.#enteredAt) > this.#patienceMs) {
      this.#patienceMs = Math.min(this.#patienceMs * 2, patienceMsMax)
      return this.#leave(connection, 'it is alive but answers no request')
    }
    if (silent > probeAfterMs && this.#probe === undefined) {
      this.#probe = ++this.#cookies
      connection.send({ cookie: this.#probe, command: command.flush, flags: 0, offset: 0, length: 0 })
    }
  }

  #leave(connection: NbdClient, reason: string): void {
    if (connection !== this.#connection || this.#closed) return
    connection.destroy()
    this.#connection = undefined
    this.#probe = undefined
    this.#stalled = true
    const node = this.#node?.id ?? ''
    this.#lastNode = node
    const hasty = this.#options.platform.clock.now() - this.#enteredAt < soundMs
    this.#say(`lost ${node}: ${reason}`, { event: 'lost', node, reason, unanswered: this.#underWay.size })
    void this.#seek(hasty)
  }

  /** `hasty`: the last node let us in and then did not serve; the next may do the same, so take a breath. */
  async #seek(hasty: boolean): Promise<void> {
    if (hasty) await this.#options.platform.clock.sleep(roundPauseMs)
    while (!this.#closed && (await this.#round()) !== 'found')
      await this.#options.platform.clock.sleep(roundPauseMs)
  }

  /** Asks each node once, the one that was lost last of all. */
  async #round(): Promise<'found' | { node: NodePlace; error: unknown }[]> {
    const failures: { node: NodePlace; error: unknown }[] = []
    const nodes = afterTheLost(await this.#nodes(), this.#lastNode)
    for (const node of nodes) {
      if (this.#closed) return failures
      try {
        await this.#enter(node)
        return 'found'
      } catch (error) {
        failures.push({ node, error })
      }
    }
    return failures
  }

  async #nodes(): Promise<readonly NodePlace[]> {
    try {
      return await this.#options.nodes()
    } catch (error) {
      this.#options.platform.log.debug('Cannot learn where the nodes are.', { reason: messageOf(error) })
      return []
    }
  }

  async #enter(node: NodePlace): Promise<void> {
    const { name, platform } = this.#options
    // It grows with each attempt: one that failed may have got as far as the owner.
    const number = ++this.#connections
    // Declared before it is there, as answers can't come before anything was sent.
    let connection: NbdClient | undefined = undefined
    const mine = (): NbdClient => {
      assert(connection, 'an answer on a connection that was not entered')
      return connection
    }
    connection = await connectNbd(
      platform,
      node.address,
      `${name}#${this.#client}.${number}`,
      enterTimeoutMs,
      {
        answered: (request, error, message) => this.#answered(mine(), request, error, message),
        lost: (reason) => this.#leave(mine(), reason),
      },
      this.#options.tls?.(),
    )
    if (this.#closed) return connection.destroy()
    this.#adopt(node, connection)
  }

  #adopt(node: NodePlace, connection: NbdClient): void {
    const { clock } = this.#options.platform
    assert(this.#connection === undefined, 'two nodes serve at once')
    this.#node = node
    this.#connection = connection
    this.#enteredAt = clock.now()
    for (const request of this.#underWay.values()) connection.send(request)
    this.#say(`connected ${this.#options.name} through ${node.id} (${node.address})${this.#again()}`, {
      event: 'connected',
      node: node.id,
      address: node.address,
      sentAgain: this.#underWay.size,
    })
    if (this.#underWay.size === 0) this.#stalled = false
    if (connection.sizeBytes === this.#sizeBytes) return
    this.#sizeBytes = connection.sizeBytes
    for (const vdisk of this.#open) vdisk.onResize(this.#sizeBytes)
  }

  #again(): string {
    return this.#underWay.size === 0 ? '' : `, ${this.#underWay.size} requests sent again`
  }

  #reportEndOfStall(ms: number): void {
    this.#stalled = false
    const node = this.#node?.id ?? ''
    this.#say(`${node} answers after a stall of ${seconds(ms)}`, {
      event: 'resumed',
      node,
      stallMs: Math.round(ms),
    })
  }

  #say(line: string, event: { event: string } & Record<string, unknown>): void {
    this.#options.output.line(line)
    this.#options.output.event(event)
  }
}

/** What the NBD server for the VM sees. */
class ConnectedVDisk implements OpenVDisk {
  onResize: (sizeBytes: number) => void = () => undefined
  readonly #session: ConnectSession
  readonly #closed: () => void

  constructor(session: ConnectSession, closed: () => void) {
    this.#session = session
    this.#closed = closed
  }

  get sizeBytes(): number {
    return this.#session.sizeBytes
  }

  read(offset: VDiskOffset, target: Buffer): Promise<void> {
    return this.#session.request({ command: command.read, flags: 0, offset, length: target.length, target })
  }

  write(offset: VDiskOffset, payload: Buffer): Promise<void> {
    return this.#session.request({
      command: command.write,
      flags: 0,
      offset,
      length: payload.length,
      payload,
    })
  }

  zero(offset: VDiskOffset, length: number, keepSpace: boolean): Promise<void> {
    const flags = keepSpace ? commandFlag.noHole : 0
    return this.#session.request({ command: command.writeZeroes, flags, offset, length })
  }

  discard(offset: VDiskOffset, length: number): Promise<void> {
    return this.#session.request({ command: command.trim, flags: 0, offset, length })
  }

  /** A node answers a change when it is durable, so nothing is left to do for those that were answered. */
  flush(): void {}

  prefetch(offset: VDiskOffset, length: number): Promise<void> {
    return this.#session.request({ command: command.cache, flags: 0, offset, length })
  }

  async status(offset: VDiskOffset, length: number, runsMax: number): Promise<readonly Run[]> {
    const everything: Run = { length, kind: 'data' }
    if (!this.#session.hasStatus) return [everything]
    const runs: Run[] = []
    await this.#session.request({ command: command.blockStatus, flags: 0, offset, length, runs })
    return runs.length === 0 ? [everything] : within(runs, length).slice(0, runsMax)
  }

  close(): void {
    this.#closed()
  }
}

/** A server may tell more than was asked for. */
export function within(runs: readonly Run[], length: number): Run[] {
  const inside: Run[] = []
  let left = length
  for (const run of runs) {
    if (left === 0) break
    inside.push({ ...run, length: Math.min(run.length, left) })
    left -= Math.min(run.length, left)
  }
  return inside
}

export function afterTheLost(nodes: readonly NodePlace[], lost: string | undefined): readonly NodePlace[] {
  const at = nodes.findIndex(({ id }) => id === lost)
  return at < 0 ? nodes : [...nodes.slice(at + 1), ...nodes.slice(0, at + 1)]
}

const isChange = ({ command: code }: ClientRequest): boolean =>
  code === command.write || code === command.writeZeroes || code === command.trim

const overlap = (a: ClientRequest, b: ClientRequest): boolean =>
  a.offset < b.offset + b.length && b.offset < a.offset + a.length

const heldBytes = ({ payload, target }: ClientRequest): number => payload?.length ?? target?.length ?? 0

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`

function codeOf(error: number): NdfsErrorCode {
  if (error === errno.ENOSPC) return 'OUT_OF_SPACE'
  if (error === errno.EPERM) return 'REFUSED'
  return 'DISK_FAILED'
}
