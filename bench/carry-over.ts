/**
 * Vitastor is not in Debian: what it did on another machine, times what the raw disk does here, now, over what it did there. An estimate,
 * marked so wherever it is shown; nothing is judged by it.
 */
import { medianOf, type Sample } from './figures.ts'
import type { JobId } from './jobs.ts'

export interface CarriedOver {
  readonly job: JobId
  readonly rate: number
  /** By what the raw disk's figures are compared. */
  readonly scaledBy: JobId
}

interface Elsewhere {
  readonly job: JobId
  readonly vitastor: number
  readonly scaledBy: JobId
  readonly rawDisk: number
}

export const carriedOverNote =
  'Vitastor 3.0.8 with fsync, three OSDs, two copies: measured on another machine, carried over by the ratio of the raw disks'

/** Requests, or bytes, in a second. */
const elsewhere: readonly Elsewhere[] = [
  { job: 'random-write-d1', vitastor: 2_350, scaledBy: 'append', rawDisk: 9_500 },
  { job: 'random-write-d32', vitastor: 15_100, scaledBy: 'random-write-d32', rawDisk: 85_000 },
  { job: 'random-read-d1', vitastor: 10_000, scaledBy: 'random-read-d1', rawDisk: 18_000 },
  { job: 'random-read-d32', vitastor: 46_000, scaledBy: 'random-read-d32', rawDisk: 83_000 },
  { job: 'mix-d32', vitastor: 28_000, scaledBy: 'random-read-d32', rawDisk: 83_000 },
  { job: 'sequential-write', vitastor: 420e6, scaledBy: 'sequential-write', rawDisk: 5_200e6 },
  { job: 'sequential-read', vitastor: 1_120e6, scaledBy: 'sequential-read', rawDisk: 1_315e6 },
]

/** Those of which the raw disk was measured. */
export const carryOver = (samples: readonly Sample[]): CarriedOver[] =>
  elsewhere.flatMap(({ job, vitastor, scaledBy, rawDisk }) => {
    const now = medianOf(samples, { target: 'raw disk', job: scaledBy })
    return now === undefined ? [] : [{ job, rate: (vitastor * now) / rawDisk, scaledBy }]
  })
