/**
 * Runs one test file in a process of its own, under a limit of time, and sees to it that nothing of it stays behind: no
 * process, no folder. What it leaves running counts as a failure.
 */
import { spawn } from 'node:child_process'
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { keepLogs } from '../test/support/logs.ts'
import type { EndedTest } from './counting-reporter.ts'
import { killMarked, markedProcesses } from './marked-processes.ts'

export interface FileResult {
  readonly file: string
  readonly seconds: number
  readonly tests: readonly EndedTest[]
  readonly failed: number
  /** What went wrong beside failed tests. */
  readonly troubles: readonly string[]
  /** All that it printed. */
  readonly output: string
}

/** The folder of one test file's run: its clusters lie there, and its processes bear it in their environment. */
const rootVariable = 'NDFS_TEST_ROOT'
/** Children of a test that ended may need a moment to be gone. */
const lingerMs = 2000
const reporter = join(import.meta.dirname, 'counting-reporter.ts')

export async function runTestFile(
  file: string,
  limitSeconds: number,
  resultsFolder: string,
  stopped: AbortSignal,
): Promise<FileResult> {
  const root = mkdtempSync(join(tmpdir(), 'ndfs-test-'))
  const counted = join(root, 'tests.jsonl')
  const printed = join(root, 'output')
  const began = performance.now()
  const output = openSync(printed, 'w')
  const child = spawn(
    process.execPath,
    [
      ...['--test-reporter=spec', '--test-reporter-destination=stdout'],
      ...[`--test-reporter=${reporter}`, `--test-reporter-destination=${counted}`],
      file,
    ],
    {
      stdio: ['ignore', output, output],
      detached: true,
      env: { ...process.env, [rootVariable]: root, FORCE_COLOR: '0' },
    },
  )
  closeSync(output)
  const troubles: string[] = []
  const kill = (why: string) => () => {
    troubles.push(why)
    killMarked(rootVariable, root)
  }
  const timer = setTimeout(kill(`it did not end in ${limitSeconds} s and was killed`), limitSeconds * 1000)
  const interrupted = kill('it was interrupted')
  stopped.addEventListener('abort', interrupted)
  const exit = await new Promise<string | undefined>((resolve) =>
    child.once('exit', (code, signal) =>
      resolve(code === 0 ? undefined : signal === null ? `exit code ${code}` : signal),
    ),
  )
  clearTimeout(timer)
  stopped.removeEventListener('abort', interrupted)
  const seconds = (performance.now() - began) / 1000

  troubles.push(...(await endLeftovers(root)))
  const tests = readTests(counted)
  const failedTests = tests.filter(({ outcome }) => outcome === 'failed').length
  if (troubles.length === 0 && failedTests === 0) {
    if (exit !== undefined) troubles.push(`its process ended with ${exit}`)
    else if (tests.length === 0) troubles.push('it has no tests')
  }
  const text = readFileSync(printed, 'utf8')
  const failed = failedTests + (troubles.length > 0 ? 1 : 0)
  if (failed > 0) keepLogs(root, resultsFolder)
  rmSync(root, { recursive: true, force: true, maxRetries: 3 })
  return { file, seconds, tests, failed, troubles, output: text }
}

async function endLeftovers(root: string): Promise<string[]> {
  const until = performance.now() + lingerMs
  for (;;) {
    const left = markedProcesses(rootVariable, root)
    if (left.length === 0) return []
    if (performance.now() > until) {
      killMarked(rootVariable, root)
      return [`it left processes running: ${left.map(({ command }) => command.slice(0, 120)).join('; ')}`]
    }
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

function readTests(path: string): EndedTest[] {
  try {
    return readFileSync(path, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as EndedTest)
  } catch {
    return [] // killed before the first test had ended
  }
}

export function emptyFolder(path: string): void {
  rmSync(path, { recursive: true, force: true })
  mkdirSync(path, { recursive: true })
}
