/**
 * `npm run bench:micro`: what the hot parts take, each by itself, beside a reference. Nanoseconds are this machine's in this minute; ratios
 * and bytes can be held against those of other runs.
 *
 * Options: --only TEXT, for parts whose names contain it; --table prints the lines of bounds.ts as they would be now; --gate prints nothing
 * but what is over its bound in bounds.ts, after a second and a third look, and ends with 1 where anything is.
 */
import { parseArgs } from 'node:util'
import { faultsOf, lineOf, names } from './bounds.ts'
import { measure, type Measured } from './measure.ts'
import type { Part } from './part.ts'
import { allParts } from './parts.ts'

const looksMax = 3

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    table: { type: 'boolean', default: false },
    gate: { type: 'boolean', default: false },
  },
})

/** The best of the looks that it takes: load beside it can only make a part look worse. */
async function faultsAfterSeveralLooks(part: Part): Promise<string[]> {
  let best: Measured = { nanoseconds: Infinity, ratio: Infinity, bytes: Infinity }
  for (let look = 1; ; look++) {
    const { nanoseconds, ratio, bytes } = await measure(part)
    best = {
      nanoseconds: Math.min(best.nanoseconds, nanoseconds),
      ratio: Math.min(best.ratio, ratio),
      bytes: Math.min(best.bytes, bytes),
    }
    const faults = faultsOf(part.name, best)
    if (faults.length === 0 || look === looksMax) return faults
  }
}

const all = allParts()
const parts = all.filter(({ name }) => name.includes(values.only))
if (values.gate) {
  const unknown = names.filter((name) => !all.some((part) => part.name === name))
  const faults = unknown.map(
    (name) => `${name}: bench/micro/bounds.ts has a line for it, and no part has that name`,
  )
  for (const part of parts)
    faults.push(...(await faultsAfterSeveralLooks(part)).map((fault) => `${part.name}: ${fault}`))
  for (const fault of faults) console.log(fault)
  process.exitCode = faults.length === 0 ? 0 : 1
} else {
  if (!values.table) console.log(`${''.padEnd(46)}ns/operation   ÷ reference   bytes/operation`)
  for (const part of parts) {
    const measured = await measure(part)
    const { nanoseconds, ratio, bytes } = measured
    console.log(
      values.table
        ? lineOf(part.name, measured)
        : `${part.name.padEnd(46)}${nanoseconds.toFixed(0).padStart(12)}${ratio.toFixed(3).padStart(14)}${bytes.toFixed(0).padStart(18)}`,
    )
  }
}
