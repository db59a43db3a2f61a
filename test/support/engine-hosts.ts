/** Network namespaces as hosts: in each a node, a Cassandra and a ZooKeeper, which can die together or one by one. */
import assert from 'node:assert/strict'
import type { EnginePlace } from '../../scripts/engines/engines.ts'
import { loseBlock, type BlockLossOptions } from './block-loss.ts'
import { runChaos, type ChaosOptions, type ChaosResult } from './chaos.ts'
import { withCluster } from './cluster.ts'
import { EngineFaults } from './engine-faults.ts'
import { withEngines } from './engines.ts'
import { Namespaces } from './namespaces.ts'

const hosts = 3
/** Little enough, with what our own clients do, that it is faults that end leases: some 2,000 operations a second in all. */
const fioReadMiBPerSecond = 30

const blocks = 3

/** Six hosts in three blocks, each with a Cassandra and one of each block with a ZooKeeper: a whole block dies, and comes back. */
export async function blockLossOnEngines(options: BlockLossOptions, basePort: number): Promise<void> {
  const namespaces = new Namespaces(2 * blocks)
  try {
    await withEngines(
      { basePort, places: placesIn(namespaces), zooKeepers: blocks, racks: blocks },
      (engines) =>
        withCluster({ nodes: 2 * blocks, up: ['--blocks', String(blocks)], namespaces, engines }, (cluster) =>
          loseBlock(cluster, { ...options, hosts: { engines, namespaces } }),
        ),
    )
  } finally {
    namespaces.remove()
  }
}

export const placesIn = (namespaces: Namespaces): readonly EnginePlace[] =>
  namespaces.nodes.map((node) => ({
    address: namespaces.addressOf(node),
    within: namespaces.within(node),
  }))

/** Guests at work while engines, nodes and whole hosts fail, one at a time. */
export async function chaosOnEngines(
  options: Omit<ChaosOptions, 'faults' | 'namespaces'>,
  basePort: number,
): Promise<ChaosResult> {
  let result: ChaosResult | undefined
  const namespaces = new Namespaces(hosts)
  try {
    await withEngines({ basePort, places: placesIn(namespaces) }, (engines) =>
      withCluster({ nodes: hosts, namespaces, engines }, async (cluster) => {
        const faults = new EngineFaults(cluster, engines, namespaces, options.seed)
        result = await runChaos(cluster, { fioReadMiBPerSecond, ...options, faults, namespaces })
      }),
    )
  } finally {
    namespaces.remove()
  }
  assert(result !== undefined)
  return result
}
