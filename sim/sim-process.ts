/**
 * One life of a node's process. A node that is started again gets a new one; the old one never comes back.
 *
 *  1. Once dead, none of its callbacks runs and none of its promises resolves: what it awaited is as gone as it is.
 *  2. Frozen, its code stands still; what would have run meanwhile runs at the thaw.
 */
import { assert } from '../src/base/assert.ts'
import type { Owner, Schedule, SimEvent } from './schedule.ts'

/** What a node is, through all the lives of its process. */
export interface Host {
  readonly name: string
  /** Nodes of one machine share its Unix sockets. */
  readonly machine: string
  /** `off`: silent, as a machine without power. `on` without a process: it answers "nobody listens here". */
  power: 'on' | 'off'
}

export class SimProcess implements Owner {
  readonly host: Host
  readonly incarnation: number
  alive = true
  #held: SimEvent[] | undefined

  constructor(host: Host, incarnation: number) {
    this.host = host
    this.incarnation = incarnation
  }

  get name(): string {
    return `${this.host.name}/${this.incarnation}`
  }

  get frozen(): boolean {
    return this.#held !== undefined
  }

  freeze(): void {
    this.#held ??= []
  }

  hold(event: SimEvent): void {
    assert(this.#held, 'an event is held for a process that is not frozen')
    this.#held.push(event)
  }

  /** Lets what was held run, in its order; with `timersFirst`, as a loop that looks at its timers before its sockets. */
  thaw(schedule: Schedule, timersFirst: boolean): void {
    const held = this.#held ?? []
    this.#held = undefined
    const isTimer = (event: SimEvent) => event.kind === 'timer'
    const ordered = timersFirst ? [...held.filter(isTimer), ...held.filter((event) => !isTimer(event))] : held
    for (const event of ordered) schedule.again(event)
  }
}

/** The promise of a call that a dead process made. */
export const never = <T>(): Promise<T> => new Promise<T>(() => undefined)

/** An error as the operating system reports it. */
export function systemError(code: string, what: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: ${what}`), { code })
}

export const asError = (error: unknown): Error => (error instanceof Error ? error : new Error(String(error)))
