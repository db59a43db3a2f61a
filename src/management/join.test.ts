import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { nodePlatform } from '../platform/node-platform.ts'
import {
  answerToJoin,
  askToJoin,
  decodeJoinToken,
  encodeJoinToken,
  isProven,
  type JoinToken,
  newTokenNumber,
  tokenSecret,
} from './join.ts'

const { chance } = nodePlatform({ level: 'silent' })
const key = chance.bytes(32)
const secrets = { key: key.toString('hex'), token: 'the-operators' }
const machine = 'ab'.repeat(16)
const release = { version: '0.1.0', oldest: 1, newest: 1 }

function newJoinToken(): JoinToken {
  const number = newTokenNumber(chance)
  return {
    apis: ['10.0.0.1:9440', '[fd00::1]:9440'],
    cluster: '01'.repeat(8),
    number,
    secret: tokenSecret(key, number),
  }
}

test('a join token is one word, and is read as it was written', () => {
  const token = newJoinToken()
  const written = encodeJoinToken(token)
  assert.match(written, /^ndfs-join-[\w-]+$/)
  assert.deepEqual(decodeJoinToken(`  ${written}\n`), token)
})

test('what is no join token is not read as one', () => {
  const written = encodeJoinToken(newJoinToken())
  for (const text of ['', 'ndfs-join-', written.slice(0, 60), written.replace('join', 'jion')])
    assert.equal(decodeJoinToken(text), undefined)
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => decodeJoinToken(`ndfs-join-${text}`) !== null),
  )
})

test('who shows a token is given the key, and who reads along sees none of it', () => {
  const token = newJoinToken()
  const { request, open } = askToJoin(token, { node: 'n2', machine, release }, chance)
  assert.ok(isProven(token.secret, request))
  const answer = answerToJoin(token.secret, request, secrets, chance)
  assert.deepEqual(open(answer), secrets)
  const wire = JSON.stringify({ request, answer })
  for (const secret of [secrets.key, secrets.token, token.secret.toString('hex')])
    assert.ok(!wire.includes(secret))
})

test('a request that was changed on its way is not proven, nor is one with another token', () => {
  const token = newJoinToken()
  const { request } = askToJoin(token, { node: 'n2', machine, release }, chance)
  assert.ok(!isProven(newJoinToken().secret, request))
  for (const change of [
    { node: 'n3' },
    { machine: 'cd'.repeat(16) },
    { release: { ...release, newest: 2 } },
    { publicKey: '00'.repeat(32) },
  ])
    assert.ok(!isProven(token.secret, { ...request, ...change }))
})

test('an answer of somebody else, to somebody else, or with a changed bit, is refused', () => {
  const token = newJoinToken()
  const { request, open } = askToJoin(token, { node: 'n2', machine, release }, chance)
  const other = askToJoin(token, { node: 'n2', machine, release }, chance)
  const refused = { code: 'REFUSED', message: /not from a node that knows the token/ }
  assert.throws(() => open(answerToJoin(newJoinToken().secret, request, secrets, chance)), refused)
  assert.throws(() => open(answerToJoin(token.secret, other.request, secrets, chance)), refused)
  const { publicKey, sealed } = answerToJoin(token.secret, request, secrets, chance)
  const last = (Number.parseInt(sealed.at(-1)!, 16) ^ 1).toString(16)
  assert.throws(() => open({ publicKey, sealed: sealed.slice(0, -1) + last }), refused)
  assert.throws(() => open({ publicKey, sealed: sealed.slice(0, 60) }), refused)
  assert.throws(() => open({ publicKey: '00'.repeat(32), sealed }), refused)
})
