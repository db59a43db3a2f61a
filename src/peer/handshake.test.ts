import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { test } from 'node:test'
import { decodeControl, encodeControl } from '../base/control.ts'
import type { Incarnation, NodeId } from '../base/ids.ts'
import { frameTypes } from './framing.ts'
import { CalledHandshake, CallerHandshake } from './handshake.ts'
import type { Message, Self, Step } from './handshake.ts'

const key = Buffer.alloc(32, 1)
const self = (node: string, change: Partial<Self> = {}): Self => ({
  cluster: 'c-1',
  node: node as NodeId,
  incarnation: `incarnation-of-${node}` as Incarnation,
  key,
  versions: { least: 1, greatest: 1 },
  ...change,
})

/** Lets the two talk, with `between` in the wire, until nobody has anything more to say. */
function talk(
  caller: Self,
  called: Self,
  expected = 'n2',
  between: (message: Message) => Message = (message) => message,
): { caller: Step | undefined; called: Step | undefined } {
  const left = new CallerHandshake(caller, expected as NodeId, 'forward', Buffer.alloc(16, 2))
  const right = new CalledHandshake(called, Buffer.alloc(16, 3))
  const steps: { caller: Step | undefined; called: Step | undefined } = {
    caller: undefined,
    called: undefined,
  }
  let toCalled: readonly Message[] = [left.begin()]
  while (toCalled.length > 0) {
    const toCaller: Message[] = []
    for (const message of toCalled) {
      steps.called = right.receive(between(message), 'forward')
      toCaller.push(...steps.called.send)
    }
    const answers: Message[] = []
    for (const message of toCaller) {
      if (steps.caller?.state === 'refused') break
      steps.caller = left.receive(between(message))
      answers.push(...steps.caller.send)
    }
    toCalled = answers
  }
  return steps
}

const reasonOf = (step: Step | undefined): string =>
  step?.state === 'refused' ? step.reason : `${step?.state}`

test('two nodes with the key of one cluster prove themselves to each other', () => {
  const steps = talk(self('n1'), self('n2'))
  assert.equal(steps.caller?.state, 'proven')
  assert.deepEqual(steps.caller?.peer, {
    node: 'n2',
    incarnation: 'incarnation-of-n2',
    lane: 'forward',
    version: 1,
  })
  assert.equal(steps.called?.state, 'proven')
  assert.deepEqual(steps.called?.peer, {
    node: 'n1',
    incarnation: 'incarnation-of-n1',
    lane: 'forward',
    version: 1,
  })
})

test('the greatest version that both know is taken', () => {
  const steps = talk(
    self('n1', { versions: { least: 1, greatest: 4 } }),
    self('n2', { versions: { least: 2, greatest: 3 } }),
  )
  assert.ok(steps.called?.state === 'proven' && steps.called.peer.version === 3)
})

for (const [what, caller, called, expected, sentence] of [
  ['another key', { key: Buffer.alloc(32, 9) }, {}, 'n2', /does not have the key of the cluster/],
  ['another cluster', { cluster: 'c-9' }, {}, 'n2', /caller is of cluster c-9, the node called of c-1/],
  [
    'an unknown version',
    { versions: { least: 2, greatest: 3 } },
    {},
    'n2',
    /versions 2 to 3 .* 1 to 1; install/,
  ],
  ['another node than was called', {}, {}, 'n3', /here is n2, and n3 was called/],
] as const)
  test(`${what} is refused, and both sides are told why`, () => {
    const steps = talk(self('n1', caller), self('n2', called), expected)
    assert.match(reasonOf(steps.caller), sentence)
    assert.match(reasonOf(steps.called), sentence)
  })

const release = (oldest: number, newest: number, now: number): Pick<Self, 'formats'> => ({
  formats: { release: { version: `0.${newest}.0`, oldest, newest }, now: () => now },
})

for (const [what, caller, called, sentence] of [
  [
    'a caller that is too old',
    release(1, 1, 0),
    release(1, 2, 2),
    /the caller is of NDFS 0\.1\.0, which serves format 1, and the cluster's format is 2/,
  ],
  ['a caller that is too new', release(2, 3, 0), release(1, 2, 1), /the caller is of NDFS 0\.3\.0, .* is 1;/],
  ['a node called that is too old', release(1, 2, 2), release(1, 1, 1), /the node called is of NDFS 0\.1\.0/],
] as const)
  test(`${what} for the cluster's format is refused, and both sides are told why`, () => {
    const steps = talk(self('n1', caller), self('n2', called))
    assert.match(reasonOf(steps.caller), sentence)
    assert.match(reasonOf(steps.called), sentence)
  })

