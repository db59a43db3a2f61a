/**
 * About a minute of seeds that nobody has tried before, on one processor. They are new each day and the same all day, so that
 * a failure comes again when it is looked at, and a change is tried with what its last check will be tried with.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const dayMs = 24 * 60 * 60 * 1000
/** Days are this many seeds apart: more than a minute runs. */
const seedsOfDay = 10_000

test('a minute of new seeds', () => {
  const first = Math.floor(Date.now() / dayMs) * seedsOfDay
  const run = fileURLToPath(new URL('run.ts', import.meta.url))
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [run, '--seed', String(first), '--runs', String(seedsOfDay), '--minutes', '1', '--workers', '1'],
    { encoding: 'utf8', env: { ...process.env, NODE_TEST_CONTEXT: undefined } },
  )
  const [summary, medians] = stdout.split('\n').filter((line) => / runs in |^medians/.test(line))
  console.log(`figure: seeds from ${first}: ${summary}; ${medians}`)
  assert.equal(status, 0, `${stdout}\n${stderr}`)
})
