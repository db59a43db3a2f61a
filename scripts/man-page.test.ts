import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { ndfsCommand } from '../cli/main.ts'
import { manPage } from './man-page.ts'

const page = manPage({
  template: readFileSync(join(import.meta.dirname, '../deploy/ndfs.8.in'), 'utf8'),
  ndfs: ndfsCommand({ entry: '', nodeOptions: [] }),
  version: '1.2.3',
  date: '2026-01-31',
})

test('the manual page has every command with its options, and none that is hidden', () => {
  for (const command of [
    'up',
    'node',
    'node add',
    'vdisk create <container/name>',
    'config check [file]',
    'store restore',
  ])
    assert.ok(page.includes(`.SS "ndfs ${command}"\n`), command)
  assert.ok(!page.includes('.SS "ndfs vdisk"\n'))
  assert.ok(page.includes('.TP\n\\fB\\-\\-nfs\\-port <port>\\fR\n'))
  assert.ok(!page.includes('detached'))
})

test('the manual page has nothing left of its template, and no line that troff would take for a request', () => {
  assert.ok(!/@[A-Z]+@/.test(page))
  for (const line of page.split('\n'))
    if (/^[.']/.test(line)) assert.match(line, /^\.(?:TH|SH|SS|TP|PP|B|I|nf|fi)\b/)
})
