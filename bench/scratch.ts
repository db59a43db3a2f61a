/**
 * The folder of one run, and its end: whatever happens, Ctrl-C too, what was started is stopped and the folder goes.
 *
 * All processes that come of the run bear a mark in their environment, so that those can be ended that nobody else has ended.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { killMarked } from '../scripts/marked-processes.ts'

const mark = 'NDFS_BENCH_ROOT'

/** `work` ends with a rejection soon after `signal` is aborted. */
export async function withScratch(
  dir: string,
  work: (root: string, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  mkdirSync(dir, { recursive: true })
  const root = mkdtempSync(join(dir, 'ndfs-bench-'))
  process.env[mark] = root
  process.env.NDFS_TEST_ROOT = root
  const ending = new AbortController()
  const end = (signal: NodeJS.Signals): void => {
    if (!ending.signal.aborted) console.error(`\n${signal}: stopping what was started …`)
    ending.abort(new Error(`Ended by ${signal}`))
  }
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, end)
  try {
    await work(root, ending.signal)
  } catch (error) {
    if (!ending.signal.aborted) throw error
    process.exitCode = 130
  } finally {
    killMarked(mark, root)
    rmSync(root, { recursive: true, force: true, maxRetries: 3 })
  }
}

/** As the promise does, or rejects as soon as the signal is aborted. */
export function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise: aborted, reject } = Promise.withResolvers<never>()
  const abort = (): void => reject(signal.reason as Error)
  if (signal.aborted) abort()
  signal.addEventListener('abort', abort, { once: true })
  return Promise.race([promise, aborted]).finally(() => signal.removeEventListener('abort', abort))
}
