/** Two of three servers of Cassandra and of ZooKeeper are gone for a minute: guests go on by their logs, what needs metadata waits, and all resumes by itself. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { withCluster, type Cluster } from './support/cluster.ts'
import { Door } from './support/doors.ts'
import { withEngines } from './support/engines.ts'
import { healed } from './support/health.ts'
import { RecordedWork, recordedWorkBytes } from './support/recorded-work.ts'
import { sleep } from './support/run.ts'
import { servedEpochs, servedTwice } from './support/served-epochs.ts'

/** How long there is no quorum; a soak may ask for more. */
const lostSeconds = Number(process.env.NDFS_QUORUM_LOST_SECONDS ?? 60)
const resumesWithinMs = 10_000

test(
  `R2 R4: metadata without a quorum for ${lostSeconds} s and back: guests are served, no byte is wrong, no process ends, and changes are made again within 10 s`,
  { timeout: (lostSeconds + 240) * 1000 },
  (context) =>
    withEngines({ basePort: 31810 }, (engines) =>
      withCluster({ engines }, async (cluster) => {
        const vdisk = await cluster.createVDisk(String(recordedWorkBytes), 'recorded')
        const { socket } = await cluster.connect(vdisk)
        const work = new RecordedWork(3, 20)
        const patient = new Door('ndfs connect', vdisk, () => socket, true)
        const direct = cluster.nodes.map(({ id }) => new Door(id, vdisk, () => cluster.node(id).nbd.address))
        let [answers, longest] = [0, 0]
        work.onAnswer = (_, calledAt, answeredAt) => {
          answers++
          longest = Math.max(longest, answeredAt - calledAt)
        }
        work.join(patient, 4)
        for (const door of direct) work.join(door, 1)
        await sleep(5000)
        const pids = cluster.nodes.map(({ pid }) => pid)

        const [, ...zooKeepers] = engines.zooKeepers
        const [, ...cassandras] = engines.cassandras
        for (const server of zooKeepers) await server.kill()
        for (const server of cassandras) server.signal('SIGSTOP')
        answers = longest = 0
        await sleep(lostSeconds * 1000)
        const [served, longestMeanwhile] = [answers, longest]
        for (const server of cassandras) server.signal('SIGCONT')
        for (const server of zooKeepers) server.begin()
        for (const server of zooKeepers) await server.serving(20)
        const back = performance.now()
        const changedMs = await untilChanged(cluster, back)
        answers = longest = 0
        const healedMs = await healed(cluster)
        await sleep(3000)
        context.diagnostic(
          `figure: without a quorum ${served} answers in ${lostSeconds} s, the longest wait ${(longestMeanwhile / 1000).toFixed(1)} s`,
        )
        context.diagnostic(
          `figure: back, a vDisk is made after ${(changedMs / 1000).toFixed(1)} s, all is well ${(healedMs / 1000).toFixed(1)} s later`,
        )
        assert(served > lostSeconds * 10, `${served} answers: guests were not served`)
        assert(answers > 0, 'nobody is served')
        assert(changedMs < resumesWithinMs, `changes are made again after ${changedMs} ms`)
        assert.deepEqual(
          cluster.nodes.map(({ pid }) => pid),
          pids,
          'a node has ended',
        )
        await work.leave()
        for (const door of [patient, ...direct]) await work.readAll(door)
        for (const door of [patient, ...direct]) door.close()
        assert.equal(work.judge(), undefined)
        assert(work.findsStaleRead(), 'a planted stale read was not found')
        assert.deepEqual(
          work.refusals.filter(({ isPatient }) => isPatient),
          [],
        )
        assert.equal(servedTwice(servedEpochs(cluster)), undefined)
      }),
    ),
)

/** Resolves to how long after `since` a vDisk could be made. */
async function untilChanged(cluster: Cluster, since: number): Promise<number> {
  for (let i = 0; ; i++) {
    const { code } = await cluster.tryNdfs('vdisk', 'create', `vms/made-${i}`, '--size', '1MiB')
    const ms = performance.now() - since
    if (code === 0) return ms
    assert(ms < 60_000, 'no vDisk can be made')
    await sleep(200)
  }
}
