/** Rows of several groups in one partition: gathered into one change, read anew where something else was changed, dropped when their name is finished. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hasCode, NdfsError } from '../../base/errors.ts'
import type { GroupId } from '../../base/ids.ts'
import { type Change, neverChanged, type PartitionName } from '../../medusa/medusa.ts'
import { asEpoch, asVDisk, TestNode, TestWorld } from './fixtures.test.ts'
import { GroupIndex, type RegisteredGroup } from './group-index.ts'
import { GroupLedger } from './group-ledger.ts'
import { GroupRows } from './group-rows.ts'
import { GroupPlaces, GroupTable } from './group-table.ts'
import { groupPartition, type GroupRow } from './rows.ts'
import { VDiskRow } from './vdisk-row.ts'

const vdisk = asVDisk(1)
const fenced = (error: unknown): boolean => hasCode(error, 'FENCED')

class Scene {
  readonly world = new TestWorld(1)
  readonly node = new TestNode(this.world, 'n1')
  /** Of the table of groups: what was asked to be changed. */
  readonly changes: { readonly key: string; readonly change: Change }[] = []

  static async begin(): Promise<Scene> {
    const scene = new Scene()
    scene.node.beforeChange = ({ table, key }, change) => {
      if (table === 'group') scene.changes.push({ key, change })
    }
    await scene.run(scene.node.host.create(vdisk, 'c/v', 4096, 2))
    return scene
  }

  run<T>(promise: Promise<T>): Promise<T> {
    return this.world.clock.run(promise)
  }

  /** What the owner under this epoch has at hand. */
  async owner(epoch: number) {
    const access = { platform: this.node.platform, medusa: this.node.medusa }
    const row = await this.run(VDiskRow.raise(access, vdisk, asEpoch(epoch)))
    const table = new GroupTable(this.node.medusa, new GroupPlaces())
    const index = new GroupIndex(access, row, table, new GroupLedger(), this.node.extents)
    const disks = [...this.world.extents.values()].slice(0, 2).map(({ ref }) => ref)
    const complete = (group: RegisteredGroup) => index.complete(group.id, rowOf(group))
    const register = (count: number) => this.run(index.register(Array.from({ length: count }, () => disks)))
    return {
      index,
      rows: new GroupRows(access, row),
      complete,
      register,
      /** Registered, and whole. */
      whole: async (count: number) => {
        const groups = await register(count)
        await this.run(Promise.all(groups.map(complete)))
        return groups
      },
      free: async (groups: readonly RegisteredGroup[]) => {
        const ids = groups.map(({ id }) => id)
        await this.run(index.rowsToFree(ids).then((seen) => index.markDeleting(seen)))
        return this.run(index.finishDeletion(ids))
      },
    }
  }

  rowsOf(id: GroupId): string[] {
    return [...(this.world.table('group').get(groupPartition(id).key)?.keys() ?? [])]
  }

  async static(name: PartitionName) {
    return (await this.run(this.node.medusa.get(name, []))).static
  }
}

const rowOf = ({ copies }: RegisteredGroup): GroupRow => ({
  layer: 1 as never,
  tier: 'flash',
  state: 'whole',
  copies,
  extents: [],
  checksums: new Uint32Array(4),
})

test('sixteen groups that become whole, and go, together are one change each time', async () => {
  const scene = await Scene.begin()
  const a = await scene.owner(1)
  const groups = await a.whole(16)
  assert.deepEqual(
    scene.changes.map(({ key, change }) => [key, change.expected, change.put?.length]),
    [[groups[0].id, { epoch: 0, version: 0 }, 16]],
  )
  assert.equal((await a.free(groups)).length, 16)
  assert.equal(scene.changes.length, 3)
  assert.equal(scene.changes[1].change.put?.length, 16)
  assert.equal(scene.changes[2].change.drop, true)
  assert.deepEqual(await scene.static(groupPartition(groups[0].id)), neverChanged)
})

test('the seventeenth group begins another partition; rows of neighbours stay when one goes', async () => {
  const scene = await Scene.begin()
  const a = await scene.owner(1)
  const groups = await a.whole(17)
  assert.equal(groupPartition(groups[16].id).key, groups[16].id)
  await a.free(groups.slice(0, 15))
  assert.deepEqual(scene.rowsOf(groups[0].id), [groups[15].id])
  assert.equal((await scene.run(a.index.read(groups[15].id)))?.state, 'whole')
  await a.free([groups[15]])
  assert.equal(scene.changes.at(-1)?.change.drop, true)
})

