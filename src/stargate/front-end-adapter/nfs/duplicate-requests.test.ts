import { test } from 'node:test'
import assert from 'node:assert/strict'
import { HandClock } from '../../../platform/clock-for-tests.ts'
import { DuplicateRequests, keyOf } from './duplicate-requests.ts'
import { rpcLimits } from './rpc-limits.ts'
import type { Caller } from './rpc-program.ts'

const credentials = { flavour: 'none' } as const
const caller: Caller = { host: '10.0.0.7', port: 700, localHost: '10.0.0.1', credentials }
const call = { xid: 7, program: 100003, version: 3, procedure: 12, credentials }
const args = Buffer.from('arguments')

function start(limits = {}) {
  const clock = new HandClock()
  return { clock, duplicates: new DuplicateRequests(clock, { ...rpcLimits, ...limits }) }
}

const never = (): never => assert.fail('it is not a copy')
const answer = (text: string): Buffer[] => [Buffer.from(text)]

test('a call is the same where client, numbers and arguments are, whatever the port', () => {
  const key = keyOf(call, caller, args)
  assert.equal(keyOf(call, { ...caller, port: 800 }, Buffer.from('arguments')), key)
  assert.notEqual(keyOf(call, { ...caller, host: '10.0.0.8' }, args), key)
  for (const name of ['xid', 'program', 'version', 'procedure'] as const)
    assert.notEqual(keyOf({ ...call, [name]: 99 }, caller, args), key)
  assert.notEqual(keyOf(call, caller, Buffer.from('argumentz')), key)
})

test('what was done is answered as it was, and not done again', () => {
  const { duplicates } = start()
  assert.ok(duplicates.begin('a', never))
  duplicates.answered('a', [Buffer.from('an'), Buffer.from('swer')])
  const heard: string[] = []
  for (let times = 0; times < 2; times += 1)
    assert.ok(!duplicates.begin('a', (bytes) => heard.push(String(bytes))))
  assert.deepEqual(heard, ['answer', 'answer'])
  assert.ok(duplicates.begin('b', never))
})

test('the newest copy of a call that is under way gets its answer; an older one is dropped', () => {
  const { duplicates } = start()
  const heard: string[] = []
  assert.ok(duplicates.begin('a', never))
  assert.ok(!duplicates.begin('a', (bytes) => heard.push(`first: ${String(bytes)}`)))
  assert.ok(!duplicates.begin('a', (bytes) => heard.push(`second: ${String(bytes)}`)))
  duplicates.answered('a', answer('done'))
  assert.deepEqual(heard, ['first: undefined', 'second: done'])
})

test('what could not be done may be tried again; a copy that waited hears of it', () => {
  const { duplicates } = start()
  const heard: string[] = []
  duplicates.begin('a', never)
  duplicates.begin('a', (bytes) => heard.push(String(bytes)))
  duplicates.failed('a', answer('no'))
  assert.deepEqual(heard, ['no'])
  assert.ok(duplicates.begin('a', never))
  assert.deepEqual([duplicates.entries, duplicates.bytes], [0, 0])
})

test('answers are kept for longer than two minutes, and then forgotten', () => {
  const { clock, duplicates } = start()
  duplicates.begin('a', never)
  clock.moveTo(60_000)
  duplicates.answered('a', answer('done'))
  clock.moveTo(60_000 + 120_000)
  assert.ok(!duplicates.begin('a', () => {}))
  clock.moveTo(60_000 + rpcLimits.keptMs + 1)
  assert.ok(duplicates.begin('a', never))
  assert.deepEqual([duplicates.entries, duplicates.bytes], [0, 0])
})

test('what is under way is not forgotten, however long it takes', () => {
  const { clock, duplicates } = start()
  duplicates.begin('a', never)
  clock.moveTo(1_000_000)
  assert.ok(!duplicates.begin('a', () => {}))
})

test('answers are bounded in number and in bytes; the oldest go first', () => {
  for (const limits of [{ keptAnswersMax: 3 }, { keptBytesMax: 3 * (256 + 100) }]) {
    const { duplicates } = start(limits)
    for (const key of ['a', 'b', 'c', 'd']) duplicates.begin(key, never)
    for (const key of ['b', 'a', 'c', 'd']) duplicates.answered(key, [Buffer.alloc(100)])
    assert.equal(duplicates.entries, 3)
    assert.equal(duplicates.bytes, 3 * 356)
    assert.ok(duplicates.begin('b', never))
    for (const key of ['a', 'c', 'd']) assert.ok(!duplicates.begin(key, () => {}))
  }
})
