/**
 * What troubles of every kind are made of: whom they hit, how long they last, and how they are counted.
 *
 *  1. A trouble is counted where it took effect, which may be long after it was drawn, or never: a sync that was to
 *     fail, and that nobody asked for, was no trouble.
 *  2. After `calm` nothing begins and nothing that was to come comes.
 *  3. What destroys data hits bad machines only: one fewer than there are copies, drawn once a run, so that the promise
 *     stays keepable. What only takes time or service hits any machine.
 */
import type { NodeId } from '../../src/base/ids.ts'
import { type Cluster, storeName } from '../cluster.ts'
import type { SeededChance } from '../seeded-chance.ts'

/** What there is of a kind of trouble before it happens. */
export interface Kind {
  readonly what: string
  /** How often it comes, against the others. */
  readonly weight: number
}

/** Begins a trouble; false: it can't be now, and another is drawn. */
export type Begin = (name: NodeId) => boolean

export type Ending = 'kill' | 'power cut' | 'silent power cut'

/** About as long as a write of a quick disk takes (sim-files.ts). */
const writeMsMost = 0.4

export interface FaultKitOptions {
  readonly cluster: Cluster
  readonly chance: SeededChance
  readonly bad: ReadonlySet<NodeId>
  readonly lossesMax: number
  readonly log: (line: string) => void
  readonly hit: (kind: string) => void
}

export class FaultKit<Trouble extends string> {
  readonly cluster: Cluster
  readonly chance: SeededChance
  /** Machines whose disks may lose what they hold. */
  readonly bad: ReadonlySet<NodeId>
  readonly lossesMax: number
  readonly log: (line: string) => void
  readonly #hit: (kind: string) => void
  readonly #onCalm: (() => void)[] = []
  readonly #onEnd: ((name: NodeId) => void)[] = []
  readonly #aimed = new Map<NodeId, () => void>()
  #isCalm = false

  constructor({ cluster, chance, bad, lossesMax, log, hit }: FaultKitOptions) {
    this.cluster = cluster
    this.chance = chance
    this.bad = bad
    this.lossesMax = lossesMax
    this.log = log
    this.#hit = hit
  }

  get isCalm(): boolean {
    return this.#isCalm
  }

  /** The trouble took effect. */
  hit(kind: Trouble): void {
    if (!this.#isCalm) this.#hit(kind)
  }

  /** For what must be counted once, however often it is felt. */
  once(kind: Trouble): () => void {
    let hit = false
    return () => {
      if (!hit) this.hit(kind)
      hit = true
    }
  }

  /** What goes on with a trouble, or ends it; after `calm` it does not happen. */
  later(ms: number, act: () => void): void {
    this.cluster.world.after(ms, () => {
      if (!this.#isCalm) act()
    })
  }

  /** Does it while the next write or sync of the node's disks is under way. */
  inNextWrite(name: NodeId, act: () => void): void {
    this.#aimed.set(name, act)
  }

  /** To be called as a write or sync begins. */
  writeBegins(name: NodeId): void {
    const act = this.#aimed.get(name)
    if (act === undefined) return
    this.#aimed.delete(name)
    this.later(this.chance.between(0, writeMsMost), act)
  }

  /** What a theme has to undo when all is to be calm. */
  onCalm(act: () => void): void {
    this.#onCalm.push(act)
  }

  /** Called when a trouble ends a node's process: the next one finds its disks in service. */
  onEnd(act: (name: NodeId) => void): void {
    this.#onEnd.push(act)
  }

  calm(): void {
    this.#isCalm = true
    for (const act of this.#onCalm) act()
  }

  one<T>(of: readonly T[]): T {
    return of[this.chance.below(of.length)]
  }

  /** A node or the store, other than this one. */
  other(name: NodeId): string {
    return this.one([...this.cluster.names, storeName].filter((one) => one !== name))
  }

  /** A bad machine that is still there. */
  oneBad(): NodeId | undefined {
    const left = this.cluster.notLost().filter((name) => this.bad.has(name))
    return left.length === 0 ? undefined : this.one(left)
  }

  /** Ends the node's process and starts it again after a while; true if it ran. */
  end(name: NodeId, how: Ending, mostMs: number): boolean {
    if (!this.cluster.notLost().includes(name)) return false
    const ran = this.cluster.running().includes(name)
    const forMs = this.chance.between(50, mostMs)
    this.log(`${name}: ${how}, for ${Math.round(forMs)} ms`)
    for (const act of this.#onEnd) act(name)
    this.cluster.end(name, how)
    this.later(forMs, () => this.cluster.startNode(name))
    return ran
  }
}
