import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { staged, waiting } from './coverage.ts'

const all = ['C', 'F'].flatMap((letter) => Array.from({ length: 12 }, (_, i) => `${letter}${i + 1}`))

test('every critical history is staged, or waits for something', () => {
  assert.deepEqual([...Object.keys(staged), ...Object.keys(waiting)].sort(), [...all].sort())
})

test('the tests are those of the histories that are said to be staged', () => {
  const files = readdirSync(import.meta.dirname).filter((name) => name.endsWith('.test.ts'))
  const titles = files.flatMap((name) => [
    ...readFileSync(`${import.meta.dirname}/${name}`, 'utf8').matchAll(/test\(\s*['"`]([CF]\d+): /g),
  ])
  assert.deepEqual([...new Set(titles.map(([, name]) => name))].sort(), Object.keys(staged).sort())
})
