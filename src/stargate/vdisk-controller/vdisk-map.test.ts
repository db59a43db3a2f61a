/** What an owner knows of its rows: the vDisk's own, and its map. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hasCode, NdfsError } from '../../base/errors.ts'
import type { LayerId } from '../../base/ids.ts'
import { pagesPerVBlock } from '../../base/units.ts'
import { asEpoch, asSequence, asVDisk, TestNode, TestWorld } from './fixtures.test.ts'
import { GroupPlaces, GroupTable } from './group-table.ts'
import { bad, hole, type VBlock } from './map-row.ts'
import type { MedusaAccess } from './owned-partition.ts'
import { PartitionRows } from './partition-rows.ts'
import { mapPartition, partRowKey, type VDiskState, vdiskPartition } from './rows.ts'
import { type PageRange, VDiskMap } from './vdisk-map.ts'
import { VDiskRow } from './vdisk-row.ts'

const vdisk = asVDisk(1)
const layer = 1 as LayerId
const pagesPerPartition = 1024 * pagesPerVBlock
const state: VDiskState = {
  name: 'c/v',
  state: 'live',
  copies: 2,
  sizeBytes: 4096,
  layer,
  drained: asSequence(0),
  episodes: [],
  clients: {},
}

/** One ownership of the vDisk, without anything but its rows. */
class Ownership {
  readonly world: TestWorld
  readonly node: TestNode
  readonly access: MedusaAccess
  readonly groups: GroupTable
  row!: VDiskRow
  map!: VDiskMap

  constructor(world: TestWorld) {
    this.world = world
    this.node = new TestNode(world, 'n1')
    this.access = { platform: this.node.platform, medusa: this.node.medusa }
    this.groups = new GroupTable(this.node.medusa, new GroupPlaces())
  }

  async begin(epoch: number): Promise<this> {
    this.row = await this.run(VDiskRow.raise(this.access, vdisk, asEpoch(epoch)))
    this.map = new VDiskMap(this.access, this.row, layer, this.groups)
    return this
  }

  run<T>(work: Promise<T>): Promise<T> {
    return this.world.clock.run(work)
  }

  group(counter: number): number {
    return this.groups.handleOf(`1-1-${counter}` as never)
  }

  async entry(page: number): Promise<[group: number, at: number]> {
    const block = await this.run(this.map.loaded(Math.floor(page / pagesPerVBlock)))
    return [block.groups[page % pagesPerVBlock], block.pages[page % pagesPerVBlock]]
  }

  /** Changes the map, and records its least versions, as a drain does. */
  async change(...entries: { page: number; group: number; at: number }[]): Promise<void> {
    await this.run(this.map.change(entries))
    const least = this.map.leastVersions()
    await this.run(this.row.update((now) => now, least))
    this.map.leastVersionsTold(least)
  }
}

async function created(
  seed = 1,
): Promise<{ world: TestWorld; owner: (epoch: number) => Promise<Ownership> }> {
  const world = new TestWorld(seed)
  const first = new Ownership(world)
  await first.run(VDiskRow.create(first.access, vdisk, state))
  return { world, owner: (epoch) => new Ownership(world).begin(epoch) }
}

// --- the row --------------------------------------------------------------------------------------------------------

test('a vDisk is made once', async () => {
  const { world } = await created()
  const again = new Ownership(world)
  await assert.rejects(again.run(VDiskRow.create(again.access, vdisk, state)), (error) =>
    hasCode(error, 'ALREADY_EXISTS'),
  )
  await assert.rejects(again.run(VDiskRow.raise(again.access, asVDisk(2), asEpoch(1))), (error) =>
    hasCode(error, 'NOT_FOUND'),
  )
})

test('an owner raises the epoch before it reads: what it then reads is final (C1)', async () => {
  const { world, owner } = await created()
  const a = await owner(1)
  const b = new Ownership(world)
  // A change of the first owner that is under way when the second raises: it either was there, or fails.
  a.node.beforeChange = () => world.clock.sleep(20)
  const late = a.row.update((now) => ({ ...now, sizeBytes: 8192 }))
  late.catch(() => undefined)
  await b.begin(2)
  assert.equal(b.row.state.sizeBytes, 4096)
  await assert.rejects(a.run(late), (error) => hasCode(error, 'FENCED'))
})

