/**
 * Troubles of Zeus and Medusa: the store ends, stands still, is slow, is out of reach of some, and makes changes whose
 * answers are lost, so that whoever asked can't know whether they were made.
 */
import { storeName } from '../cluster.ts'
import type { Begin, FaultKit, Kind } from './fault-kit.ts'
import type { FeltWays } from './network.ts'

export const storeTroubles = {
  'store restart': { what: 'the store is killed and started again', weight: 2 },
  'store frozen': { what: 'the store stands still', weight: 2 },
  'store slow': { what: 'the store takes long over every request', weight: 2 },
  'store out of reach': { what: 'some nodes do not reach the store', weight: 2 },
  'store answer lost': { what: 'the store makes a change, and its answer is lost', weight: 4 },
  'store change late': { what: 'a change is made after its sender was cut off, and asked again', weight: 3 },
} as const satisfies Record<string, Kind>

export type StoreTrouble = keyof typeof storeTroubles

/** Changes of which more than the asker's own process depends on what it believes of them. */
const changes = new Set([
  'medusa.change',
  'zeus.claim',
  'zeus.release',
  'zeus.set',
  'zeus.delete',
  'zeus.open-session',
])

/**
 * Well below the grace before what is deleted is forgotten: a first row of a group that comes later than that comes back
 * for good (docs/vdisk-protocol.md, what is left).
 */
const lateMsMost = 1_000
const repeatedAfterMs = [45, 60] as const

export function storeFaults(kit: FaultKit<StoreTrouble>, ways: FeltWays): Record<StoreTrouble, Begin> {
  const { cluster, chance } = kit
  const { world } = cluster
  /** After so many changes from now on, so many answers are lost. */
  let losing: { inChanges: number; answers: number } | undefined

  cluster.onStoreDone = (kind) => {
    if (losing === undefined || !changes.has(kind) || --losing.inChanges > 0) return
    kit.log(`the answer to ${kind} is lost`)
    kit.hit('store answer lost')
    if (--losing.answers === 0) losing = undefined
    // Whether the store's process ends with it, or its connections only, is the same for whoever waits.
    if (chance.happens(0.8)) world.network.reset(storeName, undefined)
    else {
      cluster.killStore()
      kit.later(chance.between(1, 500), () => cluster.startStore())
    }
  }

  /** So many changes from now on, one is caught on its way. */
  let late: number | undefined

  cluster.delayStoreRequest = (kind) => {
    if (late === undefined || kind !== 'medusa.change' || --late > 0) return undefined
    late = undefined
    // Often just as its sender, connected anew, has found that it was not made.
    const ms = chance.happens(0.5) ? chance.between(...repeatedAfterMs) : chance.between(1, lateMsMost)
    kit.log(`a change takes effect ${Math.round(ms)} ms late, and its sender is cut off`)
    kit.hit('store change late')
    world.after(0, () => world.network.reset(storeName, undefined))
    return { request: new Promise((resolve) => world.after(ms, resolve)) }
  }

  kit.onCalm(() => {
    losing = undefined
    late = undefined
    world.thaw(storeName)
    cluster.startStore()
  })

  return {
    'store restart': () => {
      if (!cluster.storeRuns) return false
      const forMs = chance.between(10, 5_000)
      kit.log(`the store is killed for ${Math.round(forMs)} ms`)
      cluster.killStore()
      kit.hit('store restart')
      kit.later(forMs, () => cluster.startStore())
      return true
    },
    'store frozen': () => {
      if (!cluster.storeRuns) return false
      const forMs = chance.between(50, chance.happens(0.5) ? 1_500 : 8_000)
      kit.log(`the store stands still for ${Math.round(forMs)} ms`)
      world.freeze(storeName, forMs)
      kit.hit('store frozen')
      return true
    },
    'store slow': () => {
      const ms = [20, 200, 1_000][chance.below(3)]
      const forMs = chance.between(500, 10_000)
      kit.log(`the store's answers take ${ms} ms longer for ${Math.round(forMs)} ms`)
      const felt = kit.once('store slow')
      for (const name of cluster.names) {
        world.network.delay(storeName, name, ms)
        ways.feel('delayed', storeName, name, felt)
      }
      kit.later(forMs, () => {
        for (const name of cluster.names) world.network.delay(storeName, name, 0)
      })
      return true
    },
    'store out of reach': () => {
      const forMs = chance.between(100, 12_000)
      const cutOff = cluster.names.filter(() => chance.happens(0.5))
      if (cutOff.length === 0) return false
      kit.log(`${cutOff.join(', ')} do not reach the store for ${Math.round(forMs)} ms`)
      const felt = kit.once('store out of reach')
      for (const name of cutOff) {
        world.cut(name, storeName)
        ways.feel('dropped', name, storeName, felt)
        ways.feel('dropped', storeName, name, felt)
      }
      kit.later(forMs, () => cutOff.forEach((name) => world.heal(name, storeName)))
      return true
    },
    'store change late': () => {
      late = 1 + chance.below(20)
      return true
    },
    'store answer lost': () => {
      losing = { inChanges: 1 + chance.below(20), answers: 1 + chance.below(3) }
      return true
    },
  }
}
