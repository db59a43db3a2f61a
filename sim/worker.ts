/**
 * A process that simulates one seed after the other, as run.ts asks: one message in, one out, until it is ended.
 *
 * Seeds are told one by one, so that a worker that meets long runs gets fewer, and none waits behind them.
 */
import { Buffer } from 'node:buffer'
import { installMarks } from './marks.ts'
import type { RunResult } from './summary.ts'

// Most buffers are cut from pieces of this size: thousands of small ones cost the garbage collector more than they hold.
Buffer.poolSize = 1024 * 1024

// Errors are made by the thousand in hard times, and their stacks cost more than the rest of them. A replay has them.
Error.stackTraceLimit = 0

// Before anything of src/ is loaded: marks are put into it while it is.
const marks = installMarks()
const { simulate } = await import('./simulate.ts')
const { messageOf } = await import('../src/base/errors.ts')

process.on('message', (seed: number) => {
  const begun = performance.now()
  const before = marks()
  const tell = (result: Omit<RunResult, 'marks'>): void => {
    const hits = [...marks()].map(([name, count]) => [name, count - before.get(name)!] as const)
    process.send!({ ...result, marks: Object.fromEntries(hits) } satisfies RunResult)
  }
  simulate({ seed }).then(
    (outcome) => tell({ seed, ms: performance.now() - begun, outcome }),
    (error: unknown) => tell({ seed, ms: performance.now() - begun, failure: messageOf(error) }),
  )
})
process.on('disconnect', () => process.exit())