test('a claim under an epoch that the row has already, or below it, is a conflict that names it', async () => {
  const { world, owner } = await created()
  await owner(5)
  for (const epoch of [4, 5]) {
    const late = new Ownership(world)
    await assert.rejects(late.begin(epoch), (error) => hasCode(error, 'CONFLICT') && error.facts.epoch === 5)
  }
})

test('updates of the row come one after the other, each upon the one before', async () => {
  const { owner } = await created()
  const a = await owner(1)
  await a.run(
    Promise.all(
      Array.from({ length: 10 }, () => a.row.update((now) => ({ ...now, sizeBytes: now.sizeBytes + 1 }))),
    ),
  )
  assert.equal(a.row.state.sizeBytes, 4106)
  assert.equal((await a.run(VDiskRow.peek(a.access, vdisk)))?.sizeBytes, 4106)
})

test('an update whose answer is lost is looked after until it is known, and made once (C2)', async () => {
  for (const when of ['before it was made', 'after it was made']) {
    const { world, owner } = await created()
    const a = await owner(1)
    let lost = 0
    const change = a.node.medusa.change.bind(a.node.medusa)
    a.node.medusa.change = async (partition, what) => {
      if (lost++ > 0) return await change(partition, what)
      if (when === 'after it was made') await change(partition, what)
      throw new NdfsError('TIMED_OUT', 'the answer was lost')
    }
    await a.run(a.row.update((now) => ({ ...now, sizeBytes: now.sizeBytes + 1 })))
    const { rows, static: after } = world.engine.run('medusa.get', {
      partition: vdiskPartition(vdisk),
      rowKeys: ['state'],
    })
    assert.equal(rows.length, 1)
    assert.equal(after.version, 3, `made, raised, and updated once: ${when}`)
    assert.equal((await a.run(VDiskRow.peek(a.access, vdisk)))?.sizeBytes, 4097)
  }
})

test('an ownership that was given up changes nothing more', async () => {
  const { owner } = await created()
  const a = await owner(1)
  a.row.giveUp()
  await assert.rejects(a.run(a.row.update((now) => now)), (error) => hasCode(error, 'NOT_OWNER'))
})

test('a serial read proves ownership, or shows that it is over (F10)', async () => {
  const { owner } = await created()
  const a = await owner(1)
  await a.run(a.row.proveOwnership())
  await owner(2)
  await assert.rejects(a.run(a.row.proveOwnership()), (error) => hasCode(error, 'FENCED'))
})

// --- the map --------------------------------------------------------------------------------------------------------

test('the map shows what it was changed to, across partitions, and also to the next owner', async () => {
  const { owner } = await created()
  const a = await owner(1)
  assert.deepEqual(await a.entry(7), [hole, 0])
  const far = pagesPerPartition + 3
  await a.change(
    { page: 7, group: a.group(1), at: 5 },
    { page: 300, group: bad, at: 0 },
    { page: far, group: a.group(2), at: 1023 },
  )
  const b = await owner(2)
  for (const one of [a, b]) {
    assert.deepEqual(await one.entry(7), [one.group(1), 5].map(Number), 'from memory, or read')
    assert.deepEqual(await one.entry(300), [bad, 0])
    assert.deepEqual(await one.entry(far), [one.group(2), 1023])
    assert.deepEqual(await one.entry(far + 1), [hole, 0])
    if (one === a) continue
    await one.change({ page: 7, group: hole, at: 0 })
    assert.deepEqual(await one.entry(7), [hole, 0])
  }
})

test('what changed is told entry by entry, after it is durable', async () => {
  const { owner } = await created()
  const a = await owner(1)
  const told: [number, number, number][] = []
  a.map.onChanged = (vBlock, before, after) => told.push([vBlock, before, after])
  await a.change({ page: 0, group: a.group(1), at: 0 }, { page: 256, group: a.group(1), at: 1 })
  await a.change({ page: 0, group: a.group(2), at: 0 }, { page: 256, group: a.group(1), at: 9 })
  assert.deepEqual(told, [
    [0, hole, a.group(1)],
    [1, hole, a.group(1)],
    [0, a.group(1), a.group(2)],
  ])
})

