/**
 * What is wanted, as ratios of one run: the figures of two machines, or of two hours, are not to be held against each other. What a quiet
 * machine should show besides is told for the reader, and decides nothing.
 */
import { medianOf, type Measure, type Place, ratioOf, type Sample } from './figures.ts'
import { type JobId, jobOf } from './jobs.ts'
import type { Resident, TargetName } from './target.ts'

export interface Goal {
  readonly name: string
  readonly job: JobId
  readonly measure?: Measure
  readonly reference: Place
  /** The ratio of ours to the reference. */
  readonly wanted: Bound
}
export type Bound = { readonly atLeast: number } | { readonly atMost: number }

const against = (target: TargetName, job: JobId): Place => ({ target, job })

const rate = (job: JobId, reference: Place, atLeast: number): Goal => ({
  name: jobOf(job).name,
  job,
  reference,
  wanted: { atLeast },
})
const processorTime = (job: JobId): Goal => ({
  name: `processor time of each, ${jobOf(job).name}`,
  job,
  measure: 'processorMicroseconds',
  reference: against('Ceph', job),
  wanted: { atMost: 0.2 },
})

export const goals: readonly Goal[] = [
  rate('random-write-d32', against('Ceph', 'random-write-d32'), 12),
  rate('random-write-d32', against('raw disk', 'append'), 3.5),
  rate('random-write-d1', against('Ceph', 'random-write-d1'), 3.5),
  rate('random-write-d1', against('raw disk', 'append'), 0.3),
  rate('cached-read-d32', against('nbdkit', 'cached-read-d32'), 1.3),
  rate('cached-read-d1', against('qemu-nbd', 'cached-read-d1'), 1.1),
  rate('random-read-d32', against('Ceph', 'random-read-d32'), 2),
  rate('random-read-d32', against('raw disk', 'random-read-d32'), 0.4),
  rate('shifted-write-d32', against('NDFS', 'random-write-d32'), 0.9),
  rate('mix-d32', against('Ceph', 'mix-d32'), 6),
  rate('sequential-write', against('Ceph', 'sequential-write'), 1.8),
  rate('sequential-read', against('Ceph', 'sequential-read'), 1),
  rate('sequential-read', against('raw disk', 'sequential-read'), 0.95),
  processorTime('random-write-d32'),
  processorTime('random-read-d32'),
]

/** Of a quiet machine, in the job's unit; megabytes for those in MB/s. */
export const quietMachine: Partial<Record<JobId, number>> = {
  'random-write-d32': 30_000,
  'random-write-d1': 3_000,
  'cached-read-d32': 160_000,
  'cached-read-d1': 17_000,
  'random-read-d32': 34_000,
  'mix-d32': 34_000,
  'sequential-write': 780,
  'sequential-read': 1_300,
}

export const memoryOfOsdMax = 0.45
export const memoryOfNodeMaxBytes = 250e6

export interface Judged {
  readonly name: string
  readonly against: string
  readonly ratio: number
  readonly wanted: Bound
  readonly met: boolean
}

export const meets = (ratio: number, bound: Bound): boolean =>
  'atLeast' in bound ? ratio >= bound.atLeast : ratio <= bound.atMost

/** Those goals of which the samples hold both sides. */
export function judge(samples: readonly Sample[]): Judged[] {
  return goals.flatMap(({ name, job, measure, reference, wanted }) => {
    const ratio = ratioOf(samples, against('NDFS', job), reference, measure)
    if (ratio === undefined) return []
    const whom =
      reference.job === job ? reference.target : `${reference.target}, ${jobOf(reference.job).name}`
    return [{ name, against: whom, ratio, wanted, met: meets(ratio, wanted) }]
  })
}

/** The largest node held against the largest OSD. */
export function judgeMemory(
  nodes: readonly Resident[],
  cephProcesses: readonly Resident[],
): Judged | undefined {
  if (nodes.length === 0 || cephProcesses.length === 0) return undefined
  const largest = (of: readonly Resident[]): number => Math.max(...of.map(({ bytes }) => bytes))
  const ratio = largest(nodes) / largest(cephProcesses)
  const wanted = { atMost: memoryOfOsdMax }
  return {
    name: 'resident memory of a node',
    against: 'Ceph, an OSD',
    ratio,
    wanted,
    met: meets(ratio, wanted),
  }
}

export const figuresOfQuietMachine = (samples: readonly Sample[]): { job: JobId; ours: number }[] =>
  (Object.keys(quietMachine) as JobId[]).flatMap((job) => {
    const ours = medianOf(samples, against('NDFS', job))
    return ours === undefined ? [] : [{ job, ours }]
  })
