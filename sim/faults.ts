/**
 * What goes wrong in the simulated cluster, drawn from the seed: one trouble after the other, some at once, each with its
 * own end. `calm` ends them all.
 *
 *  1. At most `lossesMax` nodes are ever gone for good: one fewer than there are copies.
 *  2. A trouble changes only what the world offers: processes, power, ways, disks, clocks. No code of the nodes knows.
 */
import type { NodeId } from '../src/base/ids.ts'
import { type Cluster, disksOfNode, pathOfDisk } from './cluster.ts'
import type { SeededChance } from './seeded-chance.ts'

export interface FaultOptions {
  /** How often each comes, against the others; those left out never. */
  readonly weights: Partial<Record<Trouble, number>>
  /** Between one trouble and the next. */
  readonly everyMs: readonly [least: number, most: number]
  readonly lossesMax: number
}

export const troubles = {
  kill: 'a process is killed, and started again',
  'power cut': 'a machine loses power',
  'all at once': 'every node is killed, or loses power',
  freeze: 'a process stands still',
  cut: 'a way between two is cut, one way or both',
  isolate: 'a node is cut off from most others',
  'store restart': 'the store is killed and started again',
  'slow disk': 'every operation of a disk takes long',
  'failed sync': 'a sync or write fails: the disk leaves service until its node is started again',
  stop: 'a node is stopped in order, and started again',
  'clock jump': 'a wall clock jumps',
  'slow way': 'packets take long from one node to another',
  loss: 'a machine and its disks are gone for good',
} as const

export type Trouble = keyof typeof troubles

export const allTroubles: Record<Trouble, number> = {
  kill: 6,
  'power cut': 6,
  'all at once': 2,
  freeze: 5,
  cut: 5,
  isolate: 3,
  'store restart': 2,
  'slow disk': 3,
  'failed sync': 2,
  stop: 2,
  'clock jump': 1,
  'slow way': 2,
  loss: 1,
}

interface DiskTrouble {
  slowMs: number
  /** How many writes and syncs from now the failing one is, and where. */
  failing: { path: string; inOperations: number } | undefined
  /** A disk has left service, until its node is started again. */
  failed: boolean
}

export class Faults {
  readonly counts = new Map<Trouble, number>()
  readonly #cluster: Cluster
  readonly #options: FaultOptions
  readonly #chance: SeededChance
  readonly #disks = new Map<NodeId, DiskTrouble>()
  readonly #log: (line: string) => void
  /** Being stopped in order. */
  readonly #stopping = new Set<NodeId>()
  #losses = 0
  #calm = false

  constructor(cluster: Cluster, options: FaultOptions, log: (line: string) => void) {
    this.#cluster = cluster
    this.#options = options
    this.#log = log
    this.#chance = cluster.world.chance('faults')
    for (const name of cluster.names) {
      const trouble: DiskTrouble = { slowMs: 0, failing: undefined, failed: false }
      this.#disks.set(name, trouble)
      cluster.world.disk(name).onOperation = ({ kind, path }) => {
        const delayMs = trouble.slowMs > 0 ? this.#chance.between(0, trouble.slowMs) : 0
        const { failing } = trouble
        if (failing !== undefined && (kind === 'write' || kind === 'sync') && path.startsWith(failing.path))
          if (--failing.inOperations <= 0) {
            trouble.failing = undefined
            trouble.failed = true
            return { fail: 'EIO', delayMs }
          }
        return delayMs > 0 ? { delayMs } : undefined
      }
    }
  }

