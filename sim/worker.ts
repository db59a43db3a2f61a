/**
 * A process that simulates one seed after the other, as run.ts asks: one message in, one out, until it is ended.
 *
 * Seeds are told one by one, so that a worker that meets long runs gets fewer, and none waits behind them.
 */
import { messageOf } from '../src/base/errors.ts'
import { simulate } from './simulate.ts'
import type { RunResult } from './summary.ts'

process.on('message', (seed: number) => {
  const begun = performance.now()
  const tell = (result: RunResult): void => void process.send!(result)
  simulate({ seed }).then(
    (outcome) => tell({ seed, ms: performance.now() - begun, outcome }),
    (error: unknown) => tell({ seed, ms: performance.now() - begun, failure: messageOf(error) }),
  )
})
process.on('disconnect', () => process.exit())
