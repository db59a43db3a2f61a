import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hasCode, NdfsError } from './base/errors.ts'
import { type Release, servesFormat } from './base/formats.ts'
import type { NodeId } from './base/ids.ts'
import {
  ClusterFormat,
  type FinishPlan,
  finishUpgrade,
  formatKey,
  planOfFinish,
  readFormat,
  upgradeState,
} from './cluster-format.ts'
import { memoryStore, testPlatform } from './local/store/store-for-tests.ts'
import { storeNode } from './local/store/store-process.ts'
import { StoreZeus } from './zeus/store-zeus.ts'
import type { FormatValue, Versioned, Zeus } from './zeus/zeus.ts'

const release = (oldest: number, newest: number): Release => ({ version: `0.${newest}.0`, oldest, newest })
const { clock, log } = testPlatform

const join = (zeus: Zeus, node: string, of: Release): Promise<ClusterFormat> =>
  ClusterFormat.join({ zeus, node: node as NodeId, release: of, clock, log })

async function withZeus(work: (zeus: Zeus) => Promise<void>): Promise<void> {
  const store = await memoryStore()
  const zeus = new StoreZeus(store.peers, storeNode, testPlatform)
  try {
    await work(zeus)
  } finally {
    await zeus.close()
    await store.close()
  }
}

/** As a node does when it serves. */
async function serve(zeus: Zeus, node: string, of: Release): Promise<ClusterFormat> {
  const format = await join(zeus, node, of)
  await zeus.set(`node/${node}`, {})
  return format
}

test('the first node of a new cluster begins with its newest format; a cluster made before there was the key has format 1', () =>
  withZeus(async (zeus) => {
    assert.equal((await serve(zeus, 'n1', release(2, 3))).now, 3)
    assert.equal((await readFormat(zeus)).format, 3)
    await zeus.delete(formatKey)
    assert.equal((await serve(zeus, 'n1', release(1, 3))).now, 1)
  }))

test('nodes of two releases serve together, and finish raises the format when the last of them can serve it', () =>
  withZeus(async (zeus) => {
    const formats = [await serve(zeus, 'n1', release(1, 1)), await serve(zeus, 'n2', release(1, 2))]
    zeus.watch(formatKey, (_, now) => formats.forEach((format) => format.heard(now?.value as FormatValue)))
    assert.deepEqual(
      formats.map(({ now }) => now),
      [1, 1],
    )
    await assert.rejects(finishUpgrade(zeus), {
      code: 'REFUSED',
      message:
        /^Cannot finish the upgrade\. n1 is of NDFS 0\.1\.0, which serves format 1: no newer format than 1/,
      facts: { nodes: ['n1'] },
    })
    formats[0] = await serve(zeus, 'n1', release(1, 2))
    assert.equal(await finishUpgrade(zeus), 2)
    while (formats.some(({ now }) => now === 1)) await new Promise((resolve) => setTimeout(resolve, 5))
    await assert.rejects(join(zeus, 'n1', release(1, 1)), {
      code: 'REFUSED',
      message: /^Cannot start n1: it is NDFS 0\.1\.0, .* cluster's format is 2\. Install a newer release/,
    })
    await assert.rejects(join(zeus, 'n1', release(3, 4)), /Install an older release/)
    assert.equal((await serve(zeus, 'n1', release(2, 3))).now, 2)
    assert.equal(await finishUpgrade(zeus).catch((error: NdfsError) => error.facts.nodes?.toString()), 'n2')
  }))

test('what was announced by a node that is down counts, and that of a removed one does not', () =>
  withZeus(async (zeus) => {
    await serve(zeus, 'n2', release(1, 1))
    await serve(zeus, 'n1', release(1, 2))
    await zeus.set('setting/n2', { mode: 'removed' })
    await assert.rejects(finishUpgrade(zeus), /n2 is of NDFS/)
    await zeus.delete('node/n2')
    assert.equal(await finishUpgrade(zeus), 2)
    assert.deepEqual(Object.keys((await readFormat(zeus)).nodes), ['n1'])
  }))

test('a node of which nothing is known refuses finish', () =>
  withZeus(async (zeus) => {
    await zeus.set('node/n9', {})
    await serve(zeus, 'n1', release(1, 2))
    await assert.rejects(finishUpgrade(zeus), /n9: not known which formats are served there/)
    assert.deepEqual((await upgradeState(zeus)).members, [
      { node: 'n1', release: release(1, 2) },
      { node: 'n9' },
    ])
  }))

test('what a newer release keeps in the key stays when an older one announces itself', () =>
  withZeus(async (zeus) => {
    await zeus.set(formatKey, { format: 1, nodes: {}, more: 'x' })
    await join(zeus, 'n1', release(1, 1))
    assert.equal(((await zeus.get(formatKey))?.value as { more: string }).more, 'x')
  }))

test('a start waits while Zeus cannot be reached, and a change whose outcome is unknown is made again', () =>
  withZeus(async (zeus) => {
    let failures = 2
    const failing = new Proxy(zeus, {
      get: (of, name: keyof Zeus) => {
        if (name !== 'set') return (of[name] as () => unknown).bind(of)
        return async (key: string, value: unknown, expected?: number) => {
          const version = await of.set(key, value, expected)
          if (failures-- > 0) throw new NdfsError('TIMED_OUT', 'nobody can tell')
          return version
        }
      },
    })
    const sleepless = { ...clock, sleep: () => Promise.resolve() }
    const node = 'n1' as NodeId
    const format = await ClusterFormat.join({
      zeus: failing,
      node,
      release: release(1, 1),
      clock: sleepless,
      log,
    })
    assert.equal(format.now, 1)
  }))

