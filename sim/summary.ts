/**
 * What many runs were made of: sums, medians, how often each fault took effect and each rare branch was reached.
 *
 * A fault or a branch that no run met is named, as what never happened was never tested.
 */
import type { Outcome } from './simulate.ts'

export interface RunResult {
  readonly seed: number
  /** Real milliseconds. */
  readonly ms: number
  readonly outcome?: Outcome
  readonly failure?: string
  /** How often each rare branch was reached. */
  readonly marks?: Readonly<Record<string, number>>
}

export class Summary {
  readonly #perRun = { operations: [] as number[], troubles: [] as number[], virtualMs: [] as number[] }
  readonly #troubles = new Map<string, number>()
  readonly #errors = new Map<string, number>()
  readonly #marks = new Map<string, number>()
  readonly #beganAt = performance.now()
  #calls = 0
  #undecided = 0
  #reconnects = 0
  #repeated = 0
  runs = 0

  add({ outcome, marks = {} }: RunResult): void {
    this.runs++
    addAll(this.#marks, marks)
    if (outcome === undefined) return
    const { writes, reads, calls, troubles, virtualMs, errors, reconnects, repeated, undecided } = outcome
    this.#perRun.operations.push(writes + reads + calls)
    this.#calls += calls
    this.#undecided += undecided
    this.#perRun.troubles.push(sum(Object.values(troubles)))
    this.#perRun.virtualMs.push(virtualMs)
    addAll(this.#troubles, troubles)
    addAll(this.#errors, errors)
    this.#reconnects += reconnects
    this.#repeated += repeated
  }

  /** One line, for whoever waits. */
  progress(ofRuns: number): string {
    const minutes = (performance.now() - this.#beganAt) / 60_000
    const perMinute = this.runs / minutes
    const left = perMinute > 0 ? (ofRuns - this.runs) / perMinute : 0
    return (
      `${this.runs} of ${ofRuns} runs, ${Math.round(perMinute)} a minute, ` +
      `${this.#virtualHours()} virtual hours, ${left.toFixed(1)} minutes left`
    )
  }

  /** What was met, as lines. `expected` names what should have been. */
  report(expectedTroubles: readonly string[]): string[] {
    const { operations, troubles, virtualMs } = this.#perRun
    const minutes = (performance.now() - this.#beganAt) / 60_000
    const lines = [
      `${this.runs} runs in ${minutes.toFixed(1)} minutes (${Math.round(this.runs / minutes)} a minute), ${this.#virtualHours()} virtual hours`,
      `medians of a run: ${median(operations)} guest operations, ${median(troubles)} faults, ${Math.round(median(virtualMs) / 1000)} virtual seconds`,
      `${sum(operations)} guest operations, ${this.#calls} of them NFS calls, ${this.#reconnects} reconnects, ${this.#repeated} histories with a repeated write, ${this.#undecided} not judged`,
      `errors that guests were told: ${counted(this.#errors)}`,
      `faults: ${counted(withZeroes(this.#troubles, expectedTroubles))}`,
    ]
    if (this.#marks.size > 0) lines.push(`rare branches: ${counted(this.#marks)}`)
    const never = [
      ...expectedTroubles.filter((name) => !this.#troubles.has(name)),
      ...[...this.#marks].flatMap(([name, count]) => (count === 0 ? [name] : [])),
    ]
    if (never.length > 0) lines.push(`never met: ${never.join(', ')}`)
    return lines
  }

  #virtualHours(): string {
    return (sum(this.#perRun.virtualMs) / 3_600_000).toFixed(1)
  }
}

/** One run, in one line. */
export function describeRun({ seed, ms, outcome }: RunResult): string {
  if (outcome === undefined) return `seed ${seed}: failed after ${(ms / 1000).toFixed(1)} s`
  const { plan } = outcome
  return (
    `seed ${seed}: ${plan.nodes} nodes, ${plan.copies} copies, ${plan.vdisks} vDisks, ` +
    `${Math.round(outcome.virtualMs / 1000)} s in ${(ms / 1000).toFixed(1)} s; ` +
    `${outcome.writes} writes, ${outcome.reads} reads, ${outcome.calls > 0 ? `${outcome.calls} NFS calls, ` : ''}${outcome.reconnects} reconnects; ` +
    `faults: ${counted(new Map(Object.entries(outcome.troubles)))}; ` +
    `errors: ${counted(new Map(Object.entries(outcome.errors)))}; ` +
    `${outcome.repeated > 0 ? `${outcome.repeated} histories with a repeated write; ` : ''}${outcome.hash}`
  )
}

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0)

const median = (numbers: readonly number[]): number =>
  numbers.length === 0 ? 0 : numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)]

function addAll(counts: Map<string, number>, more: Readonly<Record<string, number>>): void {
  for (const [name, count] of Object.entries(more)) counts.set(name, (counts.get(name) ?? 0) + count)
}

const withZeroes = (
  counts: ReadonlyMap<string, number>,
  names: readonly string[],
): ReadonlyMap<string, number> => new Map(names.map((name) => [name, counts.get(name) ?? 0]))

const counted = (counts: ReadonlyMap<string, number>): string =>
  [...counts].map(([what, count]) => `${count} ${what}`).join(', ') || 'none'
