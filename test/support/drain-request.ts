/** Has a vDisk drained now, as a node does whose log runs short: else a test waits until its records are old. */
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Incarnation, NodeId } from '../../src/base/ids.ts'
import { readClusterKey } from '../../src/local/node-config.ts'
import { PeerNetwork } from '../../src/peer/peer-network.ts'
import { nodePlatform } from '../../src/platform/node-platform.ts'

const platform = nodePlatform({ level: 'silent' })

/** For as long as `work` takes: asks the node at that peer address to drain what it owns of the vDisk. */
export async function withDrainRequests(
  dir: string,
  work: (ask: (node: string, address: string, vdisk: number) => Promise<void>) => Promise<void>,
): Promise<void> {
  const { clusterId } = JSON.parse(readFileSync(join(dir, 'ndfs.json'), 'utf8')) as { clusterId: string }
  const number = randomBytes(8).toString('hex')
  const peers = new PeerNetwork({
    ...{ platform, clusterId, key: await readClusterKey(platform.files, join(dir, 'cluster.key')) },
    ...{ node: `test-${number}` as NodeId, incarnation: number as Incarnation },
  })
  try {
    await work(async (node, address, vdisk) => {
      const body = Buffer.alloc(8)
      body.writeDoubleLE(vdisk)
      peers.setAddress(node as NodeId, address)
      await peers.call(node as NodeId, 'vdisk.drain', [body])
    })
  } finally {
    await peers.close()
  }
}
