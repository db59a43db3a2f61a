/**
 * The calls of this node to one peer on one lane.
 *
 *  (none)     → opening   a call came                                         [#open]
 *  opening    → open      both sides have proved themselves                   [#opened]
 *  opening    → (none)    refused, unreachable: all calls are rejected        [#broke]
 *  open       → (none)    the connection broke, or was silent for as long as  [#broke]
 *                         a call may take: all calls are rejected
 *  any        → closed    the peer's address changed, or the node stops       [close]
 *
 * Calls go out in the order in which they came. When as much is in flight as the limits allow they wait here, unsent,
 * and the promise that the caller holds is what pushes back: whoever has a bound on what it has under way (admission
 * control has) is held by it. Only when too many wait is a call rejected with UNAVAILABLE: nothing of it was sent.
 * When a connection breaks, waiting calls are rejected with the others: to send them over the next would put them
 * before ones that the caller repeats.
 */
import { NdfsError, messageOf } from '../base/errors.ts'
import type { NodeId } from '../base/ids.ts'
import type { Clock } from '../platform/platform.ts'
import type { Channel } from './channel.ts'
import { Refused } from './handshake.ts'
import type { PeerLimits } from './limits.ts'
import type { Lane } from './peer.ts'
import { PendingCalls } from './pending-calls.ts'
import type { Call } from './pending-calls.ts'

type State =
  | { name: 'none' }
  | { name: 'opening'; abort: AbortController }
  | { name: 'open'; channel: Channel }
  | { name: 'closed'; error: NdfsError }

export class OutgoingLane {
  readonly #peer: NodeId
  readonly #lane: Lane
  readonly #clock: Clock
  readonly #limits: PeerLimits
  readonly #openChannel: (signal: AbortSignal) => Promise<Channel>
  readonly #onBroken: (error: Error) => void
  readonly #pending: PendingCalls
  #state: State = { name: 'none' }
  /** In order; those that are pending no more are passed over. */
  #waiting: Call[] = []
  #waitingBytes = 0
  #waitingCount = 0
  #inFlightBytes = 0

  /** `onBroken` is called when a connection that was open broke, after its calls were rejected. */
  constructor(
    peer: NodeId,
    lane: Lane,
    clock: Clock,
    limits: PeerLimits,
    openChannel: (signal: AbortSignal) => Promise<Channel>,
    onBroken: (error: Error) => void,
  ) {
    this.#peer = peer
    this.#lane = lane
    this.#clock = clock
    this.#limits = limits
    this.#openChannel = openChannel
    this.#onBroken = onBroken
    this.#pending = new PendingCalls(clock, (call) => this.#expired(call))
  }

  get backlogBytes(): number {
    return this.#waitingBytes + (this.#state.name === 'open' ? this.#state.channel.backlogBytes : 0)
  }

