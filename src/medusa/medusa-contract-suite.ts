/**
 * The promises of medusa.ts as tests: every store behind it passes them.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { NdfsError, hasCode } from '../base/errors.ts'
import type { Epoch } from '../base/ids.ts'
import type { Chance, Clock } from '../platform/platform.ts'
import type { Change, Medusa, PartitionName } from './medusa.ts'
import { changeBytesMax, changeForCertain, newChangeId } from './medusa.ts'

export interface MedusaUnderTest {
  /** One more client of the same empty store, as on one more node. Whoever made the stand closes it. */
  readonly client: () => Medusa
  readonly clock: Clock
  readonly chance: Chance
  /** Runs the world until the promise settles: virtual time has to be driven. */
  run<T>(work: Promise<T>): Promise<T>
}

const map: PartitionName = { table: 'map', key: '7.1.0' }
const epoch = (value: number) => value as Epoch
const neverChanged = { epoch: 0, version: 0, changeId: '' }

export function medusaContract(
  name: string,
  withMedusa: (body: (given: MedusaUnderTest) => Promise<void>) => Promise<void>,
): void {
  const it = (sentence: string, body: (given: MedusaUnderTest) => Promise<void>): void =>
    void test(`${name}: ${sentence}`, () => withMedusa((given) => given.run(body(given))))

  it('a partition that was never changed has epoch 0, version 0 and no rows', async ({ client }) => {
    const medusa = client()
    assert.deepEqual(await medusa.get(map), { static: neverChanged, rows: [] })
    assert.deepEqual(await medusa.get(map, ['a']), { static: neverChanged, rows: [] })
    assert.deepEqual(await medusa.scan(map), { static: neverChanged, rows: [] })
  })

  it('a change puts and deletes rows, all of them or none', async ({ client, chance }) => {
    const [here, there] = [client(), client()]
    const one = change(chance, 0, 0, { epoch: epoch(3), put: rowsOf({ b: 'two', a: 'one', c: '' }) })
    const static1 = { epoch: 3, version: 1, changeId: one.id }
    assert.deepEqual(await here.change(map, one), { outcome: 'applied', static: static1 })
    assert.deepEqual(await textsOf(there, map), { a: 'one', b: 'two', c: '' })
    const two = change(chance, 3, 1, { put: rowsOf({ a: 'new' }), delete: ['b', 'never'] })
    const static2 = { epoch: 3, version: 2, changeId: two.id }
    assert.deepEqual(await there.change(map, two), { outcome: 'applied', static: static2 })
    assert.deepEqual(await here.get(map, ['c', 'b', 'a', 'a']), {
      static: static2,
      rows: rowsOf({ a: 'new', c: '' }),
    })
  })

  it('one row of many partitions is read at once, in the order that was asked for, however much it is', async ({
    client,
    chance,
  }) => {
    const [here, there] = [client(), client()]
    const long = 'x'.repeat(600 * 1024)
    const keys = Array.from({ length: 12 }, (_, i) => `${i}`)
    for (const key of keys)
      await here.change(
        { table: 'inode', key },
        change(chance, 0, 0, { put: rowsOf({ a: key + long, b: '' }) }),
      )
    const asked = ['7', 'never', ...keys, '7']
    const found = await there.getOfMany('inode', asked, 'a')
    const texts = found.map((value) => value?.toString().replace(long, ''))
    assert.deepEqual(texts, ['7', undefined, ...keys, '7'])
    assert.deepEqual(await there.getOfMany('inode', ['1', '2'], 'c'), [undefined, undefined])
    assert.deepEqual(await there.getOfMany('directory', ['1'], 'a'), [undefined])
    assert.deepEqual(await there.getOfMany('inode', [], 'a'), [])
  })

  it('C2, I4: a change on another epoch or another version changes nothing', async ({ client, chance }) => {
    const medusa = client()
    const made = change(chance, 0, 0, { epoch: epoch(2), put: rowsOf({ a: 'kept' }) })
    const present = { epoch: 2, version: 1, changeId: made.id }
    await medusa.change(map, made)
    for (const [atEpoch, version] of [
      [0, 0],
      [2, 0],
      [2, 2],
      [1, 1],
      [3, 1],
    ]) {
      const late = change(chance, atEpoch, version, { epoch: epoch(9), put: rowsOf({ a: 'x', b: 'x' }) })
      assert.deepEqual(await medusa.change(map, late), { outcome: 'conflict', static: present })
      const drop = change(chance, atEpoch, version, { epoch: epoch(9), drop: true })
      assert.deepEqual(await medusa.change(map, drop), { outcome: 'conflict', static: present })
    }
    assert.deepEqual(await medusa.get(map), { static: present, rows: rowsOf({ a: 'kept' }) })
  })

  it('a change that was made is in conflict when it comes again', async ({ client, chance }) => {
    const medusa = client()
    const made = change(chance, 0, 0, { put: rowsOf({ a: 'once' }) })
    const { static: present } = await medusa.change(map, made)
    assert.deepEqual(await medusa.change(map, made), { outcome: 'conflict', static: present })
  })

  it('of many changes on the same version exactly one is made', async ({ client, chance, clock }) => {
    const clients = [client(), client(), client()]
    for (let version = 0; version < 5; version++) {
      // A store may lose count in the crowd, and say that it did.
      const results = await Promise.all(
        Array.from({ length: 12 }, (_, i) => {
          const wanted = change(chance, 0, version, { put: rowsOf({ by: `${version}.${i}` }) })
          return changeForCertain(clients[i % 3], clock, map, wanted, () => true)
        }),
      )
      const winners = results.flatMap(({ outcome }, i) => (outcome === 'applied' ? [i] : []))
      assert.equal(winners.length, 1)
      assert.deepEqual(await textsOf(clients[0], map), { by: `${version}.${winners[0]}` })
    }
  })

  it('partitions and tables do not touch one another', async ({ client, chance }) => {
    const medusa = client()
    const places: PartitionName[] = [
      { table: 'map', key: 'a' },
      { table: 'map', key: 'ab' },
      { table: 'group', key: 'a' },
      { table: 'vdisk', key: 'a' },
      { table: 'groups-of', key: 'a' },
    ]
    for (const place of places)
      await medusa.change(place, change(chance, 0, 0, { put: rowsOf({ is: `${place.table} ${place.key}` }) }))
    for (const place of places)
      assert.deepEqual(await textsOf(medusa, place), { is: `${place.table} ${place.key}` })
  })

  it('a scan goes through the rows in the order of their bytes, between its bounds', async ({
    client,
    chance,
  }) => {
    const medusa = client()
    const keys = ['10', '2', 'a', 'b', 'ä', '\u{ffee}', '😀']
    await medusa.change(map, change(chance, 0, 0, { put: [...keys].reverse().map((key) => row(key, key)) }))
    const keysOf = async (options: Parameters<Medusa['scan']>[1]) =>
      (await medusa.scan(map, options)).rows.map(({ key }) => key)
    assert.deepEqual(await keysOf({}), keys)
    assert.deepEqual(await keysOf({ after: '2' }), keys.slice(2))
    assert.deepEqual(await keysOf({ after: '20', before: 'ä' }), ['a', 'b'])
    assert.deepEqual(await keysOf({ after: '10', limit: 3 }), ['2', 'a', 'b'])
    assert.deepEqual(await keysOf({ before: '2', limit: 9 }), ['10'])
    assert.deepEqual(
      (await medusa.get(map, [...keys].reverse())).rows.map(({ key }) => key),
      keys,
    )
  })

  it('what is larger than one answer is read whole, and at one version', async ({
    client,
    chance,
    clock,
  }) => {
    const [reader, writer] = [client(), client()]
    const value = Buffer.alloc(changeBytesMax - 100)
    let version = 0
    for (; version < 9; version++) {
      value.fill(version)
      await writer.change(map, change(chance, 0, version, { put: [{ key: `${version}`, value }] }))
    }
    // While it is read, all rows are marked anew in one change, again and again.
    let reading = true
    const marking = (async () => {
      for (; reading; version++) {
        const put = Array.from({ length: 9 }, (_, i) => row(`m${i}`, `${version}`))
        await changeForCertain(writer, clock, map, change(chance, 0, version, { put }), () => true)
        if (version > 20) reading = false
      }
    })()
    for (let reads = 0; reads < 3; reads++) {
      const all = await reader.get(map).catch((error: unknown) => {
        // It may say that it found no quiet moment, but never mix.
        assert.ok(hasCode(error, 'UNAVAILABLE', 'TIMED_OUT'))
      })
      if (all) assert.ok(new Set(all.rows.filter(isMark).map((mark) => String(mark.value))).size <= 1)
    }
    reading = false
    await marking
    const { rows } = await reader.get(map)
    assert.equal(rows.filter((found) => !isMark(found)).length, 9)
    for (const { key, value: bytes } of rows.filter((found) => !isMark(found)))
      assert.ok(bytes.length === value.length && bytes.every((byte) => byte === Number(key)))
    assert.deepEqual((await reader.get(map, ['0', '8', '4'])).rows.length, 3)
    assert.deepEqual((await reader.get(map, ['0', '1', '2', '3', '4', '5', '6', 'x'])).rows.length, 7)
  })

  it('a dropped partition is as if it had never been', async ({ client, chance }) => {
    const medusa = client()
    await medusa.change(map, change(chance, 0, 0, { epoch: epoch(4), put: rowsOf({ a: '1', b: '2' }) }))
    const dropped = await medusa.change(map, change(chance, 4, 1, { drop: true }))
    assert.deepEqual(dropped, { outcome: 'applied', static: neverChanged })
    assert.deepEqual(await medusa.get(map), { static: neverChanged, rows: [] })
    await medusa.change(map, change(chance, 0, 0, { put: rowsOf({ c: '3' }) }))
    assert.deepEqual(await textsOf(medusa, map), { c: '3' })
  })

  it('a change that makes no sense is refused, and changes nothing', async ({ client, chance }) => {
    const medusa = client()
    const half = Buffer.alloc(changeBytesMax / 2)
    const refused: [PartitionName, Change][] = [
      [map, { ...change(chance, 0, 0, {}), id: 'short' }],
      [map, change(chance, 2, 0, { epoch: epoch(1) })],
      [map, change(chance, 0, 0, { put: [row('', 'x')] })],
      [map, change(chance, 0, 0, { put: [row('a', 'x'), row('a', 'y')] })],
      [map, change(chance, 0, 0, { put: [row('a', 'x')], delete: ['a'] })],
      [map, change(chance, 0, 0, { put: [row('a', 'x')], drop: true })],
      [
        map,
        change(chance, 0, 0, {
          put: [
            { key: 'a', value: half },
            { key: 'b', value: half },
          ],
        }),
      ],
      [{ table: 'map', key: '' }, change(chance, 0, 0, {})],
      [{ table: 'none' as 'map', key: 'a' }, change(chance, 0, 0, {})],
    ]
    for (const [place, senseless] of refused)
      await assert.rejects(
        async () => medusa.change(place, senseless),
        (error) => hasCode(error, 'REFUSED'),
      )
    assert.deepEqual(await medusa.get(map), { static: neverChanged, rows: [] })
    const largest = { key: 'k', value: Buffer.alloc(changeBytesMax - 1) }
    assert.equal((await medusa.change(map, change(chance, 0, 0, { put: [largest] }))).outcome, 'applied')
  })

  it('C2: an unknown outcome is found out, and the change is made exactly once', async ({
    client,
    chance,
    clock,
  }) => {
    const medusa = client()
    for (const loss of ['request', 'answer', 'request, then answer', 'answer, then reads'] as const) {
      const key = { table: 'vdisk', key: loss } as const
      const wanted = change(chance, 0, 0, { epoch: epoch(1), put: rowsOf({ a: loss }) })
      const result = await changeForCertain(losing(medusa, loss), clock, key, wanted, () => true)
      assert.deepEqual(result, {
        outcome: 'applied',
        static: { epoch: 1, version: 1, changeId: wanted.id },
      })
      assert.deepEqual(await medusa.get(key), { static: result.static, rows: rowsOf({ a: loss }) })
      // Dropping has no change id to be known by.
      const drop = change(chance, 1, 1, { drop: true })
      const dropped = await changeForCertain(losing(medusa, loss), clock, key, drop, () => true)
      assert.deepEqual(dropped, { outcome: 'applied', static: neverChanged })
    }
  })

  it('C2: an unknown outcome behind which another change stands is a conflict', async ({
    client,
    chance,
    clock,
  }) => {
    const medusa = client()
    const other = change(chance, 0, 0, { epoch: epoch(8) })
    const lost = losing(medusa, 'request', async () => void (await medusa.change(map, other)))
    const wanted = change(chance, 0, 0, { put: rowsOf({ a: 'x' }) })
    assert.deepEqual(await changeForCertain(lost, clock, map, wanted, () => true), {
      outcome: 'conflict',
      static: { epoch: 8, version: 1, changeId: other.id },
    })
    assert.deepEqual(await textsOf(medusa, map), {})
  })

  it('an outcome that stays unknown is given up when the caller says so', async ({
    client,
    chance,
    clock,
  }) => {
    const medusa = client()
    let tries = 0
    const dead: Pick<Medusa, 'get' | 'change'> = {
      get: () => Promise.reject(lostAnswer()),
      change: () => Promise.reject(lostAnswer()),
    }
    await assert.rejects(
      changeForCertain(dead, clock, map, change(chance, 0, 0, {}), () => ++tries < 3),
      (error) => hasCode(error, 'TIMED_OUT'),
    )
    assert.equal(tries, 3)
    // What is refused for good is not tried again.
    const empty = change(chance, 0, 0, { put: [row('', '')] })
    await assert.rejects(
      changeForCertain(medusa, clock, map, empty, () => assert.fail('tried again')),
      (error) => hasCode(error, 'REFUSED'),
    )
  })
}

