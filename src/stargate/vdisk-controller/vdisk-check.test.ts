/** What a check of a vDisk finds, and what it does not take for wrong. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { GroupId, NodeId } from '../../base/ids.ts'
import { GiB, KiB, MiB, pageBytes, vDiskOffset } from '../../base/units.ts'
import type { CopyRef } from '../extent-store/extent-store.ts'
import type { Finding } from './check-findings.ts'
import { standings } from './copy-levels.ts'
import { checkFiles } from './file-check.ts'
import { asVDisk, TestNode, TestWorld } from './fixtures.test.ts'
import {
  decodePlannedCopies,
  encodeGroupRow,
  encodePlannedCopies,
  groupPartition,
  groupsOfPartition,
  mapPartition,
  type PlannedCopy,
} from './rows.ts'
import { checkVDisk, countGroups } from './vdisk-check.ts'
import type { HostedVDisk } from './vdisk-controller.ts'

const vdisk = asVDisk(1)
const pace = {
  ...{ drainBeginsAtBytes: 32 * MiB, drainAgeMs: 1000, idleReleaseMs: 5000, freeAgainMs: 1000 },
}

class Cluster {
  readonly world: TestWorld
  readonly node: TestNode
  readonly wrong: { readonly group: GroupId; readonly copy: CopyRef }[] = []
  readonly unfinished: string[] = []
  copiesRead = 0
  groupsChecked = 0
  /** Called before each step that the check makes. */
  onStep: () => void = () => undefined
  served!: HostedVDisk
  #changes = 0
  isUnowned = false

  constructor(seed: number) {
    this.world = new TestWorld(seed)
    this.world.pace = pace
    this.node = new TestNode(this.world, 'n1')
  }

  /** Some groups, drained. */
  static async begin(groups = 3, seed = 1): Promise<Cluster> {
    const cluster = new Cluster(seed)
    await cluster.run(cluster.node.host.create(vdisk, 'c/v', 2 * GiB, 2))
    cluster.served = await cluster.run(cluster.node.host.claim(vdisk, 'free'))
    for (let i = 0; i < groups; i++) {
      await cluster.write(i * MiB, Buffer.alloc(64 * KiB, `${i}`))
      await cluster.run(cluster.served.drain())
    }
    return cluster
  }

  run<T>(work: Promise<T>): Promise<T> {
    return this.world.clock.run(work)
  }

  write(offset: number, bytes: Buffer): Promise<void> {
    return this.run(this.served.write(vDiskOffset(offset), bytes, []))
  }

  check(): Promise<Finding[]> {
    return this.run(this.checking())
  }

  async checking(): Promise<Finding[]> {
    const { medusa, extents, platform, host } = this.node
    const found: Finding[] = []
    const live = [...this.world.extents.values()].filter(({ state }) => state === 'up')
    const standing = standings({ live: live.map(({ ref, block }) => ({ ...ref, block })), failed: [] })
    await checkVDisk(
      {
        medusa: {
          ...medusa,
          get: (...args) => {
            this.onStep()
            return medusa.get(...args)
          },
        },
        extents,
        clock: platform.clock,
        standing,
        isLive: ({ node }) => live.some(({ ref }) => ref.node === node),
        admit: async () => () => undefined,
        owner: (id) => host.leftOverJudge(id),
        isUnowned: () => this.isUnowned,
        found: (finding) => found.push(finding),
        wrongCopy: (_, group, copy) => this.wrong.push({ group, copy }),
        copyRead: () => this.copiesRead++,
        groupChecked: () => this.groupsChecked++,
        unfinished: (what) => this.unfinished.push(what),
        stopped: () => false,
      },
      vdisk,
      'c/v',
    )
    return found
  }

  async files(node: string): Promise<Finding[]> {
    const { medusa, extents, platform } = this.node
    const found: Finding[] = []
    const context = { medusa, extents, clock: platform.clock, stopped: () => false }
    const { ref } = this.disk(node)
    await this.run(checkFiles({ ...context, found: (finding) => found.push(finding) }, ref))
    return found
  }

  disk(node: string) {
    return this.world.extents.get(node as NodeId)!
  }

  get groups(): GroupId[] {
    return [...this.world.groupRows().keys()]
  }

  row(group: GroupId) {
    return this.world.groupRows().get(group)!
  }

  fileOf(group: GroupId, which = 0) {
    const copy = this.row(group).copies[which]
    const name = `${group}.${copy.number}`
    return { copy, name, files: this.disk(copy.node).files }
  }

  /** As nobody who is sound would. */
  async putRow(partition: ReturnType<typeof groupPartition>, key: string, value: Buffer): Promise<void> {
    const { static: now } = await this.run(this.node.medusa.get(partition, []))
    await this.run(
      this.node.medusa.change(partition, {
        ...{
          id: (++this.#changes).toString(16).padStart(32, '0'),
          expected: { epoch: now.epoch, version: now.version },
          epoch: now.epoch,
        },
        put: [{ key, value }],
      }),
    )
  }
}