const to = (plan: FinishPlan): unknown => ('to' in plan ? plan.to : plan.nodes)
for (const [what, format, ranges, outcome] of [
  [
    'all serve only what there is',
    1,
    [
      [1, 1],
      [1, 1],
    ],
    1,
  ],
  [
    'all serve the next',
    1,
    [
      [1, 2],
      [1, 2],
    ],
    2,
  ],
  [
    'one does not',
    1,
    [
      [1, 2],
      [1, 1],
    ],
    ['n2'],
  ],
  [
    'one is two ahead',
    1,
    [
      [1, 3],
      [1, 2],
    ],
    2,
  ],
  [
    'one serves nothing that others do',
    1,
    [
      [1, 2],
      [3, 4],
    ],
    ['n2'],
  ],
  [
    'one is behind what there is',
    2,
    [
      [2, 3],
      [1, 1],
    ],
    ['n2'],
  ],
] as const)
  test(`what finish would do: ${what}`, () => {
    const members = ranges.map(([oldest, newest], index) => ({
      node: `n${index + 1}`,
      release: release(oldest, newest),
    }))
    assert.deepEqual(to(planOfFinish({ format, members })), outcome)
  })

// --- every order of the steps of starts and a finish -----------------------------------------------------------------

/** Keys in memory. A call takes effect when its turn comes, and whoever made it hears of it before the next one does. */
class Turns {
  readonly #keys = new Map<string, Versioned>()
  readonly waiting: { readonly who: string; readonly effect: () => void }[] = []

  constructor(keys: Readonly<Record<string, unknown>>) {
    for (const [key, value] of Object.entries(keys)) this.#keys.set(key, { key, value, version: 1 })
  }

  as(who: string): Zeus {
    // An effect that throws rejects what it settles.
    const turn = <T>(effect: () => T): Promise<T> =>
      new Promise((resolve) => {
        this.waiting.push({ who, effect: () => resolve(new Promise((settle) => settle(effect()))) })
      })
    return {
      get: (key: string) => turn(() => this.#keys.get(key)),
      list: (prefix: string) =>
        turn(() => [...this.#keys.values()].filter(({ key }) => key.startsWith(prefix))),
      set: (key: string, value: unknown, expected: number) =>
        turn(() => {
          const version = this.#keys.get(key)?.version ?? 0
          if (version !== expected) throw new NdfsError('CONFLICT', 'another version', { version })
          this.#keys.set(key, { key, value, version: version + 1 })
          return version + 1
        }),
    } as unknown as Zeus
  }

  get format(): number {
    return (this.#keys.get(formatKey)?.value as FormatValue).format
  }
}

/** One run: `choices` says who is next each time, and the first from then on. Resolves to how many there were to choose from. */
async function play(
  choices: readonly number[],
  starts: Readonly<Record<string, Release>>,
): Promise<number[]> {
  const both = { n1: release(1, 2), n2: release(1, 2) }
  const turns = new Turns({ [formatKey]: { format: 1, nodes: both }, 'node/n1': {}, 'node/n2': {} })
  const serving: Release[] = []
  const raised: number[] = []
  const started = Object.entries(starts).map(([node, of]) =>
    join(turns.as(node), node, of).then(
      () => serving.push(of),
      (error: unknown) => assert.ok(hasCode(error, 'REFUSED'), String(error)),
    ),
  )
  const finished = finishUpgrade(turns.as('finish')).then(
    (format) => raised.push(format),
    (error: unknown) => assert.ok(hasCode(error, 'REFUSED'), String(error)),
  )
  let isOver = false
  void Promise.all([...started, finished]).then(() => (isOver = true))
  const widths: number[] = []
  for (;;) {
    await new Promise((resolve) => setImmediate(resolve))
    if (isOver) break
    widths.push(turns.waiting.length)
    const [next] = turns.waiting.splice(choices[widths.length - 1] ?? 0, 1)
    next.effect()
  }
  assert.deepEqual(raised, turns.format === 2 ? [2] : [])
  for (const of of serving)
    assert.ok(servesFormat(of, turns.format), `one of ${of.version} serves format ${turns.format}`)
  return widths
}

for (const [what, starts] of [
  ['a node that went back to the older release', { n2: release(1, 1) }],
  ['a new node of the older release', { n3: release(1, 1) }],
  ['a node that goes forward two releases', { n2: release(2, 3) }],
] as const)
  test(`in every order of steps, ${what} does not serve under a format that it does not know`, async () => {
    let runs = 0
    const outcomes = async (choices: readonly number[]): Promise<void> => {
      const widths = await play(choices, starts)
      runs++
      for (let at = choices.length; at < widths.length; at++)
        for (let other = 1; other < widths[at]; other++)
          await outcomes([...choices, ...Array<number>(at - choices.length).fill(0), other])
    }
    await outcomes([])
    assert.ok(runs > 10, `${runs} orders`)
  })
