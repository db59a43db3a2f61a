import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Incarnation, NodeId } from '../../base/ids.ts'
import type { Claimant } from '../../zeus/zeus-requests.ts'
import { sessionTimeoutMs } from '../../zeus/zeus.ts'
import { HandClock } from './store-for-tests.ts'
import { ZeusSessions } from './zeus-sessions.ts'

const n1: Claimant = { node: 'n1' as NodeId, incarnation: 'a' as Incarnation }
const n2: Claimant = { node: 'n2' as NodeId, incarnation: 'b' as Incarnation }

function stand() {
  const clock = new HandClock()
  const expired: string[] = []
  const sessions: ZeusSessions = new ZeusSessions(clock, (session) => {
    expired.push(session.node)
    sessions.ended(session)
  })
  return { clock, expired, sessions }
}

test('a session ends when its timeout has passed since it was last heard', () => {
  const { clock, expired, sessions } = stand()
  sessions.opened(n1)
  sessions.opened(n2)
  clock.move(sessionTimeoutMs - 100)
  assert.equal(sessions.heard(n1), true)
  clock.move(200)
  assert.deepEqual(expired, ['n2'])
  assert.equal(sessions.heard(n2), false)
  clock.move(sessionTimeoutMs)
  assert.deepEqual(expired, ['n2', 'n1'])
})

test('sessions share one timer, and there is none without sessions', () => {
  const { clock, sessions } = stand()
  assert.equal(clock.timers.size, 0)
  sessions.opened(n1)
  sessions.opened(n2)
  for (let i = 0; i < 5; i++) sessions.heard(n1)
  assert.equal(clock.timers.size, 1)
  clock.move(3 * sessionTimeoutMs)
  assert.equal(clock.timers.size, 0)
})

test('another incarnation of the node says nothing for a session', () => {
  const { clock, expired, sessions } = stand()
  sessions.opened(n1)
  const next = { ...n1, incarnation: 'c' as Incarnation }
  assert.equal(sessions.heard(next), false)
  sessions.opened(next)
  assert.equal(sessions.heard(n1), false)
  sessions.ended(n1)
  assert.equal(sessions.heard(next), true)
  clock.move(2 * sessionTimeoutMs)
  assert.deepEqual(expired, ['n1'])
})

test('a store that was itself held up gives sessions time to be heard, but once only', () => {
  const { clock, expired, sessions } = stand()
  sessions.opened(n1)
  sessions.opened(n2)
  clock.move(10 * sessionTimeoutMs, 'at once')
  assert.deepEqual(expired, [])
  assert.equal(sessions.heard(n1), true)
  clock.move(sessionTimeoutMs - 1)
  assert.deepEqual(expired, ['n2'])
  clock.move(2)
  assert.deepEqual(expired, ['n2', 'n1'])
  sessions.opened(n2)
  clock.move(10 * sessionTimeoutMs, 'at once')
  clock.move(10 * sessionTimeoutMs, 'at once')
  assert.deepEqual(expired, ['n2', 'n1', 'n2'])
})

test('a session that could not be ended is tried again', () => {
  const clock = new HandClock()
  let tries = 0
  const sessions: ZeusSessions = new ZeusSessions(clock, (session) => {
    if (++tries < 3) sessions.notEnded(session)
    else sessions.ended(session)
  })
  sessions.opened(n1)
  clock.move(10 * sessionTimeoutMs)
  assert.equal(tries, 3)
  assert.equal(clock.timers.size, 0)
})
