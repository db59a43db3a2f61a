/** What the chart of a run shows: of each job ours, the peers of the same run, and what is carried over. */
import type { CarriedOver } from './carry-over.ts'
import type { Bar, Chart, Group } from './chart.ts'
import { medianOf, ratioOf } from './figures.ts'
import { type Job, jobs } from './jobs.ts'
import type { Section } from './section.ts'
import { rateText } from './table.ts'

/** In the order in which a reader asks. */
export function chartOf(
  sections: readonly Section[],
  carriedOver: readonly CarriedOver[],
  notes: readonly string[],
): Chart {
  const groups = jobs.map((job) => groupOf(job, sections, carriedOver)).filter(({ bars }) => bars.length > 1)
  return { title: 'NDFS and others on one machine, in one run', groups, notes }
}

function groupOf(job: Job, sections: readonly Section[], carriedOver: readonly CarriedOver[]): Group {
  const textOf = (rate: number): string =>
    `${rateText(rate, job.unit)}${job.unit === 'MB/s' ? ' MB/s' : '/s'}`
  const ourPlace = { target: 'NDFS', job: job.id } as const
  const ours = medianOf(
    // One round of each section is one sample; rounds of different sections have the same numbers.
    sections.flatMap(({ samples }, at) =>
      samples.map((sample) => ({ ...sample, round: at * 1000 + sample.round })),
    ),
    ourPlace,
  )
  if (ours === undefined) return { name: job.name, bars: [] }
  const peers = sections.flatMap(({ peer, samples }): Bar[] => {
    const place = { target: peer, job: job.id }
    const rate = medianOf(samples, place)
    if (rate === undefined) return []
    const ratio = ratioOf(samples, ourPlace, place)
    return [{ name: peer, value: rate, text: textOf(rate), kind: 'peer', ...(ratio && { ratio }) }]
  })
  const estimates = carriedOver
    .filter((each) => each.job === job.id)
    .map(({ rate }): Bar => ({ name: 'Vitastor *', value: rate, text: textOf(rate), kind: 'estimate' }))
  const own: Bar = { name: 'NDFS', value: ours, text: textOf(ours), kind: 'ours' }
  return { name: job.name, bars: [own, ...peers, ...estimates] }
}