test('a partition is not dropped while one of its groups is open, nor its name used again afterwards', async () => {
  const scene = await Scene.begin()
  const a = await scene.owner(1)
  const [one, open] = await a.register(2)
  await scene.run(a.complete(one))
  await a.free([one])
  assert.equal(scene.changes.at(-1)?.change.drop, undefined)
  await scene.run(a.complete(open))
  assert.deepEqual(scene.rowsOf(open.id), [open.id])
  await a.free([open])
  assert.equal(scene.changes.at(-1)?.change.drop, true, 'it was the last that was registered')
  const [next] = await a.whole(1)
  assert.notEqual(groupPartition(next.id).key, groupPartition(one.id).key)
  // Every change that was ever sent may come once more: none finds what it expects.
  for (const { key, change } of scene.changes.filter(({ key }) => key === groupPartition(one.id).key))
    if (change.expected.version > 0)
      assert.equal(
        (await scene.run(scene.node.medusa.change({ table: 'group', key }, change))).outcome,
        'conflict',
      )
  assert.equal((await scene.run(a.index.read(next.id)))?.state, 'whole')
})

test('the next owner drops what an owner left in the middle of a partition, and the earlier one is fenced by its absence (I4)', async () => {
  const scene = await Scene.begin()
  const a = await scene.owner(1)
  const groups = await a.whole(3)
  const [open] = await a.register(1)
  const seen = await scene.run(a.index.readFenced(groups[0].id))
  const b = await scene.owner(2)
  await b.free([...groups, open])
  assert.deepEqual(await scene.static(groupPartition(open.id)), neverChanged)
  await assert.rejects(scene.run(a.complete(open)), fenced)
  await assert.rejects(scene.run(a.index.readFenced(groups[0].id)), fenced)
  const [old] = groups[0].copies
  const elsewhere = { ...[...scene.world.extents.values()][2].ref, number: 9 as never }
  await assert.rejects(scene.run(a.index.swapCopy(groups[0].id, seen, old, elsewhere, 'flash')), fenced)
})

test('what was freed leaves the index also where the rest could not be: its partition is dropped, and its name must not come again', async () => {
  const scene = await Scene.begin()
  const a = await scene.owner(1)
  const groups = await a.whole(17)
  const ids = groups.map(({ id }) => id)
  await scene.run(a.index.rowsToFree(ids).then((seen) => a.index.markDeleting(seen)))
  const { medusa } = scene.node
  const get = medusa.get.bind(medusa)
  medusa.get = (partition, keys) =>
    partition.table === 'group' && partition.key === ids[16]
      ? Promise.reject(new NdfsError('TIMED_OUT', 'no answer'))
      : get(partition, keys)
  await assert.rejects(scene.run(a.index.finishDeletion(ids)), (error) => hasCode(error, 'TIMED_OUT'))
  medusa.get = get
  const left: GroupId[] = []
  await scene.run(
    (async () => {
      for await (const { id } of a.index.all()) left.push(id)
    })(),
  )
  assert.deepEqual(left, [ids[16]])
  assert.deepEqual(await scene.static(groupPartition(ids[0])), neverChanged)
})

test('a row that was seen before its partition was changed is read again before it is changed', async () => {
  const scene = await Scene.begin()
  const a = await scene.owner(1)
  const [one, two] = await a.whole(2)
  const third = [...scene.world.extents.values()][2].ref
  const seen = await scene.run(a.index.readFenced(one.id))
  const swap = (number: number) =>
    scene.run(a.index.swapCopy(one.id, seen, one.copies[1], { ...third, number: number as never }, 'flash'))
  await a.free([two])
  assert.deepEqual(
    (await swap(7))?.copies.map(({ number }) => number),
    [1, 7],
  )
  assert.equal(await swap(8), undefined, 'it names other copies by now')
  assert.deepEqual(
    (await scene.run(a.index.read(one.id)))?.copies.map(({ number }) => number),
    [1, 7],
  )
})

test('steps for one row are taken in order, and those that one change has no room for come after it', async () => {
  const scene = await Scene.begin()
  const { rows, register } = await scene.owner(1)
  const groups = await register(16)
  const large = (group: RegisteredGroup): GroupRow => ({
    ...rowOf(group),
    checksums: new Uint32Array(25_000),
  })
  const made = groups.map((group) => rows.change(group.id, (row) => row ?? large(group)))
  const again = rows.change(groups[3].id, (row) => row && { ...row, tier: 'hdd' })
  await scene.run(Promise.all([...made, again]))
  assert.equal((await again)?.tier, 'hdd')
  const sizes = scene.changes.map(({ change }) => change.put?.length ?? 0)
  assert.ok(sizes.length > 2 && sizes.reduce((sum, size) => sum + size, 0) >= 16, sizes.join(' '))
  assert.equal(scene.rowsOf(groups[0].id).length, 16)
})
