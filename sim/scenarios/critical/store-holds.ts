/** What a directed scenario keeps back of the store's requests and answers, until it lets them go. */
import { decodeControl } from '../../../src/base/control.ts'
import {
  decodeVDiskState,
  stateRowKey,
  type VDiskState,
} from '../../../src/stargate/vdisk-controller/rows.ts'
import type { StoreDelay } from '../../delaying-store-engine.ts'
import type { World } from '../../world.ts'

/** Requests to the store, or their answers, that are kept back. */
export interface Hold {
  /** How many are. */
  readonly caught: number
  release(): void
}

/** What a request to the store asks, as far as stories tell requests apart. */
export interface StoreAsks {
  readonly partition?: { readonly table: string; readonly key: string }
  readonly change?: {
    readonly expected: { readonly epoch: number }
    readonly epoch: number
    readonly put?: readonly { readonly key: string; readonly value: Uint8Array }[]
  }
  readonly by?: { readonly node: string }
}

/** The vDisk's state that a request would write. */
export function stateIn({ partition, change }: StoreAsks): VDiskState | undefined {
  const row = partition?.table === 'vdisk' ? change?.put?.find(({ key }) => key === stateRowKey) : undefined
  return row === undefined ? undefined : decodeVDiskState(Buffer.from(row.value))
}

interface StagedHold {
  readonly where: keyof StoreDelay
  readonly matches: Matches
  readonly most: number
  caught: number
  readonly gate: Gate
}

export type Matches = (kind: string, asks: StoreAsks) => boolean

class Gate {
  open = false
  readonly opened: Promise<void>
  #resolve: () => void = () => undefined

  constructor() {
    this.opened = new Promise((resolve) => (this.#resolve = resolve))
  }

  letThrough(): void {
    this.open = true
    this.#resolve()
  }
}

export class StoreHolds {
  readonly #world: World
  readonly #holds: StagedHold[] = []

  constructor(world: World) {
    this.#world = world
  }

  /** Keeps back requests that match, the first `most` of them, or their answers. */
  hold(where: keyof StoreDelay, matches: Matches, most: number): Hold {
    const hold: StagedHold = { where, matches, most, caught: 0, gate: new Gate() }
    this.#holds.push(hold)
    return {
      get caught() {
        return hold.caught
      },
      release: () => this.#release(hold),
    }
  }

  /** What a request has to wait for. */
  delayOf(kind: string, body: Buffer): StoreDelay {
    const delays: { -readonly [where in keyof StoreDelay]: StoreDelay[where] } = {}
    for (const hold of this.#holds) {
      if (hold.gate.open || hold.caught >= hold.most || !hold.matches(kind, decodeControl(body))) continue
      hold.caught++
      delays[hold.where] = hold.gate.opened
    }
    return delays
  }

  releaseAll(): void {
    for (const hold of this.#holds) this.#release(hold)
  }

  #release({ gate }: StagedHold): void {
    this.#world.after(0, () => gate.letThrough())
  }
}
