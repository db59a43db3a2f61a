/** Nodes are killed one after the other while fio writes, and verifies what it wrote. */
import assert from 'node:assert/strict'
import type { Cluster } from './cluster.ts'
import { fio, mixedSizes } from './fio.ts'
import { figure, sleep } from './run.ts'

/** Kills the nodes one after the other, the next when the last serves again. Resolves to how many. */
async function killOneByOne(cluster: Cluster, stopped: () => boolean): Promise<number> {
  let killed = 0
  for (;;)
    for (const { id } of cluster.nodes) {
      await sleep(2000)
      if (stopped()) return killed
      await cluster.kill(id)
      await sleep(500)
      await cluster.startNode(id)
      killed++
    }
}

/** fio writes so much, slowly enough that all nodes die in its time, verifies as it goes, and all of it at the end. */
export async function verifyWhileNodesDie(
  cluster: Cluster,
  uri: string,
  who: string,
  size: string,
): Promise<void> {
  const folder = cluster.scratch
  const options = ['rw=randwrite', mixedSizes, `size=${size}`, 'iodepth=8', 'verify=crc32c', 'verify_fatal=1']
  const slowly = ['rate=400m,2m', 'verify_backlog=256', 'verify_backlog_batch=128']
  let over = false
  const dying = killOneByOne(cluster, () => over)
  const writing = fio({ uri, options: [...options, ...slowly], seconds: 150, folder }).finally(
    () => (over = true),
  )
  // Both are waited for, so that the cluster outlives them; what failed first is what is told.
  const [wrote, died] = await Promise.allSettled([writing, dying])
  if (wrote.status === 'rejected') throw wrote.reason
  if (died.status === 'rejected') throw died.reason
  const { longestMs, writes } = wrote.value
  figure(`${who}: ${writes.requests} writes, longest stall ${(longestMs / 1000).toFixed(1)} s`)
  const killed = died.value
  assert(killed >= 3, `only ${killed} nodes were killed in that time`)
  figure(`${who}: ${killed} nodes were killed and started again`)
  await fio({ uri, options: [...options, 'verify_only=1'], seconds: 120, folder })
}
