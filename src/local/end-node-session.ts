/** Tells Zeus that a node's process is gone, so that the others need not wait for its session to run out (M15). */
import type { Incarnation, NodeId } from '../base/ids.ts'
import { PeerNetwork } from '../peer/peer-network.ts'
import type { Platform } from '../platform/platform.ts'
import type { SessionValue } from '../zeus/zeus.ts'
import type { Layout } from './layout.ts'
import { nodeConfigOfLocal, readClusterKey, readLocalNodeConfig } from './node-config.ts'

/** What the supervisor is called among peers. */
const supervisorNode = 'up' as NodeId

/**
 * Ends the session that the node has now. The caller saw its process end and has started no other since, so that the
 * session can only be that process'.
 */
export async function endNodeSession(node: string, layout: Layout, platform: Platform): Promise<void> {
  const local = await readLocalNodeConfig(platform.files, layout.node(node).config)
  const { cluster } = local
  const key = await readClusterKey(platform.files, cluster.keyFile)
  const incarnation = platform.chance.bytes(8).toString('hex') as Incarnation
  const peers = new PeerNetwork({ platform, node: supervisorNode, incarnation, clusterId: cluster.id, key })
  // Beside the store is who looks after it: by its socket it needs no certificate.
  const { storeAddress: _, ...here } = local
  const { openZeus } = await import('../open-stores.ts')
  const zeus = await openZeus(nodeConfigOfLocal(here).stores, platform, peers)
  try {
    const session = await zeus.get(`session/${node}`)
    if (session) await zeus.endSession(node as NodeId, (session.value as SessionValue).incarnation)
  } finally {
    await zeus.close()
    await peers.close()
  }
}
