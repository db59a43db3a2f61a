/**
 * Admission by start-time fair queuing.
 *
 * Each class has a tag that says up to which virtual time it has been served; a request moves its class's tag on by its
 * cost over the class's share. Among the classes with someone waiting the one with the lowest tag goes next. A class
 * that was away starts at the present virtual time: it neither saved up turns nor owes any, so whoever is alone gets
 * all. Maintenance's share is divided among those of its classes that have work, so that together they get it whole.
 */
import { assert } from '../../base/assert.ts'
import { NdfsError } from '../../base/errors.ts'
import { KiB, MiB } from '../../base/units.ts'
import type { WorkClass } from '../io/io.ts'
import type { AdmissionControl } from './admission-control.ts'
import { drainReserve, maintenanceClasses, maintenanceShare, shares, workClasses } from './shares.ts'
import { WaitingLine } from './waiting-line.ts'

export interface AdmissionBounds {
  /** Bytes under way at once: what a node may hold in memory for requests that it has begun. */
  readonly outstandingBytesMax: number
  /** Requests under way at once. */
  readonly outstandingMax: number
  /** Requests of one class that may wait. Each class has its own line, so that no guest can crowd a drain out. */
  readonly waitingMax: number
}

/**
 * What a request costs besides its bytes. A small request keeps the loop about as busy as this many bytes do; without
 * it a thousand 512-byte reads would weigh less than one large one.
 */
const costPerRequestBytes = 16 * KiB

/**
 * What drains may owe for going before their turn, in bytes: two extent groups. It keeps a guest's share whole over a
 * short time, and lets drains have their turns again soon after a time in which they had to run ahead.
 */
const debtBytesMax = 8 * MiB

class ClassState {
  readonly line = new WaitingLine()
  /** The virtual time up to which the class was served. */
  served = 0
  outstanding = 0
  outstandingBytes = 0
  admitted = 0
}

export function createAdmissionControl(bounds: AdmissionBounds): AdmissionControl {
  return new WeightedAdmission(bounds)
}