test('a second owner fences the first: a late change of the map fails (I4, fence, then read)', async () => {
  const { owner } = await created()
  const a = await owner(1)
  await a.change({ page: 7, group: a.group(1), at: 0 })
  const b = await owner(2)
  assert.deepEqual(await b.entry(7), [b.group(1), 0])
  await assert.rejects(a.run(a.map.change([{ page: 7, group: a.group(2), at: 0 }])), (error) =>
    hasCode(error, 'FENCED'),
  )
  assert.deepEqual(await b.entry(7), [b.group(1), 0])
  await assert.rejects(a.run(a.map.load(9999)), (error) => hasCode(error, 'FENCED'))
})

test('a change that is made twice is the same as once', async () => {
  const { owner } = await created()
  const a = await owner(1)
  for (let i = 0; i < 2; i++) await a.change({ page: 7, group: a.group(1), at: 3 })
  const b = await owner(2)
  assert.deepEqual(await b.entry(7), [b.group(1), 3])
})

test('a row of the map that is missing is damage, not a hole (I5)', async () => {
  const { world, owner } = await created()
  await (await owner(1)).change({ page: 7, group: bad, at: 0 }, { page: 300, group: bad, at: 0 })
  world.loseRow(mapPartition(vdisk, layer, 0), 'v0000')
  const b = await owner(2)
  await assert.rejects(b.entry(7), (error) => hasCode(error, 'DAMAGED_METADATA'))
  assert.deepEqual(await b.entry(300), [bad, 0], 'the others are still read')
  assert.deepEqual(await b.entry(600), [hole, 0], 'and what never had a row is a hole')
})

test('a scan that meets less than all rows is damage too: what was counted from it would be freed (I7)', async () => {
  const { world, owner } = await created()
  await (await owner(1)).change({ page: 7, group: bad, at: 0 }, { page: 300, group: bad, at: 0 })
  const scanned = async (epoch: number): Promise<boolean> => {
    const a = await owner(epoch)
    let done = false
    const scan = a.map.scan(
      0,
      () => undefined,
      () => (done = true),
    )
    await a.run(scan)
    return done
  }
  assert.equal(await scanned(2), true)
  world.loseRow(mapPartition(vdisk, layer, 0), 'v0001')
  await assert.rejects(scanned(3), (error) => hasCode(error, 'DAMAGED_METADATA'))
})

test('a partition of the map that is lost, or lacks its digest, is damage (I5, F12)', async () => {
  for (const damage of ['partition', 'digest']) {
    const { world, owner } = await created()
    await (await owner(1)).change({ page: 7, group: bad, at: 0 })
    if (damage === 'partition') world.losePartition(mapPartition(vdisk, layer, 0))
    else world.loseRow(mapPartition(vdisk, layer, 0), 'digest')
    const b = await owner(2)
    await assert.rejects(b.entry(7), (error) => hasCode(error, 'DAMAGED_METADATA'), damage)
  }
})

test('a partition of the map that is older than the vDisk remembers is damage, though each of its rows is sound (I5, F12)', async () => {
  const { world, owner } = await created()
  const name = mapPartition(vdisk, layer, 0)
  const a = await owner(1)
  await a.change({ page: 7, group: bad, at: 0 })
  const { rows } = world.engine.run('medusa.scan', { partition: name, limit: 100 })
  await a.change({ page: 7, group: hole, at: 0 })
  world.losePartition(name)
  world.engine.run('medusa.change', {
    partition: name,
    change: {
      id: '0'.repeat(32),
      expected: { epoch: asEpoch(0), version: 0 },
      epoch: asEpoch(1),
      put: rows.map(({ key, value }) => ({ key, value })),
    },
  })
  const b = await owner(2)
  await assert.rejects(b.entry(7), (error) => hasCode(error, 'DAMAGED_METADATA'))
})

test('a scan sees every entry, changes before it and none after it, in one step', async () => {
  const { owner } = await created()
  const a = await owner(1)
  const vBlocks = 600
  const entries = Array.from({ length: vBlocks }, (_, i) => ({
    page: i * pagesPerVBlock,
    group: a.group(1),
    at: i,
  }))
  await a.change(...entries)
  const counts = new Map<number, number>()
  const count = (group: number, by: number): void => void counts.set(group, (counts.get(group) ?? 0) + by)
  let counted = false
  a.map.onChanged = (_, before, after) => {
    if (!counted) return
    count(before, -1)
    count(after, 1)
  }
  const scan = a.map.scan(
    0,
    (_, block) => {
      for (const group of block.groups) if (group !== hole) count(group, 1)
    },
    () => (counted = true),
  )
  const changes = [3, 599].map((i) => a.map.change([{ page: i * pagesPerVBlock, group: a.group(2), at: 0 }]))
  await a.run(Promise.all([scan, ...changes]))
  assert.deepEqual(
    counts,
    new Map([
      [a.group(1), vBlocks - 2],
      [a.group(2), 2],
    ]),
  )
})