const kinds = (findings: readonly Finding[]): string[] => findings.map(({ kind }) => kind)

test('a check of a vDisk that is well reads every copy, and finds nothing', async () => {
  const cluster = await Cluster.begin()
  assert.deepEqual(await cluster.check(), [])
  assert.equal(cluster.copiesRead, 2 * cluster.groups.length)
  const counted = await cluster.run(countGroups({ medusa: cluster.node.medusa, stopped: () => false }, vdisk))
  assert.ok(counted > 0)
  assert.equal(cluster.groupsChecked, counted)
  assert.deepEqual(await cluster.files('n1'), [])
})

test('a check finds copies that are bad, short or missing, each by its disk and number', async () => {
  const cluster = await Cluster.begin(3)
  const [bad, short, missing] = cluster.groups.map((group, i) => cluster.fileOf(group, i % 2))
  bad.files.get(bad.name)!.pages[5 * pageBytes] ^= 1
  const whole = short.files.get(short.name)!
  short.files.set(short.name, { ...whole, pages: whole.pages.subarray(0, pageBytes) })
  missing.files.delete(missing.name)
  // Several at once: each is found when its disk has answered.
  const found = (await cluster.check()).sort((a, b) => (a.group! < b.group! ? -1 : 1))
  assert.deepEqual(kinds(found), ['bad copy', 'missing copy', 'missing copy'])
  assert.deepEqual(
    found.map(({ disk, copy }) => ({ disk, copy })),
    [bad, short, missing].map(({ copy }) => ({ disk: copy.disk, copy: copy.number })),
  )
  assert.deepEqual(
    new Set(cluster.wrong.map(({ group }) => group)),
    new Set(cluster.groups),
    'each is told for whoever makes it anew',
  )
})

test('a copy on a disk that is gone is missing, and of one that can not be reached the check is unfinished', async () => {
  const cluster = await Cluster.begin(1)
  const { copy } = cluster.fileOf(cluster.groups[0])
  const checking = cluster.checking()
  // Its session was there when the check began.
  cluster.disk(copy.node).state = 'gone'
  assert.deepEqual(await cluster.run(checking), [])
  assert.equal(cluster.unfinished.length, 1)
  assert.match(cluster.unfinished[0], /was not read: .* is gone$/)
  const found = await cluster.check()
  assert.deepEqual(kinds(found), ['missing copy', 'missing copy'].slice(0, found.length))
  assert.match(found[0].what, /is not in service$/)
})

test('a check finds a map that names what no row has, and rows of the map that are gone', async () => {
  const cluster = await Cluster.begin(2)
  const [first, second] = cluster.groups
  cluster.world.loseRow(groupPartition(first), first)
  assert.deepEqual(kinds(await cluster.check()), ['dangling pointer'])
  cluster.world.loseRow(groupsOfPartition(vdisk), second)
  assert.deepEqual(kinds(await cluster.check()), ['dangling pointer', 'damaged metadata'])
  cluster.world.loseRow(mapPartition(vdisk, cluster.row(second).layer, 0), 'v0001')
  assert.deepEqual(kinds(await cluster.check()), ['damaged metadata', 'dangling pointer'])
  cluster.world.losePartition(mapPartition(vdisk, cluster.row(second).layer, 0))
  const found = await cluster.check()
  assert(found.some(({ what }) => what.includes('is missing or older')))
})

