/** Three machines, each a folder with a configuration of its own, become one cluster: one makes it, two join. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { ClusterStatus } from '../src/management/management.ts'
import { freePorts } from './support/cluster.ts'
import { ConfiguredMachine } from './support/configured-machine.ts'
import { NbdClient } from './support/nbd-client.ts'
import { until } from './support/run.ts'

const MiB = 1024 * 1024

test(
  'three machines become a cluster: what is written by one is read by another',
  { timeout: 180_000 },
  async () => {
    const root = mkdtempSync(join(tmpdir(), 'ndfs-join-'))
    const port = await freePorts(4)
    const machines = [1, 2, 3].map((number) => new ConfiguredMachine(root, number, port))
    const [n1, n2, n3] = machines
    try {
      const refused = await n1.tryNdfs('node', '--config', n1.file)
      assert.equal(refused.code, 1)
      assert.match(refused.stderr, /names no cluster yet/)
      const unasked = await n1.tryNdfs('init', '--config', n1.file)
      assert.match(
        unasked.stderr,
        /Format .*flash0 \(flash, 2GiB\) for NDFS\? There is nobody to answer: give --yes/,
      )

      const made = await n1.ndfs('init', '--config', n1.file, '--yes')
      const first = /ndfs-join-\S+/.exec(made)?.[0]
      assert.ok(first !== undefined, made)
      n1.start('store')
      await n1.startNode()
      const second = (await n1.ndfs('invite', '--config', n1.file)).trim()
      await n2.ndfs('join', first, '--config', n2.file, '--yes')
      await n2.startNode()
      // The token was for one machine.
      const late = await n3.tryNdfs('join', first, '--config', n3.file, '--yes')
      assert.match(late.stderr, /made for 1, and is used up/)
      await n3.ndfs('join', second, '--config', n3.file, '--yes')
      await n3.startNode()
      const again = await n3.tryNdfs('join', second, '--config', n3.file, '--yes')
      assert.match(again.stderr, /Cannot begin in .*: a node, or another command, runs there/)

      // The operator's token came along: any machine's user may change the cluster.
      const token = await n2.tryNdfs('container', 'create', 'vms', '--copies', '3', '--api', n2.http)
      assert.match(token.stderr, /without the operator token/)
      n2.showToken(join(root, 'n2/token'))
      await n2.ndfs('container', 'create', 'vms', '--copies', '3', '--api', n1.http)
      await n2.ndfs('vdisk', 'create', 'vms/disk1', '--size', '64MiB', '--api', n1.http)
      const writer = await NbdClient.open(n1.nbd, 'vms/disk1')
      await writer.write(3 * MiB, Buffer.alloc(MiB, 7))
      writer.close()
      const reader = await NbdClient.open(n3.nbd, 'vms/disk1')
      assert.ok((await reader.read(3 * MiB, MiB)).equals(Buffer.alloc(MiB, 7)))
      reader.close()

      let status: ClusterStatus | undefined
      await until('all is well', async () => {
        status = JSON.parse(await n3.ndfs('status', '--json', '--api', n3.http)) as ClusterStatus
        return status.health === 'ok'
      })
      assert.deepEqual(
        status?.nodes.map(({ id, block, state }) => [id, block, state]),
        [1, 2, 3].map((number) => [`n${number}`, `b${number}`, 'up']),
      )
      const { level, dataLevel, sentence } = status.survival
      assert.deepEqual([level, dataLevel], ['disk', 'block'])
      assert.match(sentence, /^survives a disk, .* the data alone a block: .* on the machine of n1$/)
    } finally {
      for (const machine of machines.toReversed()) await machine.end()
      rmSync(root, { recursive: true, force: true })
    }
  },
)