test('only pages that are mapped are given of a range, or of several', async () => {
  const { owner } = await created()
  const a = await owner(1)
  const mapped = [3, 5, 255, 256, 40_000, pagesPerPartition - 1, pagesPerPartition]
  await a.change(...mapped.map((page) => ({ page, group: a.group(1), at: 0 })))
  const found = async (of: Ownership, ranges: readonly PageRange[]): Promise<number[]> => {
    const pages: number[] = []
    const look = async (): Promise<void> => {
      for await (const some of of.map.mappedPages(ranges)) pages.push(...some)
    }
    await of.run(look())
    return pages
  }
  const inMemory = await found(a, [{ page: 4, end: pagesPerPartition }])
  assert.deepEqual(inMemory, [5, 255, 256, 40_000, pagesPerPartition - 1])

  const b = await owner(2)
  const scattered = [
    { page: 3, end: 4 },
    { page: 5, end: 6 },
    { page: 200, end: 256 },
    { page: 257, end: 300 },
    { page: 39_000, end: 40_001 },
    { page: pagesPerPartition - 1, end: 2 * pagesPerPartition },
  ]
  const read = await found(b, scattered)
  assert.deepEqual(read, [3, 5, 255, 40_000, pagesPerPartition - 1, pagesPerPartition])
  assert.deepEqual(await found(b, scattered), read, 'and of what is in memory')
})

test('a version of the map that the row was not told of is told of later, by whoever owns the vDisk then (I5 M10)', async () => {
  const { world, owner } = await created()
  const versionOf = (number: number): number =>
    world.engine.run('medusa.get', { partition: mapPartition(vdisk, layer, number), rowKeys: [] }).static
      .version
  const told = (one: Ownership): Record<string, number> =>
    Object.fromEntries(
      one.map.leastVersions().map(({ key, value }) => [key, Number(value.readBigUInt64LE(0))]),
    )
  const a = await owner(1)
  const inBoth = [7, pagesPerPartition].map((page) => ({ page, group: bad, at: 0 }))
  await a.run(a.map.change(inBoth))
  const [first, second] = [0, 1].map((number) => partRowKey(layer, number))
  assert.deepEqual(told(a), { [first]: versionOf(0), [second]: versionOf(1) })
  const toldOfFirst = a.map.leastVersions().slice(0, 1)
  await a.run(a.map.change(inBoth.slice(0, 1)))
  a.map.leastVersionsTold(toldOfFirst)
  assert.deepEqual(told(a), { [first]: versionOf(0), [second]: versionOf(1) }, 'it has changed since')
  a.map.leastVersionsTold(a.map.leastVersions())
  assert.deepEqual(told(a), {})

  const b = await owner(2)
  await b.entry(7)
  assert.deepEqual(told(b), { [first]: versionOf(0) }, 'nothing of it is in the row')
  await b.change({ page: 7, group: hole, at: 0 })
  const c = await owner(3)
  for (const { page } of inBoth) await c.entry(page)
  assert.deepEqual(told(c), { [second]: versionOf(1) }, 'of the first, all that was changed is')
})

test('a change of many vBlocks with many groups each stays within what Medusa takes at once', async () => {
  const { owner } = await created()
  const a = await owner(1)
  const entries = Array.from({ length: 150 * pagesPerVBlock }, (_, page) => ({
    page,
    group: a.group(page + 1),
    at: page % 2,
  }))
  await a.change(...entries)
  const b = await owner(2)
  assert.deepEqual(await b.entry(149 * pagesPerVBlock + 7), [b.group(149 * pagesPerVBlock + 8), 1])
})

// --- deltas ---------------------------------------------------------------------------------------------------------

const partition = mapPartition(vdisk, layer, 0)
const keysOf = (world: TestWorld, prefix: string): string[] =>
  [...world.table('map').get(partition.key)!.keys()].filter(
    (key) => key.startsWith(prefix) && key !== 'digest',
  )

