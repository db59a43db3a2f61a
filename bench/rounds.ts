/**
 * Rounds of jobs, of several targets in turn.
 *
 * Who goes first changes from round to round. Nobody's left-over work is another's burden: a job is over when what it wrote is where it
 * stays, and the processor time until then counts.
 */
import { execFileSync } from 'node:child_process'
import { fio, type FioReport } from '../test/support/fio.ts'
import { processorSeconds } from '../test/support/processor-time.ts'
import { dropCaches } from './drop-caches.ts'
import type { Sample } from './figures.ts'
import { imageMiB, type Job, type JobId, jobs, workingSetMiB } from './jobs.ts'
import { orAborted } from './scratch.ts'
import type { Target } from './target.ts'

export interface Schedule {
  readonly rounds: number
  /** The number of the first one: 1 where not said. */
  readonly firstRound?: number
  /** Of each job. */
  readonly seconds: number
  /** The same job, before, whose figures don't count. */
  readonly warmUpSeconds: number
  /** Those of the list that are wanted; all where it is absent. */
  readonly jobs?: readonly JobId[]
  /** Where fio may put its reports. */
  readonly folder: string
  readonly signal: AbortSignal
  /** Hears of each sample as it comes. */
  heard(sample: Sample): void
}

const usualSecondsMax = 600

/** To be called before anything is measured: writes each target's image full. All of them have been started. */
export async function fill(
  targets: readonly Target[],
  { folder, signal }: Pick<Schedule, 'folder' | 'signal'>,
): Promise<void> {
  // Without direct=1 an engine may cache on the client's side.
  const options = ['rw=write', 'bs=1m', 'iodepth=8', `size=${imageMiB}m`, 'direct=1']
  for (const target of targets) {
    signal.throwIfAborted()
    const place = await target.place({ id: 'sequential-write' })
    await fio({ place, options, seconds: usualSecondsMax, folder, env: envOf(target), signal })
    await settled(target, signal)
  }
}

export async function measureInTurn(targets: readonly Target[], schedule: Schedule): Promise<Sample[]> {
  const samples: Sample[] = []
  const { firstRound = 1 } = schedule
  for (let round = firstRound; round < firstRound + schedule.rounds; round++) {
    const inTurn = round % 2 === 1 ? targets : targets.toReversed()
    for (const job of jobs) {
      if (schedule.jobs?.includes(job.id) === false) continue
      for (const target of inTurn) {
        if (!target.jobs.includes(job.id)) continue
        schedule.signal.throwIfAborted()
        const sample = await measure(target, job, round, schedule)
        samples.push(sample)
        schedule.heard(sample)
      }
    }
  }
  return samples
}

/** A job, once; where what it wrote is where it stays it is over. */
export async function measure(target: Target, job: Job, round: number, schedule: Schedule): Promise<Sample> {
  const { folder, signal, seconds, warmUpSeconds } = schedule
  const place = await target.place(job)
  const env = envOf(target)
  const run = (options: readonly string[], secondsAtMost: number): Promise<FioReport> =>
    fio({ place, options: [...options, 'direct=1'], seconds: secondsAtMost, folder, env, signal })
  if (job.from === 'disk') dropCaches()
  if (job.from === 'memory')
    await run(['rw=read', 'bs=1m', 'iodepth=8', `size=${workingSetMiB}m`], usualSecondsMax)
  const spentBefore = processorSeconds(target.pids())
  let requests = 0
  const timed = async (forSeconds: number, seed: number): Promise<FioReport> => {
    const time = job.once === true ? [] : ['time_based', `runtime=${forSeconds}`]
    const options = [...job.options, ...time, `randseed=${seed}`]
    const report = await run(options, job.once === true ? usualSecondsMax : forSeconds + 60)
    requests += report.reads.requests + report.writes.requests
    return report
  }
  // The seed is another one: else a cold read would find what the warm-up has read.
  if (warmUpSeconds > 0 && job.once !== true) await timed(warmUpSeconds, 1000 + round)
  const report = await timed(seconds, round)
  const endedAt = performance.now()
  await settled(target, signal)
  const settledSeconds = (performance.now() - endedAt) / 1000
  const spent = processorSeconds(target.pids()) - spentBefore
  const processorTime = target.pids().length === 0 ? {} : { processorMicroseconds: (spent * 1e6) / requests }
  return {
    target: target.name,
    job: job.id,
    round,
    ...figuresOf(report, job),
    settledSeconds,
    ...processorTime,
  }
}

function figuresOf(
  { reads, writes, longestMs }: FioReport,
  { unit }: Job,
): Pick<Sample, 'rate' | 'meanMicroseconds' | 'p99Microseconds' | 'longestMs'> {
  const requests = reads.requests + writes.requests
  const total = reads.meanMicroseconds * reads.requests + writes.meanMicroseconds * writes.requests
  return {
    rate: unit === 'MB/s' ? reads.bytesPerSecond + writes.bytesPerSecond : reads.iops + writes.iops,
    meanMicroseconds: requests === 0 ? 0 : total / requests,
    p99Microseconds: Math.max(reads.p99Microseconds, writes.p99Microseconds),
    longestMs,
  }
}

const envOf = ({ clientEnv }: Target): NodeJS.ProcessEnv => ({ ...process.env, ...clientEnv })

async function settled(target: Target, signal: AbortSignal): Promise<void> {
  await orAborted(target.settled(), signal)
  execFileSync('sync')
}