test('a check finds copies on one node', async () => {
  const cluster = await Cluster.begin(1)
  const [group] = cluster.groups
  const row = cluster.row(group)
  const copies = [row.copies[0], { ...row.copies[0], number: row.copies[1].number }]
  await cluster.putRow(groupPartition(group), group, encodeGroupRow({ ...row, copies }))
  assert(kinds(await cluster.check()).includes('misplaced copies'))
})

test('a check finds what nothing names, and nothing that is about to go', async () => {
  const cluster = await Cluster.begin(2)
  const [group] = cluster.groups
  const left = group.replace(/\d+$/, '77') as GroupId
  // Its index row and its group's row, as an owner that died would have left them, had nobody looked after it.
  const row = cluster.row(group)
  const copies = row.copies.map((copy) => ({ ...copy, number: 77 as CopyRef['number'] }))
  const orphan = `${left}.77`
  cluster.disk(copies[0].node).files.set(orphan, { pages: Buffer.alloc(pageBytes), finished: true })
  assert.deepEqual(kinds(await cluster.files(copies[0].node)), ['orphan'])

  // The owner gives the vDisk up, and nobody is left who would free it.
  await cluster.world.clock.pass(60_000)
  assert.equal(cluster.node.host.hosted(vdisk), undefined)
  await cluster.putRow(groupsOfPartition(vdisk), left, encodePlannedCopies(copies))
  assert.deepEqual(await cluster.files(copies[0].node), [], 'the index knows of it')
  assert.deepEqual(kinds(await cluster.check()), [], 'somebody may be about to take the vDisk')
  cluster.isUnowned = true
  assert.deepEqual(kinds(await cluster.check()), ['orphan'])
})

test('a copy that the index has and the row has not is an orphan, once nobody is about to unlink it', async () => {
  const cluster = await Cluster.begin(1)
  const [group] = cluster.groups
  const planned = decodePlannedCopies(cluster.world.table('groups-of').get(String(vdisk))!.get(group)!)
  await cluster.world.clock.pass(60_000)
  const more = { ...planned[0], number: 99 as CopyRef['number'] }
  await cluster.putRow(groupsOfPartition(vdisk), group, encodePlannedCopies([...planned, more]))
  cluster.isUnowned = true
  const found = await cluster.check()
  assert.deepEqual(
    found.map(({ kind, copy }) => ({ kind, copy })),
    [{ kind: 'orphan', copy: 99 }],
  )
})

test('a copy on a disk that goes while a check runs waits for that disk, and is no orphan', async () => {
  const cluster = await Cluster.begin(1)
  const [group] = cluster.groups
  const planned = decodePlannedCopies(cluster.world.table('groups-of').get(String(vdisk))!.get(group)!)
  const more = { ...planned[0], number: 99 as CopyRef['number'] }
  const plan = (copy: PlannedCopy): Promise<void> =>
    cluster.putRow(groupsOfPartition(vdisk), group, encodePlannedCopies([...planned, copy]))
  await cluster.world.clock.pass(60_000)
  cluster.isUnowned = true
  await plan(more)
  const checking = cluster.checking()
  await cluster.world.clock.pass(100)
  // What a repair leaves in the index where it can't unlink the copy: the check has seen it without that mark.
  await plan({ ...more, left: true })
  assert.deepEqual(await cluster.run(checking), [])
})

test('whatever is written, drained, freed and compacted meanwhile, a check finds nothing', async () => {
  for (let seed = 1; seed <= 4; seed++) {
    const cluster = await Cluster.begin(4, seed)
    let busy = true
    const work = (async (): Promise<void> => {
      const { random } = cluster.world
      while (busy) {
        const offset = random(64) * 256 * KiB
        await cluster.served.write(vDiskOffset(offset), Buffer.alloc((1 + random(32)) * pageBytes, 7), [])
        if (random(3) === 0) await cluster.served.drain()
      }
    })()
    for (let i = 0; i < 4; i++) assert.deepEqual(await cluster.check(), [], `seed ${seed}`)
    assert.deepEqual(await cluster.files('n2'), [], `seed ${seed}`)
    busy = false
    await cluster.run(work)
    await cluster.world.clock.pass(10_000)
    assert.deepEqual(await cluster.check(), [], `seed ${seed}`)
  }
})
