/**
 * `npm run bench:engines`: the same cluster with its metadata in the embedded store, and in three Cassandras and three ZooKeepers on the same machine, in
 * turn. Prints the rates and what of each is left on engines, and what the engines did for each MiB that was drained.
 *
 * *Within the log*: random writes at a depth of 32 for a few seconds. *Sustained*: for a minute, of which the time counts when drains are under way all
 * the time. They come first, and a round of the others before them does not count: Java compiles in its first minutes, which takes as much processor
 * time as the work.
 * Options: --rounds N (2), --seconds N of each job (8), --sustained N (60), --dir DIR.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { tmpdir } from 'node:os'
import { parseArgs } from 'node:util'
import { Engines } from '../scripts/engines/engines.ts'
import { installCassandra } from '../scripts/engines/cassandra.ts'
import { installZooKeeper } from '../scripts/engines/zookeeper.ts'
import { processorSeconds } from '../test/support/processor-time.ts'
import { median, type Sample } from './figures.ts'
import { installPackages } from './install-packages.ts'
import { imageMiB, type JobId, jobOf, untilDrainsSeconds } from './jobs.ts'
import { circumstances, machineAndCommit } from './machine.ts'
import { Ndfs } from './ndfs.ts'
import { keepResults } from './results.ts'
import { fill, measure, measureInTurn } from './rounds.ts'
import { withScratch } from './scratch.ts'
import { sampleLine, table } from './table.ts'
import { withTargets } from './target.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '2' },
    seconds: { type: 'string', default: '8' },
    sustained: { type: 'string', default: '60' },
    dir: { type: 'string', default: tmpdir() },
  },
})
const [rounds, seconds, sustainedSeconds] = [values.rounds, values.seconds, values.sustained].map(Number)
const warmUpSeconds = 2
const measured: readonly JobId[] = ['sequential-write', 'random-write-d32']
const say = (line: string): void => console.log(line)

/** What the engines have done until now. */
interface Done {
  readonly changes: number
  /** On one of the servers; those that changes do are among them. */
  readonly reads: number
  readonly writtenBytes: number
  readonly processorSeconds: number
}

installPackages('the jobs', { packages: ['fio'], commands: ['fio'] }, say)
installZooKeeper(say)
installCassandra(say)
say(machineAndCommit())
await withScratch(values.dir, async (root, signal) => {
  const engines = new Engines({ dir: join(root, 'engines'), basePort: 28810 })
  try {
    await engines.start()
    const targets = [new Ndfs(root), new Ndfs(root, { engines })]
    await withTargets(targets, signal, async () => {
      const done: { readonly sample: Sample; readonly by: Done }[] = []
      let before = doneBy(engines)
      const heard = (sample: Sample): void => {
        const now = doneBy(engines)
        if (sample.target === 'NDFS on engines' && sample.round > 1)
          done.push({ sample, by: difference(now, before) })
        before = now
        say(`${sampleLine(sample)}${sample.round === 1 ? ' (does not count)' : ''}`)
      }
      const schedule = { seconds, warmUpSeconds, jobs: measured, folder: root, signal, heard }
      await fill(targets, schedule)
      await measureInTurn(targets, { ...schedule, rounds: 1 })
      const samples: Sample[] = []
      for (let round = 2; round <= rounds + 1; round++)
        for (const target of round % 2 === 0 ? targets : targets.toReversed()) {
          const minute = { ...schedule, rounds, seconds: sustainedSeconds, warmUpSeconds: 0 }
          const sample = await measure(target, jobOf('sustained-write-d32'), round, minute)
          heard(sample)
          samples.push(sample)
        }
      samples.push(...(await measureInTurn(targets, { ...schedule, rounds, firstRound: 2 })))
      const rows = (
        [
          ['random write d32, within the log', 'random-write-d32', 0.8],
          ['random write d32, sustained', 'sustained-write-d32', 0.5],
          ['sequential write', 'sequential-write', 0.5],
        ] as const
      ).map(([name, job, wanted]) => {
        const of = (target: string): number =>
          median(samples.filter((one) => one.target === target && one.job === job).map(({ rate }) => rate)) ??
          0
        const [embedded, engined] = [of('NDFS'), of('NDFS on engines')]
        const unit = job === 'sequential-write' ? 1e6 : 1
        const text = (value: number): string => (value / unit).toFixed(0)
        return [name, text(embedded), text(engined), (engined / embedded).toFixed(2), String(wanted)]
      })
      say(`\n${table(['requests/s, or MB/s', 'embedded', 'engines', 'of it', 'wanted'], rows)}`)
      const perMiB = done.map(({ sample, by }) => {
        const mib = writtenMiB(sample)
        return [
          sample.job,
          String(sample.round),
          (by.changes / mib).toFixed(2),
          (by.reads / mib).toFixed(2),
          (by.writtenBytes / mib / 1024).toFixed(0),
          ((by.processorSeconds * 1000) / mib).toFixed(1),
        ]
      })
      const head = [
        'for each MiB that guests wrote',
        'round',
        'changes',
        'reads by one server',
        'KiB written by engines',
        'ms of their processors',
      ]
      say(`\n${table(head, perMiB)}`)
      const file = keepResults('engines', { ...circumstances(root), rounds, seconds, samples, done })
      say(`\nKept in ${file}`)
    })
  } finally {
    await engines.end()
  }
})

/** The warm-up's bytes too: the engines worked for both. */
function writtenMiB({ job, rate }: Sample): number {
  const unmeasured = job === 'sustained-write-d32' ? untilDrainsSeconds : warmUpSeconds
  const measuredSeconds = job === 'sustained-write-d32' ? sustainedSeconds : seconds
  const bytes =
    job === 'sequential-write' ? imageMiB * 1024 * 1024 : rate * 4096 * (measuredSeconds + unmeasured)
  return bytes / 1024 / 1024
}

function doneBy(engines: Engines): Done {
  const pids = [...engines.cassandras, ...engines.zooKeepers].flatMap(({ pid }) => pid ?? [])
  const counts = engines.nodetool(0, 'tablestats', '-F', 'json')
  const tables = JSON.parse(counts) as Record<
    string,
    { tables?: Record<string, { local_write_count?: number; local_read_count?: number }> }
  >
  const ours = Object.entries(tables).flatMap(([name, { tables: all }]) =>
    name.startsWith('ndfs_') ? Object.values(all ?? {}) : [],
  )
  return {
    changes: ours.reduce((sum, { local_write_count: count = 0 }) => sum + count, 0),
    reads: ours.reduce((sum, { local_read_count: count = 0 }) => sum + count, 0),
    writtenBytes: pids.reduce((sum, pid) => sum + writtenBy(pid), 0),
    processorSeconds: processorSeconds(pids),
  }
}

function writtenBy(pid: number): number {
  return Number(/^write_bytes: (\d+)/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))?.[1] ?? 0)
}

function difference(now: Done, before: Done): Done {
  return {
    changes: now.changes - before.changes,
    reads: now.reads - before.reads,
    writtenBytes: now.writtenBytes - before.writtenBytes,
    processorSeconds: now.processorSeconds - before.processorSeconds,
  }
}
