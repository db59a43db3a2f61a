/** Lines for a person at a terminal. */
import { type CarriedOver } from './carry-over.ts'
import { medianOf, ratioOf, type Sample } from './figures.ts'
import { type Bound, figuresOfQuietMachine, type Judged, quietMachine } from './goals.ts'
import { type Job, jobOf, jobs, type Unit } from './jobs.ts'
import type { Section } from './section.ts'
import type { Resident, TargetName } from './target.ts'

/** Columns of texts go left, those of figures right. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((_, column) => Math.max(...[head, ...rows].map((row) => row[column].length)))
  const ofFigures = head.map((_, column) => rows.every((row) => /^[≥≤ ]*[\d.,]*( MiB)?$/.test(row[column])))
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) =>
        ofFigures[column] ? cell.padStart(widths[column]) : cell.padEnd(widths[column]),
      )
      .join('  ')
      .trimEnd()
  return [head, ...rows].map(line).join('\n')
}

/** A rate in its job's unit, with as many digits as say something. */
export function rateText(rate: number, unit: Unit): string {
  const value = unit === 'MB/s' ? rate / 1e6 : rate
  return value >= 100 ? Math.round(value).toLocaleString('en-US') : value.toPrecision(2)
}

const ratioText = (ratio: number): string => (ratio >= 10 ? ratio.toFixed(0) : ratio.toFixed(2))
const microsecondsText = (value: number | undefined): string =>
  value === undefined ? '' : value >= 100 ? value.toFixed(0) : value.toPrecision(2)
const mebibytesText = (bytes: number): string => `${(bytes / 1024 ** 2).toFixed(0)} MiB`

/** While it runs: one line for each sample. */
export function sampleLine({ target, job, round, ...sample }: Sample): string {
  const { name, unit } = jobOf(job)
  const processor =
    sample.processorMicroseconds === undefined
      ? ''
      : `, ${microsecondsText(sample.processorMicroseconds)} µs of processors each`
  const settled = sample.settledSeconds < 1 ? '' : `, settled ${sample.settledSeconds.toFixed(0)} s later`
  return `  round ${round}  ${target.padEnd(10)} ${name.padEnd(40)} ${rateText(sample.rate, unit).padStart(8)} ${unit}${processor}${settled}`
}

/** Medians of all rounds, a row for each job of each target. */
export function figuresTable(samples: readonly Sample[]): string {
  const targets = [...new Set(samples.map(({ target }) => target))]
  const rowOf = (job: Job, target: TargetName): string[][] => {
    const place = { target, job: job.id }
    const rate = medianOf(samples, place)
    if (rate === undefined) return []
    const microseconds = (measure: Parameters<typeof medianOf>[2]): string =>
      microsecondsText(medianOf(samples, place, measure))
    return [
      [
        job.name,
        target,
        rateText(rate, job.unit),
        job.unit,
        microseconds('meanMicroseconds'),
        microseconds('p99Microseconds'),
        microseconds('processorMicroseconds'),
      ],
    ]
  }
  return table(
    ['4 KiB unless said', 'of', 'rate', 'unit', 'mean µs', 'p99 µs', 'processors, µs a request'],
    jobs.flatMap((job) => targets.flatMap((target) => rowOf(job, target))),
  )
}

export const boundText = (bound: Bound): string =>
  'atLeast' in bound ? `≥ ${bound.atLeast}` : `≤ ${bound.atMost}`

export const goalsTable = (judged: readonly Judged[]): string =>
  table(
    ['ratio in this run', 'against', 'is', 'wanted', ''],
    judged.map(({ name, against, ratio, wanted, met }) => [
      name,
      against,
      ratioText(ratio),
      boundText(wanted),
      met ? 'met' : 'NOT MET',
    ]),
  )

/** Absolute figures, that say as much of the machine as of us. */
export const quietMachineTable = (samples: readonly Sample[]): string =>
  table(
    ['what a quiet machine should show', 'is', 'wanted', 'unit', ''],
    figuresOfQuietMachine(samples).map(({ job, ours }) => {
      const { name, unit } = jobOf(job)
      const wanted = (quietMachine[job] ?? 0) * (unit === 'MB/s' ? 1e6 : 1)
      return [
        name,
        rateText(ours, unit),
        `≥ ${rateText(wanted, unit)}`,
        unit,
        ours >= wanted ? 'met' : 'not here',
      ]
    }),
  )

export const memoryTable = (rows: readonly (Resident & { readonly of: TargetName })[]): string =>
  table(
    ['resident memory after the runs', 'process', 'without cached data', 'cached data, taken off'],
    rows.map(({ of, process, bytes, cacheBytes }) => [
      of,
      process,
      mebibytesText(bytes),
      mebibytesText(cacheBytes),
    ]),
  )

/** Ours over the peer's, in each job that both do. */
export const ratiosTable = ({ peer, samples }: Section): string =>
  table(
    [`NDFS ÷ ${peer}`, 'rate', 'processor time a request'],
    jobs.flatMap(({ id, name }) => {
      const [ours, theirs] = [{ target: 'NDFS', job: id } as const, { target: peer, job: id }]
      const rate = ratioOf(samples, ours, theirs)
      const processorTime = ratioOf(samples, ours, theirs, 'processorMicroseconds')
      const cells = [rate, processorTime].map((ratio) => (ratio === undefined ? '' : ratioText(ratio)))
      return rate === undefined ? [] : [[name, ...cells]]
    }),
  )

export const carriedOverTable = (rows: readonly CarriedOver[]): string =>
  table(
    ['Vitastor, carried over', 'rate', 'unit', 'by the raw disk in'],
    rows.map(({ job, rate, scaledBy }) => {
      const { name, unit } = jobOf(job)
      return [name, rateText(rate, unit), unit, jobOf(scaledBy).name]
    }),
  )
