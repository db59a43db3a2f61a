/** With fewer nodes than copies a write waits, and then fails; it is never quietly accepted on less. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { withCluster } from './support/cluster.ts'
import { ConnectionLost, errno, NbdClient, NbdError } from './support/nbd-client.ts'
import { figure } from './support/run.ts'

const writeWaitSeconds = 6
const page = 4096

test(
  'R23: a write that two nodes can not hold waits and fails with EIO, and goes on when a node comes back',
  { timeout: 180_000 },
  () =>
    withCluster({ up: ['--write-wait', `${writeWaitSeconds}s`] }, async (cluster) => {
      const vdisk = await cluster.createVDisk('64MiB')
      const content = (value: number): Buffer => Buffer.alloc(page, value)
      let client = await NbdClient.open(cluster.node('n1').nbd.address, vdisk)
      for (let at = 0; at < 64; at++) await client.write(at * page, content(1))
      assert.equal(await cluster.owner(vdisk), 'n1')
      await cluster.kill('n2')
      await cluster.kill('n3')

      const began = performance.now()
      const failed = await Promise.allSettled(
        Array.from({ length: 4 }, (_, index) => client.write(index * page, content(2))),
      )
      const waited = (performance.now() - began) / 1000
      for (const { status, reason } of failed as PromiseRejectedResult[]) {
        assert.equal(status, 'rejected', 'a write was accepted with one copy')
        assert(reason instanceof NbdError && reason.errno === errno.EIO, String(reason))
      }
      figure(`too few nodes: writes fail after ${waited.toFixed(1)} s of ${writeWaitSeconds} s`)
      assert(waited >= writeWaitSeconds - 1, `they failed after ${waited} s, without waiting`)
      assert(waited < 5 * writeWaitSeconds, `they failed only after ${waited} s`)

      // A read is right or refused, and answered in bounded time: a lone owner may not know that it still is one.
      const before = performance.now()
      const read = await Promise.allSettled([client.read(32 * page, page)])
      if (read[0].status === 'fulfilled') assert.deepEqual(read[0].value, content(1))
      else assert(read[0].reason instanceof NbdError, String(read[0].reason))
      figure(
        `too few nodes: a read is ${read[0].status} after ${((performance.now() - before) / 1000).toFixed(1)} s`,
      )

      // A write that waits when the node comes back is served; the node can serve only with this one.
      const waiting = client.write(8 * page, content(3)).catch((error: unknown) => error)
      await cluster.startNode('n2')
      const outcome = await waiting
      assert(outcome === undefined || outcome instanceof NbdError, String(outcome))
      client = await reopened(client, () => NbdClient.open(cluster.node('n1').nbd.address, vdisk))
      await client.write(16 * page, content(4))
      assert.deepEqual(await client.read(16 * page, page), content(4))
      assert.deepEqual(await client.read(32 * page, page), content(1))
      // What failed may yet have happened, but nothing else may stand there.
      for (let at = 0; at < 4; at++) {
        const bytes = await client.read(at * page, page)
        assert(bytes.equals(content(1)) || bytes.equals(content(2)), `page ${at} holds neither`)
      }
      client.close()
    }),
)

/** The same client where its connection still lives. */
async function reopened(client: NbdClient, open: () => Promise<NbdClient>): Promise<NbdClient> {
  try {
    await client.flush()
    return client
  } catch (error) {
    if (!(error instanceof ConnectionLost)) throw error
    return open()
  }
}
