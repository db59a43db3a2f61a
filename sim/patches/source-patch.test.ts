import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { findPatchFaults, patchedSource, type SourcePatch } from './source-patch.ts'

const file = 'src/base/at-once.ts'
const change = (find: string, replace: string): SourcePatch => ({ file, find, replace })
const source = 'const a = 1\nconst b = 2\nreturn a + b\n'

test('patches of one file are made together, whatever their order', () => {
  const text = patchedSource(file, source, [change('a + b', 'a - b'), change('a = 1', 'a = 3')])
  assert.equal(text, 'const a = 3\nconst b = 2\nreturn a - b\n')
})

test('patches of other files are passed over', () => {
  assert.equal(patchedSource(file, source, [{ file: 'src/other.ts', find: 'x', replace: 'y' }]), source)
})

test('a patch that does not apply, is not clear, or moves lines is refused', () => {
  const refused = (find: string, replace: string, reason: RegExp): void =>
    assert.throws(() => patchedSource(file, source, [change(find, replace)]), reason)
  refused('const c', 'const d', /does not apply/)
  refused('const', 'let', /more than once/)
  refused('a = 1\n', 'a = 1', /number of lines/)
  assert.throws(
    () => patchedSource(file, source, [change('const a = 1', 'x'), change('a = 1', 'y')]),
    /the same words/,
  )
})

test('what no longer applies to the source as it is is told, also a file that is gone', () => {
  const faults = findPatchFaults([
    change('no such words', ''),
    { file: 'src/gone.ts', find: 'a', replace: 'b' },
  ])
  assert.equal(faults.length, 2)
  assert.match(faults[0], /does not apply/)
})

test('a module is changed while it loads, with its types, and a patch whose module was never loaded is told', () => {
  const script = `
    import { installPatches } from './sim/patches/source-patch.ts'
    const find = 'export const KiB = 1024'
    const used = installPatches([{ file: 'src/base/units.ts', find, replace: 'export const KiB: number = 4711' }])
    const unused = installPatches([{ file: 'src/base/serial.ts', find: 'a', replace: 'b' }])
    console.log((await import('./src/base/units.ts')).KiB)
    used.applied()
    try { unused.applied() } catch (error) { console.log(error.message) }
  `
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
  })
  assert.match(stdout, /^4711\nPatched files were never loaded.*src\/base\/serial\.ts/, stderr)
})
