/**
 * Which sessions live, by the store's clock. The engine's rows say which there are; here is only until when each is
 * believed without being heard. After a restart of the store each gets the whole timeout anew.
 *
 * A session ends when it was not heard for the timeout *while the store listened*: if the store itself was held up
 * (frozen, or out of processor time), signs of life may wait unread, so every session gets one more beat's time first.
 */
//  (none)  → living    opened, or found at the start   [heardFrom]
//  living  → ending    unheard for the timeout         [#wake]
//  living, ending → (none)   its key is gone           [ended]
import type { Incarnation, NodeId } from '../../base/ids.ts'
import type { Clock, Timer } from '../../platform/platform.ts'
import type { Claimant } from '../../zeus/zeus-requests.ts'
import { sessionTimeoutMs } from '../../zeus/zeus.ts'

/** The store was held up if a timer rings this much late. */
const heldUpMs = 250
const graceMs = sessionTimeoutMs / 2

interface Living {
  readonly incarnation: Incarnation
  deadline: number
  /** It was given more time, and not heard since. */
  graced: boolean
  ending: boolean
}

export class ZeusSessions {
  readonly #clock: Clock
  /** Removes the session's key; calls `ended` when that is done, `notEnded` when it could not be. */
  readonly #expire: (session: Claimant) => void
  readonly #living = new Map<NodeId, Living>()
  #timer: Timer | undefined
  #closed = false

  constructor(clock: Clock, expire: (session: Claimant) => void) {
    this.#clock = clock
    this.#expire = expire
  }

  opened({ node, incarnation }: Claimant): void {
    const deadline = this.#clock.now() + sessionTimeoutMs
    this.#living.set(node, { incarnation, deadline, graced: false, ending: false })
    this.#wakeAtNearest()
  }

  /** A sign of life. False: that session has ended, or is about to. */
  heard({ node, incarnation }: Claimant): boolean {
    const living = this.#living.get(node)
    if (living?.incarnation !== incarnation || living.ending) return false
    living.deadline = this.#clock.now() + sessionTimeoutMs
    living.graced = false
    return true
  }

  ended({ node, incarnation }: Claimant): void {
    if (this.#living.get(node)?.incarnation === incarnation) this.#living.delete(node)
  }

  /** The engine could not end it now: tried again at the next beat's time. */
  notEnded({ node, incarnation }: Claimant): void {
    const living = this.#living.get(node)
    if (living?.incarnation !== incarnation) return
    living.ending = false
    living.deadline = this.#clock.now() + graceMs
    living.graced = true
    this.#wakeAtNearest()
  }

  close(): void {
    this.#closed = true
    this.#timer?.cancel()
  }

  /** One timer for the nearest deadline, none where there are no sessions; signs of life do not move it. */
  #wakeAtNearest(): void {
    if (this.#closed || this.#timer) return
    const deadlines = [...this.#living.values()]
      .filter(({ ending }) => !ending)
      .map(({ deadline }) => deadline)
    if (deadlines.length === 0) return
    const due = Math.min(...deadlines)
    this.#timer = this.#clock.after(Math.max(0, due - this.#clock.now()), () => this.#wake(due))
  }

  #wake(due: number): void {
    this.#timer = undefined
    const now = this.#clock.now()
    const heldUp = now - due > heldUpMs
    for (const [node, living] of this.#living) {
      if (living.ending || living.deadline > now) continue
      if (heldUp && !living.graced) {
        living.deadline = now + graceMs
        living.graced = true
      } else {
        living.ending = true
        this.#expire({ node, incarnation: living.incarnation })
      }
    }
    this.#wakeAtNearest()
  }
}
