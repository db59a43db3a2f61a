/** From samples to figures: medians over rounds, and ratios of what was measured in the same round. */
import type { JobId } from './jobs.ts'
import type { TargetName } from './target.ts'

/** One job, once, of one target. */
export interface Sample {
  readonly target: TargetName
  readonly job: JobId
  readonly round: number
  /** Requests or bytes in a second, as the job's unit says. */
  readonly rate: number
  readonly meanMicroseconds: number
  readonly p99Microseconds: number
  readonly longestMs: number
  /** What it took afterwards until all that was written was where it stays. */
  readonly settledSeconds: number
  /** For each request, of all the target's processes; until all work that came of the requests was done. Absent where it has none. */
  readonly processorMicroseconds?: number
}

export type Measure = 'rate' | 'processorMicroseconds' | 'meanMicroseconds' | 'p99Microseconds' | 'longestMs'

export interface Place {
  readonly target: TargetName
  readonly job: JobId
}

export function median(values: readonly number[]): number | undefined {
  if (values.length === 0) return undefined
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

export const medianOf = (
  samples: readonly Sample[],
  place: Place,
  measure: Measure = 'rate',
): number | undefined => median([...byRound(samples, place, measure).values()])

/** The median of the rounds' ratios. Absent where no round has both. */
export function ratioOf(
  samples: readonly Sample[],
  ours: Place,
  reference: Place,
  measure: Measure = 'rate',
): number | undefined {
  const references = byRound(samples, reference, measure)
  const ratios = [...byRound(samples, ours, measure)].flatMap(([round, value]) => {
    const other = references.get(round)
    return other === undefined || other === 0 ? [] : [value / other]
  })
  return median(ratios)
}

function byRound(
  samples: readonly Sample[],
  { target, job }: Place,
  measure: Measure,
): ReadonlyMap<number, number> {
  return new Map(
    samples
      .filter((sample) => sample.target === target && sample.job === job)
      .flatMap((sample) => {
        const value = sample[measure]
        return value === undefined ? [] : [[sample.round, value] as const]
      }),
  )
}