for (const [what, caller, called] of [
  ['one of which has not heard yet that the format was raised', release(1, 2, 1), release(2, 3, 2)],
  ['neither of which knows the format', release(1, 1, 0), release(3, 4, 0)],
  ['one of which is no node', release(1, 1, 1), {}],
] as const)
  test(`two talk, ${what}`, () => {
    for (const [one, other] of [
      [caller, called],
      [called, caller],
    ])
      assert.equal(talk(self('n1', one), self('n2', other)).called?.state, 'proven')
  })

test('whoever has only seen the node called, and not its key, can’t prove anything', () => {
  const right = new CalledHandshake(self('n2'), Buffer.alloc(16, 3))
  const hello = new CallerHandshake(self('n1'), 'n2' as NodeId, 'forward', Buffer.alloc(16, 2)).begin()
  const [, proof] = right.receive(hello, 'forward').send
  // Its own proof, sent back.
  assert.match(reasonOf(right.receive(proof, 'forward')), /does not have the key/)
})

test('a message changed on its way is noticed', () => {
  for (const type of [frameTypes.hello, frameTypes.challenge]) {
    const steps = talk(self('n1'), self('n2'), 'n2', (message) => {
      if (message.type !== type) return message
      const said = decodeControl<Record<string, unknown>>(message.body)
      return { type, body: encodeControl({ ...said, incarnation: 'forged' }) }
    })
    assert.match(reasonOf(steps.caller), /does not have the key/)
  }
})

test('a proof is the HMAC of the side, the lengths and both messages', () => {
  const right = new CalledHandshake(self('n2'), Buffer.alloc(16, 3))
  const hello = new CallerHandshake(self('n1'), 'n2' as NodeId, 'forward', Buffer.alloc(16, 2)).begin().body
  const [challenge, proof] = right.receive({ type: frameTypes.hello, body: hello }, 'forward').send
  const lengths = Buffer.alloc(8)
  lengths.writeUInt32LE(hello.length, 0)
  lengths.writeUInt32LE(challenge.body.length, 4)
  const byHand = (side: string): Buffer =>
    createHmac('sha256', key)
      .update(Buffer.concat([Buffer.from(`ndfs peer ${side}`), lengths, hello, challenge.body]))
      .digest()
  assert.deepEqual(proof.body, byHand('called'))
  assert.equal(right.receive({ type: frameTypes.proof, body: byHand('caller') }, 'forward').state, 'proven')
})

test('nonsense from a stranger is refused', () => {
  const good = decodeControl<Record<string, unknown>>(
    new CallerHandshake(self('n1'), 'n2' as NodeId, 'forward', Buffer.alloc(16, 2)).begin().body,
  )
  for (const hello of [
    Buffer.alloc(0),
    Buffer.from([0xff, 0xff, 0xff]),
    encodeControl(7),
    encodeControl(null),
    encodeControl({ ...good, nonce: Buffer.alloc(3) }),
    encodeControl({ ...good, lane: 'terminal' }),
    encodeControl({ ...good, versions: null }),
    encodeControl({ ...good, formats: null }),
    encodeControl({ ...good, formats: { version: '1', oldest: 1, newest: 'x', now: 1 } }),
    encodeControl({ ...good, node: { toString: 'x' } }),
    encodeControl({ ...good, cluster: 'x\n\u001b[31m'.repeat(99) }),
  ]) {
    const step = new CalledHandshake(self('n2'), Buffer.alloc(16, 3)).receive(
      { type: frameTypes.hello, body: hello },
      'forward',
    )
    assert.equal(step.state, 'refused')
    assert.match(reasonOf(step), /^[\x20-\x7e]{1,300}$/)
  }
  for (const type of [frameTypes.proof, frameTypes.welcome, frameTypes.request]) {
    const step = new CalledHandshake(self('n2'), Buffer.alloc(16, 3)).receive(
      { type, body: Buffer.alloc(0) },
      'forward',
    )
    assert.match(reasonOf(step), /out of its turn/)
  }
})
