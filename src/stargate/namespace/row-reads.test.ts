/** How many messages the reads of inodes are, and what each of them sees. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { NdfsError } from '../../base/errors.ts'
import type { Medusa } from '../../medusa/medusa.ts'
import type { MedusaAccess } from '../partition-changes/partition-changes.ts'
import type { InodeId } from './namespace.ts'
import { RowReads } from './row-reads.ts'

const file = 8 as InodeId
const directory = 9 as InodeId

function stage() {
  const asked: string[] = []
  let answer = 'before'
  const getOfMany: Medusa['getOfMany'] = async (table, keys) => {
    asked.push(`${table} ${keys.join(' ')}`)
    if (answer === 'error') throw new NdfsError('UNAVAILABLE', 'the test says so')
    const now = answer
    await Promise.resolve()
    return keys.map((key) => (key === '10' ? undefined : Buffer.from(now)))
  }
  const platform = { clock: { soon: setImmediate } } as unknown as MedusaAccess['platform']
  const reads = new RowReads({ medusa: { getOfMany } as Medusa, platform })
  return { asked, reads, answers: (text: string) => void (answer = text) }
}

test('what is asked for in one turn is one message for each table, however often it is asked for', async () => {
  const { asked, reads } = stage()
  const rows = await Promise.all(
    [file, directory, file, 10 as InodeId, directory].map((id) => reads.read(id)),
  )
  assert.deepEqual(rows.map(String), ['before', 'before', 'before', 'undefined', 'before'])
  assert.deepEqual(asked, ['inode 8 10', 'directory 9'])
})

test('a read sees what resolved before it was asked for, also while another is under way', async () => {
  const { asked, reads, answers } = stage()
  const first = reads.read(file)
  await new Promise(setImmediate)
  answers('after')
  assert.equal(String(await reads.read(file)), 'after')
  assert.equal(String(await first), 'before')
  assert.equal(asked.length, 2)
})

test('many that are asked for at once come in their order, whichever table they lie in', async () => {
  const { asked, reads } = stage()
  const rows = await reads.readMany([directory, 10 as InodeId, file, 11 as InodeId])
  assert.deepEqual(rows.map(String), ['before', 'undefined', 'before', 'before'])
  assert.deepEqual(asked, ['inode 10 8', 'directory 9 11'])
  assert.deepEqual(await reads.readMany([]), [])
})

test('who asked for what could not be read is told, and the next one asks anew', async () => {
  const { reads, answers } = stage()
  answers('error')
  await Promise.all([file, file].map((id) => assert.rejects(reads.read(id), { code: 'UNAVAILABLE' })))
  answers('again')
  assert.equal(String(await reads.read(file)), 'again')
})
