/**
 * Random stories: some owners at some nodes lock, unlock, wait, cancel, and start again, one after the other or some at once, with messages
 * that take a random while and changes whose outcome is lost. Answers and locks must be those of a model that knows each byte, in at least
 * one order of what was done at once.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pick, type Roll } from '../../base/dice-for-tests.ts'
import { hasCode } from '../../base/errors.ts'
import type { FileLock, LockClient } from './file-locks.ts'
import { clientOf, file, LockModel, LockWorld, ownerOf, seenBy, textOf, wanted } from './fixtures.test.ts'
import type { NodeFileLocks } from './medusa-file-locks.ts'

type Operation =
  | { readonly kind: 'test' | 'unlock' | 'cancel'; readonly lock: FileLock }
  | { readonly kind: 'lock'; readonly lock: FileLock; readonly offer?: string }
  | { readonly kind: 'accept' | 'withdraw'; readonly offer: string }
  | { readonly kind: 'release'; readonly client: LockClient }

/** It was made, or not. */
const unknown = 'unknown'
/** Released: it may have been there until the client lost all. */
const isOpen = (answer: string): boolean => answer === unknown || answer === 'released'
const clients = [clientOf('a'), clientOf('b'), clientOf('a', '10.0.0.2')]
const owners = clients.flatMap((client) => [1, 2].map((svid) => ownerOf(client, svid)))

async function run(locks: NodeFileLocks, operation: Operation): Promise<string> {
  try {
    return await answerOf(locks, operation)
  } catch (error) {
    if (hasCode(error, 'UNAVAILABLE', 'TIMED_OUT')) return unknown
    throw error
  }
}

async function answerOf(locks: NodeFileLocks, operation: Operation): Promise<string> {
  switch (operation.kind) {
    case 'test': {
      const holder = await locks.test(file, operation.lock)
      return holder === undefined ? 'granted' : textOf(holder.owner)
    }
    case 'lock': {
      const { offer } = operation
      const answer = await locks.lock(file, operation.lock, offer === undefined ? {} : { offer, waits: true })
      return answer.outcome === 'denied' ? textOf(answer.holder.owner) : answer.outcome
    }
    case 'unlock':
      await locks.unlock(file, operation.lock.owner, operation.lock.range)
      return 'done'
    case 'cancel':
      await locks.cancel(file, operation.lock)
      return 'done'
    case 'accept':
      await locks.accept(file, operation.offer)
      return 'done'
    case 'withdraw':
      await locks.withdraw(file, operation.offer)
      return 'done'
    case 'release':
      await locks.release(operation.client)
      return 'done'
    default:
      return operation satisfies never
  }
}

/** Does it to the model, and says whether the answer is right. */
function explains(model: LockModel, operation: Operation, answer: string, made: boolean): boolean {
  switch (operation.kind) {
    case 'test':
    case 'lock': {
      if (!made) return true
      const inTheWay = model.inTheWay(operation.lock)
      if (operation.kind === 'lock') model.lock(operation.lock, operation.offer)
      return isOpen(answer) || (inTheWay.length === 0 ? answer === 'granted' : inTheWay.includes(answer))
    }
    case 'unlock':
      if (made) model.unlock(operation.lock)
      return true
    case 'cancel':
      if (made) model.cancel(operation.lock)
      return true
    case 'accept':
      if (made) model.accept(operation.offer)
      return true
    case 'withdraw':
      if (made) model.withdraw(operation.offer)
      return true
    case 'release':
      if (made) model.release(operation.client)
      return true
    default:
      return operation satisfies never
  }
}

function draw(roll: Roll, offers: string[]): Operation {
  const owner = pick(roll, owners)
  const start = roll(12)
  const end = roll(6) === 0 ? undefined : start + 1 + roll(12 - start)
  const lock = wanted(owner, roll(2) === 0, start, end)
  switch (roll(14)) {
    case 0:
      return { kind: 'test', lock }
    case 1:
    case 2:
    case 3:
    case 4:
      return { kind: 'unlock', lock }
    case 5:
      return { kind: 'cancel', lock }
    case 6:
    case 7: {
      const offer = `offer ${offers.length}`
      offers.push(offer)
      return { kind: 'lock', lock, offer }
    }
    case 8:
      return offers.length > 0
        ? { kind: roll(2) === 0 ? 'accept' : 'withdraw', offer: pick(roll, offers) }
        : { kind: 'test', lock }
    case 9:
      return { kind: 'release', client: pick(roll, clients) }
    default:
      return { kind: 'lock', lock }
  }
}

function* orders<T>(items: readonly T[]): Generator<readonly T[]> {
  if (items.length <= 1) yield items
  for (const [i, item] of items.entries())
    for (const rest of orders([...items.slice(0, i), ...items.slice(i + 1)])) yield [item, ...rest]
}

function* choices(count: number): Generator<readonly boolean[]> {
  for (let bits = 0; bits < 2 ** count; bits++)
    yield Array.from({ length: count }, (_, i) => (bits & (1 << i)) === 0)
}

async function story(seed: number, atOnce: number, faulty: boolean, steps: number): Promise<void> {
  const stage = new LockWorld(seed)
  const { world } = stage
  const { roll } = world
  const fates = ['made, unknown', 'not made, unknown'] as const
  const faults = { onChange: () => (faulty && roll(8) === 0 ? pick(roll, fates) : undefined) }
  const nodes = ['n1', 'n2', 'n3'].map((name) => stage.node(name, faults))
  const looker = stage.node('n4')
  let models = [new LockModel()]
  const offers: string[] = []
  for (let step = 0; step < steps; step++) {
    world.delayMs = atOnce > 1 ? 3 : 0
    const operations = Array.from({ length: atOnce }, () => draw(roll, offers))
    const answers = await Promise.all(operations.map((operation) => run(pick(roll, nodes), operation)))
    world.delayMs = 0
    const seen = await seenBy(looker)
    const pairs = operations.map((operation, i) => ({ operation, answer: answers[i] }))
    // Several may fit: what a stranger sees does not tell whose each lock is.
    const fitting = new Map<string, LockModel>()
    for (const order of orders(pairs))
      for (const made of choices(pairs.filter(({ answer }) => isOpen(answer)).length))
        for (const model of models) {
          const tried = model.copy()
          let next = 0
          const right = order.every(({ operation, answer }) =>
            explains(tried, operation, answer, isOpen(answer) ? made[next++] : true),
          )
          if (right && tried.seen() === seen) fitting.set(tried.key(), tried)
        }
    assert.ok(
      fitting.size > 0,
      `seed ${seed}, step ${step}: ${seen}, before ${models[0].seen()}\n${describe(pairs)}`,
    )
    models = [...fitting.values()]
  }
  stage.close()
}

const describe = (pairs: readonly object[]): string =>
  pairs
    .map((pair) =>
      JSON.stringify(pair, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value)),
    )
    .join('\n')

const first = Number(process.env.SEED ?? 1)

test('locks of several owners at several nodes are what a model has that knows each byte', async () => {
  for (let seed = first; seed < first + 6; seed++) await story(seed, 1, false, 200)
})

test('locks are made once, and answered right, where outcomes are lost', async () => {
  for (let seed = first; seed < first + 6; seed++) await story(seed, 1, true, 100)
})

test('what is asked at several nodes at once has the answers and the locks of some order', async () => {
  for (let seed = first; seed < first + 12; seed++) await story(seed, 3, seed % 2 === 0, 60)
})
