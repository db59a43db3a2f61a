/**
 * What busy minutes leave behind goes back to the system once a node has had nothing to do for a while: buffers kept for reuse, and the
 * garbage that V8 would keep until there is more of it. It is a fifth of a second's work, and then nothing until there was work again.
 *
 *   resting → busy      a guest's request, a drain or a repair is let in      (AdmissionControl.onBusy)
 *   busy    → busy      some were let in during the last `restMs`             [#look]
 *   busy    → resting   none was: memory is released                          [#look]
 */
import type { AdmissionControl } from './stargate/admission-control/admission-control.ts'
import type { Clock, Timer } from './platform/platform.ts'

const restMs = 10_000

export class MemoryAtRest {
  readonly #clock: Clock
  readonly #admission: AdmissionControl
  readonly #release: () => void
  #timer: Timer | undefined
  #admitted = 0

  constructor(clock: Clock, admission: AdmissionControl, release: () => void) {
    this.#clock = clock
    this.#admission = admission
    this.#release = release
    admission.onBusy = () => this.#lookLater()
  }

  stop(): void {
    this.#admission.onBusy = () => undefined
    this.#timer?.cancel()
  }

  #lookLater(): void {
    this.#admitted = this.#admittedNow()
    this.#timer = this.#clock.after(restMs, () => this.#look())
  }

  #look(): void {
    if (this.#admittedNow() > this.#admitted) return this.#lookLater()
    this.#admission.rest()
    this.#release()
  }

  #admittedNow(): number {
    const { guest, drain, repair } = this.#admission.statistics()
    return guest.admitted + drain.admitted + repair.admitted
  }
}