/** Random changes of few pages in many vBlocks, some of many; what each page points to in the end. */
class Story {
  readonly world: TestWorld
  readonly pages = new Map<number, readonly [group: string, at: number]>()
  owner: Ownership
  #epoch = 1
  readonly #next: (epoch: number) => Promise<Ownership>

  private constructor(world: TestWorld, owner: Ownership, next: (epoch: number) => Promise<Ownership>) {
    this.world = world
    this.owner = owner
    this.#next = next
  }

  static async begin(seed: number): Promise<Story> {
    const { world, owner } = await created(seed)
    return new Story(world, await owner(1), owner)
  }

  async takeOver(): Promise<void> {
    this.owner = await this.#next(++this.#epoch)
  }

  /** `vBlocks` of the first ones are changed, `runs` in each. */
  async change(vBlocks: number, runs: number, runMax = 3): Promise<void> {
    const { random } = this.world
    const entries = new Map<number, { page: number; group: number; at: number }>()
    for (let vBlock = 0; vBlock < vBlocks; vBlock++)
      for (let run = 0; run < runs; run++) {
        const from = random(pagesPerVBlock)
        const kind = random(12)
        const name = kind === 0 ? 'hole' : kind === 1 ? 'bad' : `1-1-${1 + random(40)}`
        const group = kind === 0 ? hole : kind === 1 ? bad : this.owner.groups.handleOf(name as never)
        const first = random(500)
        for (let i = 0; i < 1 + random(runMax) && from + i < pagesPerVBlock; i++) {
          const page = vBlock * pagesPerVBlock + from + i
          const at = kind < 2 ? 0 : first + i
          entries.set(page, { page, group, at })
          this.pages.set(page, [name, at])
        }
      }
    await this.owner.change(...[...entries.values()].sort((a, b) => a.page - b.page))
  }

  /** Throws where the owner's map is another; what it finds to be damaged is passed over, and told. */
  async verify(owner = this.owner): Promise<number> {
    let damaged = 0
    for (let vBlock = 0; vBlock <= Math.max(...this.pages.keys()) / pagesPerVBlock; vBlock++) {
      const block = await owner.run(owner.map.loaded(vBlock)).catch((error: unknown) => {
        if (!hasCode(error, 'DAMAGED_METADATA')) throw error
        damaged++
      })
      if (block) this.assertSame(vBlock, block, (handle) => owner.groups.idOf(handle))
    }
    return damaged
  }

  assertSame(vBlock: number, block: VBlock, idOf: (handle: number) => string | undefined): void {
    for (let i = 0; i < pagesPerVBlock; i++) {
      const handle = block.groups[i]
      const is = [handle === hole ? 'hole' : handle === bad ? 'bad' : idOf(handle), block.pages[i]]
      assert.deepEqual(
        is,
        this.pages.get(vBlock * pagesPerVBlock + i) ?? ['hole', 0],
        `page ${i} of vBlock ${vBlock}`,
      )
    }
  }
}

test('M18: what few pages of many vBlocks became stands in deltas, which every owner reads, and anybody else', async () => {
  for (let seed = 1; seed <= 6; seed++) {
    const story = await Story.begin(seed)
    await story.change(24, 120, 1)
    let deltas = 0
    for (let i = 0; i < 40; i++) {
      await story.change(24, i % 9 === 8 ? 100 : 2)
      if (i % 7 === 6) await story.takeOver()
      if (i % 5 === 4) await story.verify()
      deltas = Math.max(deltas, keysOf(story.world, 'd').length)
      assert(keysOf(story.world, 'd').length <= 16)
    }
    assert(deltas > 3, `${deltas} deltas at most`)
    await story.takeOver()
    assert.equal(await story.verify(), 0)
    const counted = new Map<number, VBlock>()
    await story.owner.run(
      story.owner.map.scan(
        0,
        (vBlock, block) => void counted.set(vBlock, block),
        () => undefined,
      ),
    )
    assert.equal(counted.size, 24)
    const read = new PartitionRows(
      [...story.world.table('map').get(partition.key)!].map(([key, value]) => ({ key, value })),
    )
    for (const [vBlock, block] of counted) {
      story.assertSame(vBlock, block, (handle) => story.owner.groups.idOf(handle))
      story.assertSame(vBlock, read.vBlock(vBlock)!, (handle) => read.idOf(handle))
    }
  }
})

