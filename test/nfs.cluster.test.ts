/** The NFS datastore through any node: with libnfs' tools, which are not ours, and by single calls. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { VDiskInfo } from '../src/management/management.ts'
import { type Cluster, withCluster } from './support/cluster.ts'
import { NfsClient } from './support/nfs-client.ts'
import { figure, run, tryRun } from './support/run.ts'

const KiB = 1024
const MiB = 1024 ** 2

/** A file's address at a node, as libnfs takes it. */
function url(cluster: Cluster, node: string, path: string): string {
  const address = cluster.node(node).nfs?.address
  assert(address !== undefined, `${node} serves no NFS`)
  const [host, port] = address.split(':')
  return `nfs://${host}/${path}?nfsport=${port}&mountport=${port}`
}

const nfs = (command: 'nfs-ls' | 'nfs-cp' | 'nfs-cat', ...args: string[]): Promise<string> =>
  run(command, args, { seconds: 60 })

test('files of every size go in by one node and come out by another, as they were (R1 R10 R16)', async () => {
  await withCluster({ disks: ['flash:4GiB'] }, async (cluster) => {
    await cluster.ndfs('container', 'create', 'vms')
    for (const [i, bytes] of [0, 1, 4096, 100_000, 512 * KiB - 1, 512 * KiB, 5 * MiB + 3].entries()) {
      const local = join(cluster.scratch, `file${i}`)
      writeFileSync(local, randomBytes(bytes))
      await nfs('nfs-cp', local, url(cluster, 'n1', `vms/file${i}`))
      const back = join(cluster.scratch, `back${i}`)
      await nfs('nfs-cp', url(cluster, 'n2', `vms/file${i}`), back)
      assert.ok(readFileSync(back).equals(readFileSync(local)), `${bytes} bytes`)
    }
    const listed = await nfs('nfs-ls', url(cluster, 'n3', 'vms'))
    for (const i of [0, 3, 6]) assert.match(listed, new RegExp(`file${i}\\b`))
    assert.match(listed, /5242883/, 'the size of a file that is a vDisk')
    const { code, stderr } = await cluster.tryNdfs('container', 'delete', 'vms')
    assert.notEqual(code, 0)
    assert.match(stderr, /holds/)
    const vdisks = await cluster.json<{ name: string }[]>('vdisk', 'list')
    const held = vdisks.filter(({ name }) => name.startsWith('vms/file-'))
    assert.equal(held.length, 2, 'those of 512 KiB and 5 MiB are vDisks, and no others')
    assert.match((await cluster.tryNdfs('vdisk', 'delete', held[0].name)).stderr, /holds a file/)
    assert.match(
      (await cluster.tryNdfs('vdisk', 'create', 'vms/file-7', '--size', '1MiB')).stderr,
      /hold files/,
    )
    assert.ok((await cluster.metricOfAll('ndfs_nfs_calls_total')) > 20)
    // Those of 512 KiB and more are vDisks, and a node that dies takes nothing with it.
    await cluster.kill('n1')
    const back = join(cluster.scratch, 'after')
    await nfs('nfs-cp', url(cluster, 'n3', 'vms/file6'), back)
    assert.ok(readFileSync(back).equals(readFileSync(join(cluster.scratch, 'file6'))))
    const none = await tryRun('nfs-ls', [url(cluster, 'n2', 'none')], { seconds: 20 })
    assert.notEqual(none.code, 0, 'a container that is not there was mounted')
  })
})

test('a file of 1 MB, in one go or byte by byte by two clients of two nodes, has the right bytes and becomes a vDisk once (R1 R10)', async () => {
  await withCluster({ disks: ['flash:4GiB'] }, async (cluster) => {
    await cluster.ndfs('container', 'create', 'vms')
    const clients = await Promise.all(['n1', 'n2', 'n3'].map((node) => NfsClient.connect(cluster, node)))
    const [first, second] = clients
    const root = await first.mount('/vms')
    assert.ok(typeof root !== 'string')
    const whole = randomBytes(MiB)
    const edge = 512 * KiB
    /** `depth` calls under way, by the two in turns. */
    const write = async (
      file: Buffer,
      from: number,
      to: number,
      step: number,
      depth: number,
    ): Promise<void> => {
      const begun = performance.now()
      const lane = async (_: unknown, i: number): Promise<void> => {
        for (let at = from + i * step, turn = i; at < to; at += depth * step, turn += depth) {
          const bytes = whole.subarray(at, Math.min(at + step, to))
          assert.equal(await [first, second][turn % 2].write(file, at, bytes), 'OK', `at ${at}`)
        }
      }
      await Promise.all(Array.from({ length: depth }, lane))
      if (step === 1)
        figure(
          `${Math.round(((to - from) * 1000) / (performance.now() - begun))} writes of 1 byte a second, ${depth} deep`,
        )
    }

    const inOneGo = await first.create(root, 'one go')
    assert.equal(await second.write(inOneGo, 0, whole), 'OK')
    // Appended by turns, each byte after the answer to the one before.
    const byTurns = await first.create(root, 'turns')
    await write(byTurns, 0, edge - 500, 64 * KiB, 1)
    await write(byTurns, edge - 500, edge + 500, 1, 1)
    await write(byTurns, edge + 500, MiB, 64 * KiB, 1)
    // At once: where one is past the size at which it becomes a vDisk others are still before it.
    const atOnce = await first.create(root, 'at once')
    await write(atOnce, 0, edge - 8 * KiB, 64 * KiB, 1)
    await write(atOnce, edge - 8 * KiB, edge + 8 * KiB, 1, 64)
    await write(atOnce, edge + 8 * KiB, MiB, 64 * KiB, 4)

    for (const [name, file] of Object.entries({ inOneGo, byTurns, atOnce }))
      for (const [i, client] of clients.entries())
        assert.ok((await client.readAll(file)).equals(whole), `${name} through n${i + 1}`)
    const vdisks = await cluster.json<VDiskInfo[]>('vdisk', 'list')
    assert.deepEqual(
      vdisks.map(({ sizeBytes }) => sizeBytes),
      [MiB, MiB, MiB],
    )
    for (const client of clients) client.close()
  })
})
