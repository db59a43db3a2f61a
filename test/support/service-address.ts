/** A cluster that serves NFS at one address more, which its nodes have in turn. */
import { type Cluster, withCluster } from './cluster.ts'
import { Namespaces } from './namespaces.ts'
import { until } from './run.ts'

/** The container `vms`, and the address at n1. */
export async function withServiceAddress(
  work: (cluster: Cluster, namespaces: Namespaces) => Promise<void>,
): Promise<void> {
  const namespaces = new Namespaces(3)
  try {
    const up = ['--portmap', '--nfs-everywhere']
    await withCluster({ namespaces, disks: ['flash:4GiB'], up }, async (cluster) => {
      await cluster.ndfs('container', 'create', 'vms', '--nfs-allow', namespaces.network)
      namespaces.moveServiceAddress('n1')
      await work(cluster, namespaces)
    })
  } finally {
    namespaces.remove()
  }
}

/** As who moves addresses has to: not before the node is known to be gone, so that nothing of it comes late. */
export async function takeOver(
  cluster: Cluster,
  namespaces: Namespaces,
  from: string,
  to: string,
): Promise<void> {
  await until(
    `${from} is known to be gone`,
    async () =>
      (
        await cluster.json<{ id: string; state: string }[]>('node', 'list', '--api', cluster.node(to).http)
      ).find(({ id }) => id === from)?.state === 'down',
  )
  namespaces.moveServiceAddress(to)
}