  call(kind: string, body: readonly Uint8Array[], timeoutMs: number): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const state = this.#state
      if (state.name === 'closed') return reject(state.error)
      let bytes = 0
      for (const piece of body) bytes += piece.length
      const goes = state.name === 'open' && this.#waitingCount === 0 && this.#fits(bytes)
      if (!goes && this.#waitingCount >= this.#limits.waitingMax) return reject(this.#tooMany(kind))
      const deadline = this.#clock.now() + timeoutMs
      const id = this.#pending.nextId()
      const call: Call = { id, kind, body, bytes, deadline, resolve, reject, sent: false, mark: 0 }
      this.#pending.add(call)
      if (goes) this.#send(call, state.channel)
      else {
        this.#waiting.push(call)
        this.#waitingCount++
        this.#waitingBytes += bytes
        if (state.name === 'none') this.#open()
      }
    })
  }

  /** All calls are rejected, and later ones too, with `later`. */
  close(error: Error, later: NdfsError): void {
    const before = this.#state
    if (before.name === 'closed') return
    this.#state = { name: 'closed', error: later }
    if (before.name === 'opening') before.abort.abort(error)
    if (before.name === 'open') before.channel.destroy(error)
    this.#rejectAll(error)
    if (before.name === 'open') this.#onBroken(error)
  }

  /** A single call goes however large it is. */
  #fits(bytes: number): boolean {
    const inFlight = this.#pending.size - this.#waitingCount
    return (
      inFlight === 0 ||
      (inFlight < this.#limits.inFlightMax && this.#inFlightBytes + bytes <= this.#limits.inFlightBytesMax)
    )
  }

  #send(call: Call, channel: Channel): void {
    call.sent = true
    call.mark = channel.received
    this.#inFlightBytes += call.bytes
    channel.send(call.id, call.kind, call.body)
  }

  #sendWaiting(channel: Channel): void {
    let at = 0
    for (; at < this.#waiting.length; at++) {
      const call = this.#waiting[at]
      if (!this.#pending.has(call)) continue
      if (!this.#fits(call.bytes)) break
      this.#waitingCount--
      this.#waitingBytes -= call.bytes
      this.#send(call, channel)
    }
    if (at > 0) this.#waiting.splice(0, at)
  }

  #open(): void {
    const abort = new AbortController()
    this.#state = { name: 'opening', abort }
    this.#openChannel(abort.signal).then(
      (channel) => this.#opened(channel, abort),
      (error: Error) => {
        if (!abort.signal.aborted) this.#broke(error)
      },
    )
  }

  #opened(channel: Channel, abort: AbortController): void {
    if (abort.signal.aborted) return channel.destroy(new Error('the connection is not wanted any more'))
    this.#state = { name: 'open', channel }
    channel.onAnswer = (id, body) => this.#done(id, channel)?.resolve(body)
    channel.onError = (id, error) => this.#done(id, channel)?.reject(error)
    channel.onClosed = (error) => this.#broke(error)
    this.#sendWaiting(channel)
  }

  /** Undefined for a call that has timed out: its answer comes too late. */
  #done(id: number, channel: Channel): Call | undefined {
    const call = this.#pending.take(id)
    if (call === undefined) return undefined
    this.#inFlightBytes -= call.bytes
    if (this.#waitingCount > 0) this.#sendWaiting(channel)
    return call
  }

  #expired(call: Call): void {
    if (call.sent) this.#inFlightBytes -= call.bytes
    else {
      this.#waitingCount--
      this.#waitingBytes -= call.bytes
    }
    call.reject(
      new NdfsError(
        'TIMED_OUT',
        `No answer from ${this.#peer} to ${call.kind} in time: its outcome is unknown`,
        { node: this.#peer, kind: call.kind, lane: this.#lane },
      ),
    )
    const { channel } = this.#state.name === 'open' ? this.#state : {}
    if (channel === undefined) return
    // Half open, or frozen: whatever it is, the next call shall find out on a new connection.
    if (call.sent && channel.received === call.mark) {
      const error = new Error('nothing was heard from it for as long as a call may take')
      channel.destroy(error)
      this.#broke(error)
    } else if (this.#waitingCount > 0) this.#sendWaiting(channel)
  }

  #broke(error: Error): void {
    if (this.#state.name === 'closed') return
    const wasOpen = this.#state.name === 'open'
    this.#state = { name: 'none' }
    this.#rejectAll(error)
    if (wasOpen) this.#onBroken(error)
  }

  #rejectAll(cause: Error): void {
    this.#waiting = []
    this.#waitingCount = 0
    this.#waitingBytes = 0
    this.#inFlightBytes = 0
    for (const { kind, reject } of this.#pending.takeAll())
      reject(
        new NdfsError(
          'PEER_UNREACHABLE',
          `Cannot get an answer from ${this.#peer} to ${kind}: ${messageOf(cause)}`,
          {
            node: this.#peer,
            kind,
            lane: this.#lane,
            ...(cause instanceof Refused ? { refused: true } : {}),
          },
          { cause },
        ),
      )
  }

  #tooMany(kind: string): NdfsError {
    return new NdfsError(
      'UNAVAILABLE',
      `Cannot send ${kind} to ${this.#peer}: ${this.#waitingCount} requests wait for it already. Nothing was sent.`,
      { node: this.#peer, kind, lane: this.#lane },
    )
  }
}
