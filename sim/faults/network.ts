/**
 * Troubles of the network: ways are cut, slow, narrow or keep back what they take; connections break. See
 * sim-network.ts for what each does, and why nothing is ever duplicated.
 */
import { type Cluster, storeName } from '../cluster.ts'
import type { WayTrouble } from '../sim-network.ts'
import type { Begin, FaultKit, Kind } from './fault-kit.ts'

export const networkTroubles = {
  cut: { what: 'a way between two is cut, one way or both', weight: 5 },
  isolate: { what: 'a node is cut off from most others', weight: 3 },
  'slow way': { what: 'packets take long from one node to another', weight: 2 },
  'narrow way': { what: 'little gets across from one node to another', weight: 2 },
  'stalled way': { what: 'what is sent from one node to another is taken and kept back', weight: 2 },
  'broken connections': { what: 'connections between two are reset', weight: 4 },
} as const satisfies Record<string, Kind>

export type NetworkTrouble = keyof typeof networkTroubles

/** Tells who felt which trouble of a way: of the way, or of either of its ends. */
export class FeltWays {
  readonly #felt = new Map<string, () => void>()

  constructor({ world }: Cluster) {
    world.network.onTrouble = (trouble, from, to) => this.#felt.get(`${trouble} ${from} ${to}`)?.()
  }

  /** Calls back when something that is sent from one to the other next meets the trouble. */
  feel(trouble: WayTrouble, from: string, to: string, felt: () => void): void {
    this.#felt.set(`${trouble} ${from} ${to}`, felt)
  }
}

export function networkFaults(kit: FaultKit<NetworkTrouble>, ways: FeltWays): Record<NetworkTrouble, Begin> {
  const { cluster, chance } = kit
  const { world } = cluster
  const { network } = world

  kit.onCalm(() => world.healAll())

  const eitherWay = (name: string, other: string): [string, string] =>
    chance.happens(0.5) ? [name, other] : [other, name]
  const cut = (from: string, to: string, oneWay: boolean, felt: () => void): void => {
    world.cut(from, to, { oneWay })
    ways.feel('dropped', from, to, felt)
    if (!oneWay) ways.feel('dropped', to, from, felt)
  }

  return {
    cut: (name) => {
      const [from, to] = eitherWay(name, kit.other(name))
      const oneWay = chance.happens(0.5)
      const forMs = chance.between(100, 15_000)
      kit.log(`${from} ${oneWay ? '→' : '↔'} ${to} is cut for ${Math.round(forMs)} ms`)
      cut(from, to, oneWay, kit.once('cut'))
      kit.later(forMs, () => world.heal(from, to))
      return true
    },
    isolate: (name) => {
      const forMs = chance.between(500, 12_000)
      // Mostly not from all: who still hears whom is what takeovers have to get right.
      const others = [...cluster.names, storeName].filter((one) => one !== name && chance.happens(0.8))
      const oneWay = chance.happens(0.2)
      kit.log(`${name} ${oneWay ? '→' : '↔'} ${others.join(', ')} is cut for ${Math.round(forMs)} ms`)
      const felt = kit.once('isolate')
      for (const other of others) cut(name, other, oneWay, felt)
      kit.later(forMs, () => others.forEach((other) => world.heal(name, other)))
      return true
    },
    'slow way': (name) => {
      const [from, to] = eitherWay(name, kit.other(name))
      const ms = [5, 100, 1_500][chance.below(3)]
      kit.log(`${from} → ${to} takes ${ms} ms longer`)
      network.delay(from, to, ms)
      ways.feel('delayed', from, to, kit.once('slow way'))
      kit.later(chance.between(500, 10_000), () => network.delay(from, to, 0))
      return true
    },
    'narrow way': (name) => {
      const [from, to] = eitherWay(name, kit.other(name))
      // From a busy disk's speed down to a modem's.
      const bytesPerMs = [50_000, 1_000, 20][chance.below(3)]
      kit.log(`${from} → ${to} takes ${bytesPerMs} bytes a ms`)
      network.narrow(from, to, bytesPerMs)
      ways.feel('narrowed', from, to, kit.once('narrow way'))
      kit.later(chance.between(500, 10_000), () => network.narrow(from, to, undefined))
      return true
    },
    'stalled way': (name) => {
      const [from, to] = eitherWay(name, kit.other(name))
      const forMs = chance.between(100, 15_000)
      kit.log(`${from} → ${to} is taken and kept back for ${Math.round(forMs)} ms`)
      network.stall(from, to)
      ways.feel('kept back', from, to, kit.once('stalled way'))
      kit.later(forMs, () => network.endStall(from, to))
      return true
    },
    'broken connections': (name) => {
      const to = chance.happens(0.5) ? kit.other(name) : undefined
      const share = chance.happens(0.5) ? 1 : 0.3
      const again = chance.below(4)
      const breakNow = (timesLeft: number): boolean => {
        const broken = network.reset(name, to, share)
        kit.log(`${broken} connections of ${name} with ${to ?? 'others'} are reset`)
        if (broken > 0) kit.hit('broken connections')
        if (timesLeft > 0) kit.later(chance.between(1, 500), () => breakNow(timesLeft - 1))
        return broken > 0
      }
      return breakNow(again)
    },
  }
}
