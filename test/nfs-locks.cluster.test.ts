/** Locks of NFS clients over real nodes: one is taken at one node, met at another, and outlives the first. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { nodePlatform } from '../src/platform/node-platform.ts'
import { mount, nfs } from '../src/stargate/front-end-adapter/nfs/nfs-fixture-for-tests.ts'
import {
  asking,
  call,
  LockingMachine,
  lockOf,
  statusOf,
  writeLock,
} from '../src/stargate/front-end-adapter/nfs/nlm4-client-for-tests.ts'
import type { Nlm4Lock } from '../src/stargate/front-end-adapter/nfs/nlm4-messages.ts'
import {
  encodeNsmNotice,
  nsm1Procedure,
  nsm1ProgramNumber,
} from '../src/stargate/front-end-adapter/nfs/nsm1-protocol.ts'
import type { RpcClient } from '../src/stargate/front-end-adapter/nfs/rpc-client.ts'
import { type Cluster, withCluster } from './support/cluster.ts'
import { figure } from './support/run.ts'

const platform = nodePlatform({ level: 'silent' })
const timeoutMs = 20_000
/** Where nodes look for the port mapper of a client. */
const portMapperPort = 111
const cannotListen =
  process.getuid?.() === 0 ? false : 'a client’s port mapper listens on port 111: root only'

/** A new file of the container, by its handle. */
async function newFile(client: RpcClient): Promise<Buffer> {
  const mounted = await client.call({ ...mount, procedure: 1 }, (writer) => writer.text('/vms'), timeoutMs)
  assert.equal(mounted.uint32(), 0)
  const directory = mounted.opaque(64)
  const made = await client.call(
    nfs('create'),
    (writer) => {
      writer.opaque(directory)
      writer.text('file')
      // Unchecked, and none of the six attributes.
      for (let i = 0; i < 7; i++) writer.uint32(0)
    },
    timeoutMs,
  )
  assert.equal(made.uint32(), 0)
  assert.ok(made.bool())
  return made.opaque(64)
}

const addressOf = (cluster: Cluster, node: string): string => cluster.node(node).nfs!.address

const unlocking = (client: RpcClient, lock: Nlm4Lock) =>
  call(client, 'unlock', (writer) => writeLock(writer, lock))

async function until(isSo: () => boolean, what: string): Promise<number> {
  const begun = performance.now()
  while (!isSo()) {
    assert.ok(performance.now() - begun < 30_000, `not in 30 s: ${what}`)
    await sleep(5)
  }
  return performance.now() - begun
}

test(
  'locks of files are the same at all nodes, who waits is told, and no node takes any with it',
  { skip: cannotListen },
  async (t: TestContext) => {
    await withCluster({ disks: ['flash:4GiB'] }, async (cluster) => {
      await cluster.ndfs('container', 'create', 'vms')
      const [one] = await LockingMachine.start(platform, t, '127.0.0.31', portMapperPort)
      const [two] = await LockingMachine.start(platform, t, '127.0.0.32', portMapperPort)
      const onesAtFirst = await one.connect(addressOf(cluster, 'n1'))
      const twos = await two.connect(addressOf(cluster, 'n2'))
      const handle = await newFile(onesAtFirst)
      const [ofOne, ofTwo] = [lockOf(handle, 'one', 1, 0n, 10n), lockOf(handle, 'two', 2, 5n)]

      assert.equal(await statusOf(asking(onesAtFirst, ofOne)), 'GRANTED')
      assert.equal(await statusOf(asking(twos, ofTwo)), 'DENIED')
      assert.equal(await statusOf(asking(twos, ofTwo, true)), 'BLOCKED')
      assert.equal(await cluster.metricOfAll('ndfs_nfs_lock_waiters'), 1)
      assert.equal(await statusOf(unlocking(onesAtFirst, ofOne)), 'GRANTED')
      const toldMs = await until(() => two.granted.length > 0, 'GRANTED after an unlock at another node')
      figure(`GRANTED came ${toldMs.toFixed(0)} ms after an unlock at another node`)
      assert.deepEqual(two.granted[0].args.lock, ofTwo)

      // The node through which both were asked last dies; so does the one that has told.
      assert.equal(await statusOf(asking(onesAtFirst, ofOne, true)), 'BLOCKED')
      await cluster.kill('n1')
      await cluster.kill('n2')
      const [onesAtLast, twosAtLast] = await Promise.all(
        [one, two].map((machine) => machine.connect(addressOf(cluster, 'n3'))),
      )
      assert.equal(await statusOf(asking(onesAtLast, ofOne)), 'DENIED')
      // As Linux does by itself: the waiter went with its node.
      assert.equal(await statusOf(asking(onesAtLast, ofOne, true)), 'BLOCKED')
      const notice = { name: 'two.example.com', state: 5 }
      const notify = { program: nsm1ProgramNumber, version: 1, procedure: nsm1Procedure.notify }
      await twosAtLast.call(notify, (writer) => encodeNsmNotice(writer, notice), timeoutMs)
      await until(() => one.granted.length > 0, 'GRANTED after the other client has started again')
      // What was sent before that start is not heard any more.
      assert.equal(await statusOf(asking(twosAtLast, ofTwo)), 'DENIED_GRACE_PERIOD')
      assert.equal(await statusOf(asking(twosAtLast, ofTwo, false, 'lock', notice.state)), 'DENIED')
    })
  },
)
