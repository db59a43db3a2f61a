import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { allMarks } from './marks.ts'
import { findOf, patchOf } from './marks/mark.ts'

test('a mark is put in, and taken out again to find its place', () => {
  const put = (at: string): [string, string] => {
    const { find, replace } = patchOf({ name: 'm', file: 'a.ts', at }, 'hit(7)')
    return [find, replace]
  }
  assert.deepEqual(put('if (a) ¶, b()'), ['if (a) b()', 'if (a) hit(7), b()'])
  assert.deepEqual(put('{\n  ¶; const b = 1'), ['{\n  const b = 1', '{\n  hit(7); const b = 1'])
  assert.deepEqual(put('if (a && ¶) return'), ['if (a) return', 'if (a && hit(7)) return'])
  assert.deepEqual(put('{ ¶; continue }'), ['continue', '{ hit(7); continue }'])
  assert.deepEqual(put('[¶ where a > 1]; b()'), ['b()', 'void ((a > 1) && hit(7)); b()'])
  assert.deepEqual(put('b(); [¶ where a > 1]'), ['b()', 'b(); void ((a > 1) && hit(7))'])
})

test('each mark has a name of its own, and a place', () => {
  assert.equal(new Set(allMarks.map(({ name }) => name)).size, allMarks.length)
  for (const { at } of allMarks) assert.notEqual(findOf(at), at)
})

test('counting changes nothing of a run', () => {
  const script = (first: string): string => `
    ${first}
    const { simulate } = await import('./sim/simulate.ts')
    const plan = { nodes: 3, copies: 2, vdisks: 1, clientsPerVDisk: 1, handsMost: 1, sectors: 512, hardTimesMs: 5000 }
    console.log((await simulate({ seed: 7, plan: { ...plan, troubles: { kill: 1 }, troubleEveryMs: [100, 1500] } })).hash)
    console.log(typeof counts === 'undefined' ? 0 : [...counts().values()].reduce((a, b) => a + b))
  `
  const [plain, counted] = [
    '',
    `const { installMarks } = await import('./sim/marks.ts'); const counts = installMarks()`,
  ].map((first) => {
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script(first)], {
      encoding: 'utf8',
    })
    assert.equal(stderr, '')
    return stdout.trim().split('\n')
  })
  assert.equal(counted[0], plain[0])
  assert.ok(Number(counted[1]) > 0, 'no mark was hit')
})
