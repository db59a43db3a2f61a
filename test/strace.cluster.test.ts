/** The kernel's own word for it: no guest hears of a write before its record lies on stable media on both nodes. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { withCluster, type Cluster } from './support/cluster.ts'
import { NbdClient } from './support/nbd-client.ts'
import { figure } from './support/run.ts'
import { without } from './support/tools.ts'
import { markOf, orderIn, type Order } from './support/trace-order.ts'

const pageBytes = 4096
const pages = 4096
/** By queue depth: how many writes. */
const load = [
  [1, 100],
  [8, 500],
] as const
const traced = 'pwrite64,pwritev,pwritev2,write,writev,sendmsg,sendto,fsync,fdatasync'
const oDsync = 0o10000
const skip = without('strace')

async function traceWrites(cluster: Cluster): Promise<Order> {
  const vdisk = await cluster.createVDisk(`${(pages * pageBytes) / 1024}KiB`)
  const [{ id, nbd }] = cluster.nodes
  const client = await NbdClient.open(nbd.socket, vdisk)
  let request = 0
  const write = (): Promise<void> => {
    const payload = Buffer.alloc(pageBytes, '.')
    payload.write(markOf(++request), 64)
    return client.write(((request * 7) % pages) * pageBytes, payload)
  }
  // The first finds out who owns it, and where its log lies: that is not what is looked at.
  await write()
  assert.equal(await cluster.owner(vdisk), id)

  const pids = new Map(cluster.nodes.map((node) => [node.id, node.pid ?? 0]))
  const file = join(cluster.scratch, 'trace')
  const strace = cluster.service('strace', [
    ...['-f', '-y', '-xx', '-s', '1048576', '-e', `trace=${traced}`, '-o', file],
    ...[...pids.values()].flatMap((pid) => ['-p', String(pid)]),
  ])
  await strace.until('it is attached to all nodes', () =>
    [...pids.values()].every((pid) => strace.output.includes(`Process ${pid} attached`)),
  )
  const first = request + 1
  for (const [depth, count] of load)
    await Promise.all(
      Array.from({ length: depth }, async () => {
        for (let each = 0; each < count / depth; each++) await write()
      }),
    )
  await strace.stop()
  const synced = new Map<string, boolean>()
  const order = orderIn(readFileSync(file, 'latin1'), {
    nodeOf: ({ path }) => /\/nodes\/(n\d+)\/disks\//.exec(path)?.[1],
    isSynced({ path, fd }) {
      const [, node] = /\/nodes\/(n\d+)\//.exec(path) ?? []
      let known = synced.get(path)
      if (known === undefined) synced.set(path, (known = isOpenedSynced(pids.get(node) ?? 0, fd)))
      return known
    },
    copies: 2,
  })
  client.close()
  assert.equal(order.inOrder + order.violations.length, request - first + 1, 'a reply is not in the trace')
  return order
}

/** Whether the file was opened so that a write to it returns when it is on stable media. */
function isOpenedSynced(pid: number, fd: number): boolean {
  const [, flags] = /^flags:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8')) ?? []
  return (parseInt(flags, 8) & oDsync) !== 0
}

test(
  'I1: strace sees each reply sent after the synced write of its record on both nodes',
  { skip, timeout: 120_000 },
  () =>
    withCluster({}, async (cluster) => {
      const { inOrder, violations } = await traceWrites(cluster)
      assert.deepEqual(violations.slice(0, 5), [])
      figure(`strace: ${inOrder} replies, each after the synced writes of its record on two nodes`)
    }),
)

test(
  'I1: strace sees replies that are sent too early where a replica answers before it has synced',
  { skip, timeout: 120_000 },
  () =>
    withCluster({ planted: 'replica answers before it has synced' }, async (cluster) => {
      const { inOrder, violations } = await traceWrites(cluster)
      figure(
        `strace, with a planted bug: ${violations.length} of ${violations.length + inOrder} replies too early`,
      )
      assert(violations.length > 0)
    }),
)
