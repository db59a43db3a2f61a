/**
 * A node's session in the machine's store, as the node keeps it: it says that it lives three times within the timeout.
 *
 * It believes itself alive until the timeout has passed since it *sent* the last sign of life that was heard. The store
 * counts from when it heard it, which is later: so the node always knows first. A process that was frozen finds the
 * time passed when it thaws, by its clock, before it hears anything from the store.
 */
//  alive → lost    the store says that it ended, or the timeout passed unheard   [#lose]
//  alive → ended   in order, or left to run out                                  [end, abandon]
import { hasCode, messageOf } from '../base/errors.ts'
import type { Clock, Timer } from '../platform/platform.ts'
import type { ZeusCaller } from './zeus-caller.ts'
import type { Claimant } from './zeus-requests.ts'
import { jsonOf } from './zeus-requests.ts'
import type { Session } from './zeus.ts'
import { sessionTimeoutMs } from './zeus.ts'

const beatMs = sessionTimeoutMs / 3
/** After a beat that failed: often enough that a restarted store hears of the node in time. */
const retryMs = 200

export class StoreSession implements Session {
  onLost: (reason: string) => void = () => {}
  readonly #store: ZeusCaller
  readonly #clock: Clock
  readonly #name: Claimant
  readonly #onOver: () => void
  #state: 'alive' | 'lost' | 'ended' = 'alive'
  /** When the last sign of life that was heard was sent. */
  #heardAt: number
  #lastError = 'no answer has come'
  #beat: Timer
  #watchdog: Timer

  constructor(store: ZeusCaller, clock: Clock, name: Claimant, sentAt: number, onOver: () => void) {
    this.#store = store
    this.#clock = clock
    this.#name = name
    this.#heardAt = sentAt
    this.#onOver = onOver
    this.#beat = this.#beatAt(sentAt + beatMs)
    this.#watchdog = this.#watchFrom(sentAt)
  }

  get alive(): boolean {
    return this.#state === 'alive' && this.#clock.now() - this.#heardAt < sessionTimeoutMs
  }

  async update(value: unknown): Promise<void> {
    try {
      await this.#store.call('zeus.update-session', { ...this.#name, json: jsonOf(value) })
    } catch (error) {
      if (hasCode(error, 'NOT_FOUND')) this.#lose('the store has ended it')
      throw error
    }
  }

  async end(): Promise<void> {
    this.#stop('ended')
    await this.#store.call('zeus.end-session', this.#name)
  }

  /** No more signs of life: the session runs out. */
  abandon(): void {
    this.#stop('ended')
  }

  #beatAt(time: number): Timer {
    return this.#clock.after(Math.max(0, time - this.#clock.now()), () => void this.#sendBeat())
  }

  async #sendBeat(): Promise<void> {
    const sentAt = this.#clock.now()
    let next = sentAt + beatMs
    try {
      const { alive } = await this.#store.call('zeus.heartbeat', this.#name, beatMs)
      if (!alive) this.#lose('the store has ended it')
      this.#heardAt = sentAt
    } catch (error) {
      if (!hasCode(error, 'PEER_UNREACHABLE', 'TIMED_OUT', 'UNAVAILABLE')) throw error
      this.#lastError = messageOf(error)
      next = sentAt + retryMs
    }
    if (this.#state === 'alive') this.#beat = this.#beatAt(next)
  }

  #watchFrom(heardAt: number): Timer {
    const leftMs = heardAt + sessionTimeoutMs - this.#clock.now()
    return this.#clock.after(Math.max(0, leftMs), () => {
      if (this.#heardAt > heardAt) this.#watchdog = this.#watchFrom(this.#heardAt)
      else this.#lose(`the store was not heard for ${sessionTimeoutMs} ms: ${this.#lastError}`)
    })
  }

  #lose(reason: string): void {
    if (this.#state !== 'alive') return
    this.#stop('lost')
    this.onLost(`Session of ${this.#name.node} lost: ${reason}`)
  }

  #stop(state: 'lost' | 'ended'): void {
    if (this.#state !== 'alive') return
    this.#state = state
    this.#beat.cancel()
    this.#watchdog.cancel()
    this.#onOver()
  }
}
