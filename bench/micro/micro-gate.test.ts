/** The hot parts cost what they did: a slow-down, or an allocation for each request, is seen before it is merged. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'
import { nodeFlags } from './measure.ts'

test('each hot part stays within its bounds of time, beside a reference, and of bytes', () => {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [...nodeFlags, join(import.meta.dirname, 'run.ts'), '--gate'],
    { encoding: 'utf8' },
  )
  assert.equal(
    status,
    0,
    `Hot parts are dearer than bench/micro/bounds.ts allows:\n${stdout}${stderr}
To look further: npm run bench:micro -- --only 'NAME' here and at the commit before, and
  node ${nodeFlags.join(' ')} --cpu-prof bench/micro/run.ts --only 'NAME'   (or --heap-prof, for bytes)
Where the price is wanted, npm run bench:micro -- --table prints the lines for bounds.ts; say in the commit what they pay for.`,
  )
})
