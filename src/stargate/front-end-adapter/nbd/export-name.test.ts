import { test } from 'node:test'
import assert from 'node:assert/strict'
import { parseExportName } from './export-name.ts'

const parse = (text: string) => parseExportName(Buffer.from(text))

test('an export name is a container and a vDisk', () => {
  assert.deepEqual(parse('vms/web-1'), { name: 'vms/web-1' })
  assert.deepEqual(parse('vms/größe'), { name: 'vms/größe' })
  assert.deepEqual(parse(''), { name: '' })
})

test('behind # stands a client and the number of its session', () => {
  assert.deepEqual(parse('vms/web#host-7.example.42'), {
    name: 'vms/web',
    session: { client: 'host-7.example', number: 42 },
  })
})

test('a session that makes no sense is no name at all', () => {
  for (const bad of [
    'a/b#',
    'a/b#client',
    'a/b#.1',
    'a/b#c.',
    'a/b#c.x',
    'a/b#c d.1',
    'a/b#c.9999999999999999',
  ])
    assert.equal(parse(bad), undefined, bad)
  assert.equal(parse(`a/b#${'c'.repeat(65)}.1`), undefined)
})

test('a name is UTF-8 without NUL, of 4096 bytes at most', () => {
  assert.equal(parseExportName(Buffer.from([0x61, 0xff])), undefined)
  assert.equal(parse('a/b\0c'), undefined)
  assert.equal(parse('a'.repeat(4096))?.name.length, 4096)
  assert.equal(parse('a'.repeat(4097)), undefined)
})
