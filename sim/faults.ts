/**
 * What goes wrong in the simulated cluster, drawn from the seed: one trouble after the other, some at once, each with its
 * own end. `calm` ends them all. What each kind does is written by theme, in faults/.
 *
 *  1. At most `lossesMax` nodes are ever gone for good: one fewer than there are copies.
 *  2. A trouble changes only what the world offers: processes, power, ways, disks, clocks. No code of the nodes knows.
 *  3. `counts` has what took effect, not what was drawn.
 *  4. They come by time, and by what clients get done, so that work and trouble meet: one comes sooner when clients are
 *     quick, and after many it waits for them. A cluster in trouble gets nothing done, and would get only more trouble.
 */
import type { NodeId } from '../src/base/ids.ts'
import type { Cluster } from './cluster.ts'
import { type Damage, damageFaults, damageTroubles } from './faults/damage.ts'
import { diskFaults, diskTroubles } from './faults/disks.ts'
import { type Begin, FaultKit, type Kind } from './faults/fault-kit.ts'
import { FeltWays, networkFaults, networkTroubles } from './faults/network.ts'
import { processFaults, processTroubles } from './faults/processes.ts'
import { storeFaults, storeTroubles } from './faults/store.ts'
import type { SeededChance } from './seeded-chance.ts'

export interface FaultOptions {
  /** How often each comes, against the others; those left out never. */
  readonly weights: Partial<Record<Trouble, number>>
  /** Between one trouble and the next. */
  readonly everyMs: readonly [least: number, most: number]
  /** Left out: troubles come by time alone. */
  readonly work?: Work
  readonly lossesMax: number
  /** How many machines' disks may lose what they hold: fewer than there are copies. As many as may be lost, if left out. */
  readonly badMachines?: number
}

/** What clients do meanwhile. */
export interface Work {
  /** Operations that were answered until now. */
  readonly done: () => number
  /** No more of them between one trouble and the next. */
  readonly operationsMost: number
  /** After so many troubles the next one waits for clients, not for time. */
  readonly troublesMost: number
}

const kinds = {
  ...processTroubles,
  ...networkTroubles,
  ...storeTroubles,
  ...diskTroubles,
  ...damageTroubles,
} satisfies Record<string, Kind>

export type Trouble = keyof typeof kinds

const allKinds = Object.keys(kinds) as Trouble[]

export const troubles = Object.fromEntries(allKinds.map((kind) => [kind, kinds[kind].what])) as Record<
  Trouble,
  string
>

export const allTroubles = Object.fromEntries(allKinds.map((kind) => [kind, kinds[kind].weight])) as Record<
  Trouble,
  number
>

/** How often clients' work is looked at. */
const lookAtWorkMs = 50
/** How often another kind is drawn where one can't be now. */
const drawsMax = 5
/** Of power cuts, those that stop writes at any byte. */
const tearingShare = 0.5

export class Faults {
  readonly counts = new Map<Trouble, number>()
  /** What bad machines have lost. */
  readonly damage: Damage
  /** To be called when all is calm: disks that no restart brings back into service are replaced. */
  readonly mend: () => void
  readonly #options: FaultOptions
  readonly #chance: SeededChance
  readonly #kit: FaultKit<Trouble>
  readonly #begin: Partial<Record<Trouble, Begin>>

  constructor(cluster: Cluster, options: FaultOptions, log: (line: string) => void) {
    this.#options = options
    this.#chance = cluster.world.chance('faults')
    const { lossesMax, badMachines = lossesMax } = options
    const bad = new Set<NodeId>()
    while (bad.size < badMachines) bad.add(cluster.names[this.#chance.below(cluster.names.length)])
    const hit = (kind: string): void =>
      void this.counts.set(kind as Trouble, (this.counts.get(kind as Trouble) ?? 0) + 1)
    const kit = new FaultKit<Trouble>({ cluster, chance: this.#chance, bad, lossesMax, log, hit })
    this.#kit = kit
    const ways = new FeltWays(cluster)
    const disks = diskFaults(kit)
    const damage = damageFaults(kit)
    this.damage = damage.damage
    this.mend = damage.mend
    this.#begin = {
      ...processFaults(kit),
      ...networkFaults(kit, ways),
      ...storeFaults(kit, ways),
      ...disks.begin,
      ...damage.begin,
    }
    for (const name of cluster.names) {
      const disk = cluster.world.disk(name)
      disk.tearingShare = tearingShare
      disk.onOperation = (operation) => {
        if (operation.kind === 'write' || operation.kind === 'sync') kit.writeBegins(name)
        return disks.hook(name, operation) ?? damage.hook(name, operation)
      }
    }
    kit.onCalm(() => {
      for (const name of cluster.notLost()) cluster.startNode(name)
    })
  }

  /** Begins trouble, until `calm`. */
  begin(): void {
    const { everyMs, work } = this.#options
    const afterMs = this.#chance.between(...everyMs)
    const trouble = (): void => {
      for (let draws = 0; draws < drawsMax && !this.#trouble(); draws++);
      this.begin()
    }
    if (work === undefined) return this.#kit.later(afterMs, trouble)
    const { world } = this.#kit.cluster
    const at = world.now + afterMs
    const atDone = work.done() + this.#chance.below(work.operationsMost)
    const look = (): void => {
      const isTime = world.now >= at && this.total < work.troublesMost
      if (isTime || work.done() > atDone) trouble()
      else this.#kit.later(lookAtWorkMs, look)
    }
    this.#kit.later(lookAtWorkMs, look)
  }

  /** Of all kinds. */
  get total(): number {
    return [...this.counts.values()].reduce((sum, count) => sum + count, 0)
  }

  /** No trouble any more: all ways open, all disks quick, every node that is not lost runs. */
  calm(): void {
    this.#kit.calm()
  }

  #trouble(): boolean {
    const { weights } = this.#options
    let draw = this.#chance.between(
      0,
      allKinds.reduce((sum, kind) => sum + (weights[kind] ?? 0), 0),
    )
    const kind = allKinds.find((one) => (draw -= weights[one] ?? 0) < 0)
    if (kind === undefined) return true
    const { cluster } = this.#kit
    return this.#begin[kind]?.(this.#kit.one(cluster.notLost())) ?? false
  }
}