test('M18: a row or delta that is lost, any one of them, is damage to what rests on it, and to nothing else (I5, F12)', async () => {
  const story = await Story.begin(7)
  await story.change(12, 120, 1)
  for (let i = 0; i < 20; i++) await story.change(12, 2)
  const rows = story.world.table('map').get(partition.key)!
  const keys = [...keysOf(story.world, 'v'), ...keysOf(story.world, 'd')]
  assert(keysOf(story.world, 'd').length > 4)
  for (const key of keys) {
    const value = rows.get(key)!
    await story.takeOver()
    story.world.loseRow(partition, key)
    const damaged = await story.verify()
    if (key.startsWith('v')) assert.equal(damaged, 1, key)
    story.world.putRow(partition, key, value)
  }
  await story.takeOver()
  assert.equal(await story.verify(), 0)
})

/** Deltas that name vBlocks 0 to 7, of an owner that has nothing in memory; changes are of vBlock 2 alone from then on. */
async function withDeltas(seed: number): Promise<Story> {
  const story = await Story.begin(seed)
  await story.change(8, 120, 1)
  for (let i = 0; i < 6; i++) await story.change(8, 2)
  return story
}

test('M18: a vBlock that is damaged holds up no change of others, and is whole again when its row is', async () => {
  const story = await withDeltas(11)
  const value = story.world.table('map').get(partition.key)!.get('v0000')!
  await story.takeOver()
  story.world.loseRow(partition, 'v0000')
  for (let i = 0; i < 40; i++) {
    const entry = { page: 2 * pagesPerVBlock + 5 * i, group: bad, at: 0 }
    await story.owner.change(entry)
    story.pages.set(entry.page, ['bad', 0])
  }
  assert.equal(await story.verify(), 1)
  story.world.putRow(partition, 'v0000', value)
  assert.equal(await story.verify(), 0)
  for (let i = 0; i < 40; i++) await story.change(8, 2)
  assert(keysOf(story.world, 'd').length <= 16)
  await story.takeOver()
  assert.equal(await story.verify(), 0)
})

test('M18: a delta that is unreadable is damage to what rests on it, and to nothing else', async () => {
  const story = await withDeltas(12)
  await story.change(1, 3)
  const key = keysOf(story.world, 'd').sort().at(-1)!
  await story.takeOver()
  story.world.loseRow(partition, key)
  story.world.putRow(partition, key, Buffer.from('this is no delta'))
  assert.equal(await story.verify(), 1)
  await story.owner.change({ page: 2 * pagesPerVBlock, group: bad, at: 0 })
})

test('M18: deltas that were deleted and come back count for nothing, and are not read', async () => {
  const story = await withDeltas(13)
  const before = new Map(story.world.table('map').get(partition.key))
  for (let i = 0; i < 60; i++) await story.change(8, 2)
  const back = [...before.keys()].filter(
    (key) => key.startsWith('d0') && !story.world.table('map').get(partition.key)!.has(key),
  )
  assert(back.length > 2)
  for (const key of back) story.world.putRow(partition, key, before.get(key)!)
  await story.takeOver()
  assert.equal(await story.verify(), 0)
  for (let i = 0; i < 40; i++) await story.change(8, 2)
  await story.takeOver()
  assert.equal(await story.verify(), 0)
  const rows = [...story.world.table('map').get(partition.key)!].map(([key, value]) => ({ key, value }))
  const read = new PartitionRows(rows)
  for (let vBlock = 0; vBlock < 8; vBlock++)
    story.assertSame(vBlock, read.vBlock(vBlock)!, (handle) => read.idOf(handle))
})

test('M18: a change that writes deltas writes a fraction of the rows that it changes', async () => {
  const story = await Story.begin(9)
  await story.change(300, 256, 1)
  let bytes = 0
  story.owner.node.beforeChange = ({ table }, { put }) => {
    if (table === 'map') for (const { value } of put ?? []) bytes += value.length
  }
  for (let i = 0; i < 32; i++) await story.change(300, 5, 1)
  const rows = keysOf(story.world, 'v').reduce(
    (sum, key) => sum + story.world.table('map').get(partition.key)!.get(key)!.length,
    0,
  )
  assert(bytes < (32 * rows) / 5, `${bytes} bytes, where the rows of 32 changes are ${32 * rows}`)
})
