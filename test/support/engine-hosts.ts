/** Network namespaces as hosts: in each a node, a Cassandra and a ZooKeeper, which can die together or one by one. */
import assert from 'node:assert/strict'
import { runChaos, type ChaosOptions, type ChaosResult } from './chaos.ts'
import { withCluster } from './cluster.ts'
import { EngineFaults } from './engine-faults.ts'
import { withEngines } from './engines.ts'
import { Namespaces } from './namespaces.ts'

const hosts = 3
/** Little enough, with what our own clients do, that it is faults that end leases: some 2,000 operations a second in all. */
const fioReadMiBPerSecond = 30

/** Guests at work while engines, nodes and whole hosts fail, one at a time. */
export async function chaosOnEngines(
  options: Omit<ChaosOptions, 'faults' | 'namespaces'>,
  basePort: number,
): Promise<ChaosResult> {
  let result: ChaosResult | undefined
  const namespaces = new Namespaces(hosts)
  const places = namespaces.nodes.map((node) => ({
    address: namespaces.addressOf(node),
    within: namespaces.within(node),
  }))
  try {
    await withEngines({ basePort, places }, (engines) =>
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
