import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decodeControl, encodeControl } from '../../base/control.ts'
import { NdfsError, hasCode } from '../../base/errors.ts'
import type { StoreOutcome } from './store-batch.ts'
import { StoreBatches } from './store-batch.ts'
import { openStoreDatabase } from './store-database.ts'
import { packOutcomes, packRequests, unpackOutcomes, unpackRequests } from './store-messages.ts'

const request = (kind: string, asks: unknown) => ({ kind, body: encodeControl(asks) })
const set = (key: string, value: string, expected?: number) =>
  request('zeus.set', { key, json: JSON.stringify(value), ...(expected === undefined ? {} : { expected }) })
const seen = (outcome: StoreOutcome): unknown =>
  outcome instanceof NdfsError ? outcome.code : decodeControl(outcome)

test('each request of a batch is judged on what those before it left, and refused alone', () => {
  const batches = new StoreBatches(openStoreDatabase(':memory:', 'test'))
  const outcomes = batches.run([
    set('a', 'one', 0),
    set('a', 'two', 0),
    set('a', 'three', 1),
    request('zeus.nonsense', {}),
    request('zeus.get', { key: 'a' }),
  ])
  assert.deepEqual(outcomes.map(seen), [
    { version: 1 },
    'CONFLICT',
    { version: 2 },
    'REFUSED',
    { entry: { key: 'a', json: '"three"', version: 2 } },
  ])
  assert.equal(batches.zeusRevision, 3)
})

test('I10: on a full disk changes are refused with OUT_OF_SPACE, reads and deletions go on, nothing is lost', () => {
  const database = openStoreDatabase(':memory:', 'test')
  const batches = new StoreBatches(database)
  assert.deepEqual(batches.run([set('a', 'kept')]).map(seen), [{ version: 1 }])
  const { page_count: pages } = database.prepare('PRAGMA page_count').get() as { page_count: number }
  database.pragma(`max_page_count = ${pages + 2}`)
  const large = 'x'.repeat(50_000)
  const outcomes = batches.run([
    set('b', large),
    request('zeus.get', { key: 'a' }),
    set('c', large),
    request('zeus.delete', { key: 'a' }),
    request('zeus.list', { prefix: '' }),
  ])
  assert.deepEqual(outcomes.map(seen), [
    'OUT_OF_SPACE',
    { entry: { key: 'a', json: '"kept"', version: 1 } },
    'OUT_OF_SPACE',
    {},
    { entries: [] },
  ])
  // The number of the last change was taken back with what was rolled back.
  assert.equal(batches.zeusRevision, 3)
  database.pragma(`max_page_count = ${pages + 100}`)
  assert.deepEqual(batches.run([set('b', large)]).map(seen), [{ version: 1 }])
})

test('requests and outcomes come out of their messages as they went in', () => {
  const requests = [set('a', 'one'), { kind: 'empty', body: new Uint8Array() }, set('b', 'two')]
  const unpacked = unpackRequests(packRequests(requests))
  assert.deepEqual(
    unpacked.map(({ kind, body }) => ({ kind, body: Buffer.from(body).toString('hex') })),
    requests.map(({ kind, body }) => ({ kind, body: Buffer.from(body).toString('hex') })),
  )
  const message = packOutcomes(
    [Buffer.from('yes'), new NdfsError('CONFLICT', 'No: so it is', { version: 3 })],
    { zeusRevision: 9, changes: 4 },
  )
  assert.ok(message.state === 'done')
  const [answer, error] = unpackOutcomes(message)
  assert.equal(String(answer), 'yes')
  assert.ok(hasCode(error, 'CONFLICT'))
  assert.equal(error.message, 'No: so it is')
  assert.deepEqual(error.facts, { version: 3 })
})