  /** Begins trouble, until `calm`. */
  begin(): void {
    this.#cluster.world.after(this.#chance.between(...this.#options.everyMs), () => {
      if (this.#calm) return
      this.#trouble()
      this.begin()
    })
  }

  /** No trouble any more: all ways open, all disks quick, every node that is not lost runs. */
  calm(): void {
    this.#calm = true
    const { world } = this.#cluster
    world.healAll()
    for (const from of [...this.#cluster.names, 'store'])
      for (const to of [...this.#cluster.names, 'store']) world.network.delay(from, to, 0)
    for (const [name, trouble] of this.#disks) {
      trouble.slowMs = 0
      trouble.failing = undefined
      if (trouble.failed || this.#stopping.has(name)) this.#cluster.end(name, 'kill')
    }
    for (const name of this.#cluster.running()) world.thaw(name)
    this.#cluster.startStore()
    for (const name of this.#cluster.notLost()) this.#cluster.startNode(name)
  }

  #trouble(): void {
    const { weights } = this.#options
    const kinds = Object.keys(troubles) as Trouble[]
    let draw = this.#chance.between(
      0,
      kinds.reduce((sum, kind) => sum + (weights[kind] ?? 0), 0),
    )
    const kind = kinds.find((one) => (draw -= weights[one] ?? 0) < 0)
    if (kind === undefined || (kind === 'loss' && this.#losses >= this.#options.lossesMax)) return
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1)
    this.#begin[kind](this.#one(this.#cluster.notLost()))
  }

  readonly #begin: Record<Trouble, (name: NodeId) => void> = {
    kill: (name) => this.#end(name, 'kill', 10_000),
    'power cut': (name) =>
      this.#end(name, this.#chance.happens(0.5) ? 'power cut' : 'silent power cut', 15_000),
    'all at once': () => {
      const how = this.#chance.happens(0.5) ? 'kill' : 'power cut'
      for (const name of this.#cluster.notLost()) this.#end(name, how, 3_000)
    },
    freeze: (name) => {
      const forMs = this.#chance.between(50, this.#chance.happens(0.5) ? 1_500 : 12_000)
      this.#log(`${name} stands still for ${Math.round(forMs)} ms`)
      this.#cluster.world.freeze(name, forMs)
    },
    cut: (name) => {
      const other = this.#one([...this.#cluster.names, 'store'].filter((one) => one !== name))
      const [from, to] = this.#chance.happens(0.5) ? [name, other] : [other, name]
      const oneWay = this.#chance.happens(0.5)
      const forMs = this.#chance.between(100, 15_000)
      this.#log(`${from} ${oneWay ? '→' : '↔'} ${to} is cut for ${Math.round(forMs)} ms`)
      this.#cluster.world.cut(from, to, { oneWay })
      this.#later(forMs, () => this.#cluster.world.heal(from, to))
    },
    isolate: (name) => {
      const forMs = this.#chance.between(500, 12_000)
      // Mostly not from all: who still hears whom is what takeovers have to get right.
      const others = [...this.#cluster.names, 'store'].filter(
        (one) => one !== name && this.#chance.happens(0.8),
      )
      this.#log(`${name} is cut off from ${others.join(', ')} for ${Math.round(forMs)} ms`)
      for (const other of others) this.#cluster.world.cut(name, other)
      this.#later(forMs, () => others.forEach((other) => this.#cluster.world.heal(name, other)))
    },
    'store restart': () => {
      const forMs = this.#chance.between(10, 5_000)
      this.#log(`the store is killed for ${Math.round(forMs)} ms`)
      this.#cluster.killStore()
      this.#later(forMs, () => this.#cluster.startStore())
    },
    'slow disk': (name) => {
      const trouble = this.#disks.get(name)!
      const forMs = this.#chance.between(500, 10_000)
      trouble.slowMs = [5, 50, 1_000, 4_000][this.#chance.below(4)]
      this.#log(`the disks of ${name} are slow, up to ${trouble.slowMs} ms, for ${Math.round(forMs)} ms`)
      this.#later(forMs, () => (trouble.slowMs = 0))
    },
    'failed sync': (name) => {
      const path = pathOfDisk(this.#one(disksOfNode))
      this.#log(`${path} of ${name} fails`)
      this.#disks.get(name)!.failing = { path, inOperations: 1 + this.#chance.below(20) }
      this.#later(this.#chance.between(2_000, 20_000), () => {
        this.#disks.get(name)!.failing = undefined
        this.#end(name, 'kill', 1_000)
      })
    },
    stop: (name) => {
      this.#log(`${name} is stopped in order`)
      // Where it can't end in order it is killed, as `ndfs down` does.
      this.#stopping.add(name)
      void this.#cluster.stop(name).catch(() => undefined)
      this.#later(5_000 + this.#chance.between(0, 5_000), () => {
        this.#stopping.delete(name)
        this.#cluster.end(name, 'kill')
        this.#cluster.startNode(name)
      })
    },
    'clock jump': (name) =>
      this.#cluster.world.jumpWallClock(name, this.#chance.between(-3_600_000, 3_600_000)),
    'slow way': (name) => {
      const other = this.#one([...this.#cluster.names, 'store'].filter((one) => one !== name))
      const ms = [5, 100, 1_500][this.#chance.below(3)]
      this.#log(`${name} → ${other} takes ${ms} ms longer`)
      this.#cluster.world.network.delay(name, other, ms)
      this.#later(this.#chance.between(500, 10_000), () => this.#cluster.world.network.delay(name, other, 0))
    },
    loss: (name) => {
      this.#losses++
      this.#log(`${name} is gone for good`)
      this.#cluster.lose(name)
    },
  }

  #end(name: NodeId, how: 'kill' | 'power cut' | 'silent power cut', mostMs: number): void {
    this.#disks.get(name)!.failed = false
    const forMs = this.#chance.between(50, mostMs)
    this.#log(`${name}: ${how}, for ${Math.round(forMs)} ms`)
    this.#cluster.end(name, how)
    this.#later(forMs, () => this.#cluster.startNode(name))
  }

  /** What ends a trouble; after `calm` there is nothing to end. */
  #later(ms: number, act: () => void): void {
    this.#cluster.world.after(ms, () => {
      if (!this.#calm) act()
    })
  }

  #one<T>(of: readonly T[]): T {
    return of[this.#chance.below(of.length)]
  }
}