function change(
  chance: Chance,
  atEpoch: number,
  version: number,
  rest: Partial<Pick<Change, 'epoch' | 'put' | 'delete' | 'drop'>>,
): Change {
  return {
    id: newChangeId(chance),
    expected: { epoch: epoch(atEpoch), version },
    epoch: epoch(atEpoch),
    ...rest,
  }
}

const row = (key: string, text: string) => ({ key, value: Buffer.from(text) })
const rowsOf = (texts: Record<string, string>) => Object.entries(texts).map(([key, text]) => row(key, text))
const isMark = ({ key }: { key: string }): boolean => key.startsWith('m')

async function textsOf(medusa: Medusa, partition: PartitionName): Promise<Record<string, string>> {
  const { rows } = await medusa.get(partition)
  return Object.fromEntries(rows.map(({ key, value }) => [key, String(value)]))
}

const lostAnswer = () => new NdfsError('TIMED_OUT', 'Cannot tell the outcome: the answer was lost')

/** A store whose requests or answers get lost, in that order, before all goes well. */
function losing(
  medusa: Medusa,
  losses: 'request' | 'answer' | 'request, then answer' | 'answer, then reads',
  meanwhile: () => Promise<void> = async () => {},
): Pick<Medusa, 'get' | 'change'> {
  const changeLosses = losses.replace(', then reads', '').split(', then ')
  let readLosses = losses.endsWith('reads') ? 2 : 0
  return {
    async get(partition, rowKeys) {
      if (readLosses-- > 0) throw lostAnswer()
      return medusa.get(partition, rowKeys)
    },
    async change(partition, wanted) {
      const loss = changeLosses.shift()
      if (loss === undefined) return medusa.change(partition, wanted)
      if (loss === 'answer') await medusa.change(partition, wanted)
      await meanwhile()
      throw lostAnswer()
    },
  }
}
