/**
 * What happens to nodes of a real cluster, drawn from a seed: one is killed, frozen, started again, cut off, or parted from another. Each
 * fault is begun and ended here; whether the cluster has healed since is another's question.
 */
import type { VDiskInfo } from '../../src/management/management.ts'
import { SeededChance } from '../../sim/seeded-chance.ts'
import type { Cluster } from './cluster.ts'
import { isAlive } from './cluster.ts'
import { askAny } from './health.ts'
import type { Namespaces } from './namespaces.ts'
import { sleep, until } from './run.ts'

/** How often each is drawn. */
const everywhere = { killed: 3, frozen: 3, restarted: 2, 'store killed': 1 } as const
const withNetworks = { 'cut off': 3, parted: 2, 'alive only for Zeus': 1 } as const
type Kind = keyof typeof everywhere | keyof typeof withNetworks
export type NodeFaultWeights = Partial<Readonly<Record<Kind, number>>>

/** Shorter than what makes a client give up; longer than leases and sessions run. */
export const faultLastsMs = [300, 12_000] as const
/** Of all faults. */
export const ownersShare = 0.6
const orderlyEndSeconds = 60

export interface Faults {
  /** How often there was which, so far. */
  readonly counts: ReadonlyMap<string, number>
  /** Resolves when it is over. `say`: told as it begins. Whoever owns one of these vDisks is met more often than others. */
  one(vdisks: readonly string[], say: (what: string) => void): Promise<void>
}

export async function ownerOr(otherwise: string, cluster: Cluster, vdisk: string): Promise<string> {
  const info = await askAny<VDiskInfo>(cluster, `vdisks/${vdisk}`)
  return info?.owner ?? otherwise
}

export class NodeFaults implements Faults {
  readonly counts = new Map<string, number>()
  readonly #cluster: Cluster
  readonly #namespaces: Namespaces | undefined
  readonly #chance: SeededChance
  readonly #kinds: readonly Kind[]

  constructor(
    cluster: Cluster,
    seed: number,
    namespaces?: Namespaces,
    weights: NodeFaultWeights = namespaces === undefined ? everywhere : { ...everywhere, ...withNetworks },
  ) {
    this.#cluster = cluster
    this.#namespaces = namespaces
    this.#chance = new SeededChance(seed, 'node faults')
    this.#kinds = Object.entries(weights).flatMap(([kind, weight]) =>
      Array.from({ length: weight }, () => kind as Kind),
    )
  }

  async one(vdisks: readonly string[], say: (what: string) => void): Promise<void> {
    const chance = this.#chance
    const kind = this.#kinds[chance.below(this.#kinds.length)]
    const ids = this.#cluster.nodes.map(({ id }) => id)
    const drawn = ids[chance.below(ids.length)]
    const vdisk = vdisks[chance.below(vdisks.length)]
    const node = chance.happens(ownersShare) ? await ownerOr(drawn, this.#cluster, vdisk) : drawn
    const others = ids.filter((id) => id !== node)
    const other = others[chance.below(others.length)]
    const ms = Math.round(chance.between(...faultLastsMs))
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1)
    const whom = kind === 'store killed' ? '' : kind === 'parted' ? `${node} and ${other} ` : `${node} `
    say(`${whom}${kind}${kind === 'store killed' ? '' : ` for ${(ms / 1000).toFixed(1)} s`}`)
    await this.#do(kind, node, other, ms)
  }

  async #do(kind: Kind, node: string, other: string, ms: number): Promise<void> {
    const cluster = this.#cluster
    switch (kind) {
      case 'killed':
        await cluster.kill(node)
        await sleep(ms)
        return cluster.startNode(node)
      case 'restarted': {
        const { pid } = cluster.node(node)
        await cluster.kill(node, 'SIGTERM')
        await until(`${node} has ended`, () => pid === null || !isAlive(pid), orderlyEndSeconds)
        return cluster.startNode(node)
      }
      case 'frozen':
        await cluster.kill(node, 'SIGSTOP')
        await sleep(ms)
        return cluster.kill(node, 'SIGCONT')
      case 'store killed':
        return cluster.killStore()
      case 'cut off':
        this.#namespaces?.cut(node)
        await sleep(ms)
        return this.#namespaces?.mend(node)
      case 'parted':
        return this.#withoutWays(node, [this.#namespaces?.addressOf(other) ?? ''], ms)
      case 'alive only for Zeus':
        return this.#withoutWays(node, this.#allBut(node), ms)
      default:
        return kind satisfies never
    }
  }

  #allBut(node: string): string[] {
    const namespaces = this.#namespaces
    if (namespaces === undefined) return []
    const others = namespaces.nodes.filter((other) => other !== node)
    return [...others.map((other) => namespaces.addressOf(other)), namespaces.clientAddress]
  }

  async #withoutWays(node: string, addresses: readonly string[], ms: number): Promise<void> {
    for (const address of addresses) this.#namespaces?.cutWay(node, address)
    await sleep(ms)
    for (const address of addresses) this.#namespaces?.mendWay(node, address)
  }
}