class WeightedAdmission implements AdmissionControl {
  readonly #bounds: AdmissionBounds
  readonly #classes: Record<WorkClass, ClassState> = {
    guest: new ClassState(),
    drain: new ClassState(),
    repair: new ClassState(),
    scrub: new ClassState(),
    tier: new ClassState(),
  }
  #virtualNow = 0
  #shares = shares(0)
  #logFill = 0
  #outstanding = 0
  #outstandingBytes = 0
  #waiting = 0
  #isResting = true
  onBusy: () => void = () => undefined

  constructor(bounds: AdmissionBounds) {
    assert(bounds.outstandingMax >= 1 && bounds.outstandingBytesMax >= 1, 'bounds that let nobody in')
    this.#bounds = bounds
  }

  get logFill(): number {
    return this.#logFill
  }

  set logFill(fill: number) {
    assert(fill >= 0 && fill <= 1, () => `a log that is ${fill} full`)
    if (fill === this.#logFill) return
    this.#logFill = fill
    this.#shares = shares(fill)
    if (this.#waiting > 0) this.#letGo()
  }

  tryEnter(work: WorkClass, bytes: number): boolean {
    // Whoever waits, waits for room: taking it now would overtake them, also those of other classes.
    const inTurn = this.#waiting === 0 && this.#fits(bytes)
    if (!inTurn && !(work === 'drain' && this.#drainMayAlways(bytes))) return false
    this.#admit(work, bytes, inTurn)
    return true
  }

  enter(work: WorkClass, bytes: number): Promise<void> {
    const { line } = this.#classes[work]
    if (line.length >= this.#bounds.waitingMax)
      return Promise.reject(
        new NdfsError(
          'UNAVAILABLE',
          `Cannot take another ${work} request as ${line.length} wait already; try again when some are done`,
          { work, waiting: line.length },
        ),
      )
    return new Promise((resolve) => {
      line.add({ bytes, go: resolve })
      this.#waiting++
      this.#letGo()
    })
  }

  rest(): void {
    this.#isResting = true
  }

  leave(work: WorkClass, bytes: number): void {
    const state = this.#classes[work]
    state.outstanding--
    state.outstandingBytes -= bytes
    this.#outstanding--
    this.#outstandingBytes -= bytes
    assert(state.outstanding >= 0 && state.outstandingBytes >= 0, () => `more ${work} left than entered`)
    if (this.#waiting > 0) this.#letGo()
  }

  statistics(): ReturnType<AdmissionControl['statistics']> {
    const of = (work: WorkClass) => {
      const { outstanding, line, admitted } = this.#classes[work]
      return { outstanding, waiting: line.length, admitted }
    }
    return {
      guest: of('guest'),
      drain: of('drain'),
      repair: of('repair'),
      scrub: of('scrub'),
      tier: of('tier'),
    }
  }

  /** Lets waiters go in their order until the next one doesn't fit. Nobody smaller slips past it: it would starve. */
  #letGo(): void {
    const drainLine = this.#classes.drain.line
    while (drainLine.first !== undefined && this.#drainMayAlways(drainLine.first.bytes))
      this.#admitFirst('drain', false)
    for (let work = this.#next(); work !== undefined; work = this.#next()) {
      const first = this.#classes[work].line.first
      assert(first !== undefined, 'the next class has nobody waiting')
      if (!this.#fits(first.bytes)) return
      this.#admitFirst(work, true)
    }
  }

  /** The class whose turn it is among those with someone waiting. */
  #next(): WorkClass | undefined {
    let next: WorkClass | undefined
    let least = Infinity
    for (const work of workClasses) {
      if (this.#classes[work].line.length === 0) continue
      const start = this.#startOf(work)
      if (start >= least) continue
      least = start
      next = work
    }
    return next
  }

  /** The virtual time at which the class's next request would start. */
  #startOf(work: WorkClass): number {
    return Math.max(this.#virtualNow, this.#classes[work].served)
  }

  #shareOf(work: WorkClass): number {
    if (work === 'guest') return this.#shares.guest
    let active = 0
    for (const other of maintenanceClasses) {
      const { line, outstanding } = this.#classes[other]
      if (other === work || line.length > 0 || outstanding > 0) active += this.#shares[other]
    }
    return (maintenanceShare * this.#shares[work]) / active
  }

  #fits(bytes: number): boolean {
    // A request larger than the bound goes when it is alone: it would otherwise wait for ever.
    if (this.#outstanding === 0) return true
    return (
      this.#outstanding < this.#bounds.outstandingMax &&
      this.#outstandingBytes + bytes <= this.#bounds.outstandingBytesMax
    )
  }

  /** One drain may always run, and more as the log fills, whatever guests hold (M9, drainReserve). */
  #drainMayAlways(bytes: number): boolean {
    const { outstanding, outstandingBytes } = this.#classes.drain
    if (outstanding === 0) return true
    const reserve = drainReserve(this.#logFill)
    return (
      outstanding < this.#bounds.outstandingMax * reserve &&
      outstandingBytes + bytes <= this.#bounds.outstandingBytesMax * reserve
    )
  }

  #admitFirst(work: WorkClass, inTurn: boolean): void {
    const waiter = this.#classes[work].line.removeFirst()
    assert(waiter !== undefined, 'admitting from an empty line')
    this.#waiting--
    this.#admit(work, waiter.bytes, inTurn)
    waiter.go()
  }

  #admit(work: WorkClass, bytes: number, inTurn: boolean): void {
    const state = this.#classes[work]
    state.outstanding++
    state.outstandingBytes += bytes
    state.admitted++
    if (this.#isResting && work !== 'scrub') {
      this.#isResting = false
      this.onBusy()
    }
    this.#outstanding++
    this.#outstandingBytes += bytes
    const start = this.#startOf(work)
    const share = this.#shareOf(work)
    state.served = start + (bytes + costPerRequestBytes) / share
    if (inTurn) this.#virtualNow = start
    else state.served = Math.min(state.served, this.#virtualNow + debtBytesMax / share)
  }
}
