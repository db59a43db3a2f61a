/** One vDisk end to end over a small world: writes, drains, crashes and takeovers, held against a model of bytes. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hasCode, NdfsError } from '../../base/errors.ts'
import type { GroupId, NodeId } from '../../base/ids.ts'
import { giveBack, overwriteWhatIsGivenBack } from '../../base/large-buffers.ts'
import { GiB, KiB, MiB, pageBytes, vDiskOffset } from '../../base/units.ts'
import type { CopyRef } from '../extent-store/extent-store.ts'
import { asVDisk, seeds, TestNode, TestWorld } from './fixtures.test.ts'
import { namesCopy } from './group-copies.ts'
import { PartitionRows } from './partition-rows.ts'
import type { VDiskOnDisks } from './rebuild.ts'
import { rebuild, savedRow } from './rebuild-fixture.test.ts'
import type { HostedVDisk } from './vdisk-controller.ts'

overwriteWhatIsGivenBack()
const vdisk = asVDisk(1)

/** The bytes of a vDisk, page by page; what is not there is zero. */
class Bytes {
  readonly pages = new Map<number, Buffer>()

  write(offset: number, bytes: Buffer): void {
    for (let at = 0; at < bytes.length;) {
      const page = Math.floor((offset + at) / pageBytes)
      const from = (offset + at) % pageBytes
      const length = Math.min(pageBytes - from, bytes.length - at)
      let target = this.pages.get(page)
      if (target === undefined) {
        target = Buffer.alloc(pageBytes)
        this.pages.set(page, target)
      }
      bytes.copy(target, from, at, at + length)
      at += length
    }
  }

  zero(offset: number, length: number): void {
    for (const [page, bytes] of this.pages) {
      const from = Math.max(0, offset - page * pageBytes)
      const to = Math.min(pageBytes, offset + length - page * pageBytes)
      if (from < to) bytes.fill(0, from, to)
    }
  }

  read(offset: number, length: number): Buffer {
    const bytes = Buffer.alloc(length)
    for (let at = 0; at < length;) {
      const page = Math.floor((offset + at) / pageBytes)
      const from = (offset + at) % pageBytes
      const count = Math.min(pageBytes - from, length - at)
      this.pages.get(page)?.copy(bytes, at, from, from + count)
      at += count
    }
    return bytes
  }
}

interface Change {
  readonly offset: number
  readonly length: number
  readonly make: (served: HostedVDisk) => Promise<void>
  readonly apply: (model: Bytes) => void
}

/** The vDisk lies across two partitions of the map; what happens, happens in these windows. */
const windows = [
  { from: 0, length: 3 * MiB },
  { from: 1 * GiB - 1 * MiB, length: 2 * MiB },
]
const streamWindow = { from: 3 * MiB, length: 5 * MiB }
/** Reads whose lent bytes are kept. */
const heldMax = 3

class Story {
  readonly world: TestWorld
  readonly model = new Bytes()
  size = 1 * GiB + 1 * MiB
  readonly #random: (below: number) => number
  /** Changes whose outcome is unknown: all of it, or nothing. */
  #unknown: Change[] = []
  #underWay: { change: Change; done: Promise<void> }[] = []
  #stamp = 0
  #epoch = 0
  node: TestNode
  served!: HostedVDisk
  freed = 0
  replaced = 0
  #bug: unknown
  readonly #finished: TestNode[] = []
  #reads = 0
  readonly #held: { readonly pieces: readonly Buffer[]; readonly bytes: Buffer }[] = []
  #firstRow!: NonNullable<VDiskOnDisks['saved']>

  constructor(seed: number) {
    this.world = new TestWorld(seed)
    this.#random = this.world.random
    this.node = this.#start('n1')
  }

  #start(node: string): TestNode {
    const started = new TestNode(this.world, node)
    started.onRemoved = (group, copy) => this.#assertUnnamed(group, copy)
    return started
  }

  /** Nothing that the map in Medusa names is ever freed, but for copies that its row names no more (I7). */
  #assertUnnamed(group: GroupId, copy: CopyRef): void {
    if (!namedGroups(this.world).has(group)) return void this.freed++
    const { state, copies } = this.world.groupRows().get(group)!
    assert.equal(state, 'whole', `group ${group} is freed while the map names it (I7)`)
    assert.ok(
      !namesCopy(copies, copy),
      `copy ${copy.number} of group ${group} is unlinked, and its row names it`,
    )
    this.replaced++
  }

  async begin(): Promise<void> {
    await this.world.clock.run(this.node.host.create(vdisk, 'c/v', this.size, 2))
    this.#firstRow = savedRow(this.world, vdisk)
    await this.claim()
  }

  async claim(reason: 'free' | 'no-service' = 'free'): Promise<void> {
    this.served = await this.#sure(() => this.node.host.claim(vdisk, reason))
    assert.ok(this.served.epoch > this.#epoch)
    this.#epoch = this.served.epoch
  }

  /** Waits for what is under way; what failed for a change of owner has an unknown outcome. */
  async quiesce(): Promise<void> {
    for (const { change, done } of this.#underWay.splice(0)) {
      const outcome = await this.world.clock.run(
        Promise.race([
          done.then(
            () => 'done' as const,
            (error: unknown) => {
              assert.ok(hasCode(error, 'NOT_OWNER', 'FENCED'), String(error))
              return 'unknown' as const
            },
          ),
          this.node.running ? new Promise<never>(() => undefined) : Promise.resolve('unknown' as const),
        ]),
      )
      if (outcome === 'done') change.apply(this.model)
      else this.#unknown.push(change)
    }
  }

  /** After a takeover: an unknown change happened whole, or not at all (C6). */
  async resolveUnknown(): Promise<void> {
    this.size = this.served.sizeBytes
    for (const { offset, length, apply } of this.#unknown.splice(0)) {
      const visible = Math.min(length, this.size - offset)
      if (visible <= 0) continue
      const before = this.model.read(offset, visible)
      const bytes = await this.read(offset, visible)
      if (bytes.equals(before)) continue
      apply(this.model)
      assertSame(
        bytes,
        this.model.read(offset, visible),
        offset,
        'a change of unknown outcome happened in part',
      )
    }
  }

  /** Every second time what is lent, where anything is. */
  async read(offset: number, length: number): Promise<Buffer> {
    const lent =
      this.#reads++ % 2 === 0
        ? await this.#sure(async () => this.served.lend(vDiskOffset(offset), length))
        : undefined
    if (lent !== undefined) return this.#hold(lent)
    const bytes = Buffer.alloc(length, 0xee)
    await this.#sure(async () => this.served.read(vDiskOffset(offset), bytes))
    return bytes
  }

  /** What is lent stays as it is, whatever is written, drained and read meanwhile, until it is given back. */
  #hold(pieces: readonly Buffer[]): Buffer {
    const bytes = Buffer.concat(pieces)
    this.#held.push({ pieces, bytes })
    if (this.#held.length > heldMax) {
      const [oldest] = this.#held.splice(0, 1)
      assert.ok(Buffer.concat(oldest.pieces).equals(oldest.bytes), 'what was lent has changed')
      oldest.pieces.forEach(giveBack)
    }
    return bytes
  }

  /** Repeats what failed for a lost message, as the router does. */
  async #sure<T>(attempt: () => Promise<T>): Promise<T> {
    for (;;)
      try {
        return await this.world.clock.run(attempt())
      } catch (error) {
        if (!hasCode(error, 'TIMED_OUT')) throw error
      }
  }

  async verify(): Promise<void> {
    if (this.#bug !== undefined) throw this.#bug as Error
    for (const { from, length } of [...windows, streamWindow]) {
      const visible = Math.min(length, this.size - from)
      if (visible > 0)
        assertSame(await this.read(from, visible), this.model.read(from, visible), from, 'read back')
    }
  }

  /** Drains, beside what else goes on; what fails then is no bug of ours. */
  drain(): void {
    this.served.drain().catch((error: unknown) => {
      if (!(error instanceof NdfsError)) this.#bug ??= error
    })
  }

  /** Begins a change that overlaps none that is under way. */
  beginSmall(): void {
    const range = this.#range()
    if (range === undefined) return
    this.#begin(
      this.#random(10) < 7 ? this.#data(range.offset, range.length) : this.#zeros(range.offset, range.length),
    )
  }

  /** Writes that follow each other: enough under way for some to go straight to extent groups (R20). */
  beginStream(): void {
    const end = Math.min(this.size, streamWindow.from + streamWindow.length)
    let offset = streamWindow.from + this.#random(2000) * 512
    for (let i = 0; i < 12 && offset + 320 * KiB <= end; i++) {
      const change = this.#data(offset, 320 * KiB)
      if (!this.#overlaps(change.offset, change.length)) this.#begin(change)
      offset += change.length
    }
  }

  async resize(): Promise<void> {
    await this.quiesce()
    if (this.served.stopped !== undefined) return
    const size = [1 * GiB + 1 * MiB, 1 * GiB + 300_000, 2 * MiB + 1000, 1 * GiB + 777 * 512][this.#random(4)]
    await this.world.clock.run(this.served.resize(size, []))
    if (size < this.size) this.model.zero(size, this.size - size)
    this.size = size
    assert.equal(this.served.sizeBytes, size)
  }

  /** The process dies, somewhere in the middle; the next one takes over. */
  async crash(): Promise<void> {
    this.#kill(this.node)
    await this.quiesce()
    this.node = this.#start(['n1', 'n2', 'n3'][this.#random(3)])
    await this.claim()
    await this.resolveUnknown()
  }

  /** All metadata is lost while nothing runs, and made from what the disks hold (M11). `reopened`: logs have forgotten what was freed. */
  async rebuild(reopened: boolean): Promise<void> {
    this.heal()
    this.#kill(this.node)
    await this.quiesce()
    // What was on its way arrives: nothing of the cluster runs when its metadata is made anew.
    await this.world.clock.pass(5000)
    if (reopened) for (const log of this.world.logs.values()) log.reopen(vdisk)
    rebuild(this.world, vdisk, { saved: this.#firstRow })
    this.node = this.#start(['n1', 'n2', 'n3'][this.#random(3)])
    await this.claim()
    await this.resolveUnknown()
    await this.verify()
  }

  /** Another takes over while the owner goes on: it is fenced, and what it has under way ends. */
  async takeAway(): Promise<void> {
    const zombie = this.node
    const others = ['n1', 'n2', 'n3'].filter((node) => node !== zombie.node)
    this.node = this.#start(others[this.#random(2)])
    const old = this.served
    await this.claim('no-service')
    const target = Buffer.alloc(1)
    // Whatever the old owner still answers, it is not a read (I4).
    await assert.rejects(
      this.world.clock.run(Promise.resolve().then(() => old.read(vDiskOffset(0), target))),
      (error) => hasCode(error, 'FENCED', 'NOT_OWNER', 'TIMED_OUT'),
    )
    await this.quiesce()
    this.#kill(zombie)
    await this.resolveUnknown()
  }

  /** All is drained, counted and freed, by an owner that has no groups registered ahead for a stream. */
  async settle(): Promise<void> {
    this.heal()
    await this.crash()
    await this.world.clock.run(this.served.drain())
    await this.world.clock.pass(50_000)
    await this.world.clock.run(this.served.drain())
    // An owner that nobody uses gives the vDisk up before long: groups are freed meanwhile, or by the next one.
    await this.world.clock.pass(70_000)
    await this.claim()
    // A new owner may find something to compact: until it is done its groups are on their way.
    await this.world.clock.pass(10_000)
  }

  /** Disks of one node, at most, can't be reached, or take records and their answers are lost. */
  trouble(): void {
    this.heal()
    const node = ['n1', 'n2', 'n3'][this.#random(3)] as NodeId
    this.world.logs.get(node)!.state = (['gone', 'silent', 'answers lost'] as const)[this.#random(3)]
    if (this.#random(2) === 0) this.world.extents.get(node)!.state = 'gone'
    this.#tellOfDisks()
  }

  heal(): void {
    for (const disk of this.world.logs.values()) disk.state = 'up'
    for (const disk of this.world.extents.values()) disk.state = 'up'
    this.#tellOfDisks()
  }

  #tellOfDisks(): void {
    for (const { host } of this.world.alive) host.disksChanged()
  }

  /** Of all processes that there were. */
  total(what: 'streamWrites' | 'compactedBytes' | 'drains' | 'takeovers'): number {
    return [...this.#finished, this.node].reduce((sum, { host }) => sum + host.statistics()[what], 0)
  }

  #kill(node: TestNode): void {
    node.kill()
    this.#finished.push(node)
  }

  #begin(change: Change): void {
    if (this.served.stopped !== undefined) return
    const done = change.make(this.served)
    done.catch(() => undefined)
    this.#underWay.push({ change, done })
  }

  #overlaps(offset: number, length: number): boolean {
    return this.#underWay.some(
      ({ change }) => offset < change.offset + change.length && change.offset < offset + length,
    )
  }

  #range(): { offset: number; length: number } | undefined {
    const window = windows[this.#random(2)]
    const unit = [1, 512, 4096][this.#random(3)]
    const length = Math.max(
      unit,
      Math.floor((this.#random(20) === 0 ? this.#random(1 * MiB) : this.#random(20_000)) / unit) * unit,
    )
    const offset = window.from + Math.floor(this.#random(window.length - length) / unit) * unit
    if (offset + length > this.size || this.#overlaps(offset, length)) return undefined
    return { offset, length }
  }

  #data(offset: number, length: number): Change {
    const stamp = ++this.#stamp
    const bytes = Buffer.alloc(length)
    for (let at = 0; at + 4 <= length; at += 4) bytes.writeUInt32LE((stamp << 20) + (at >> 2), at)
    bytes.fill(stamp, length & ~3)
    const kept = Buffer.from(bytes)
    return {
      offset,
      length,
      make: (served) => served.write(vDiskOffset(offset), bytes, []),
      apply: (model) => model.write(offset, kept),
    }
  }

  #zeros(offset: number, length: number): Change {
    const discard = this.#random(2) === 0
    return {
      offset,
      length,
      make: (served) =>
        discard
          ? served.discard(vDiskOffset(offset), length, [])
          : served.zero(vDiskOffset(offset), length, []),
      apply: (model) => model.zero(offset, length),
    }
  }
}

function assertSame(actual: Buffer, expected: Buffer, offset: number, what: string): void {
  if (actual.equals(expected)) return
  const at = expected.findIndex((byte, i) => byte !== actual[i])
  assert.fail(
    `${what}: byte ${offset + at} (page ${Math.floor((offset + at) / pageBytes)}) is ${actual[at]}, and should be ${expected[at]}`,
  )
}

/** Groups that the map in Medusa names. */
function namedGroups(world: TestWorld): Set<GroupId> {
  const named = new Set<GroupId>()
  for (const rows of world.table('map').values()) {
    const read = new PartitionRows([...rows].map(([key, value]) => ({ key, value })))
    for (const group of read.groupsNamed()) named.add(group)
  }
  return named
}

/** What lies in Medusa and on the disks is what the map names, and nothing else. */
function assertNoOrphans(world: TestWorld): void {
  const named = [...namedGroups(world)].sort()
  assert.deepEqual(
    [...(world.table('groups-of').get(String(vdisk))?.keys() ?? [])].sort(),
    named,
    'the index',
  )
  const rows = world.groupRows()
  assert.deepEqual([...rows.keys()].sort(), named, 'the rows of groups')
  for (const row of rows.values()) {
    assert.equal(row.state, 'whole')
    assert.equal(new Set(row.copies.map(({ node }) => node)).size, 2, 'copies on distinct nodes (I1)')
  }
  const files = [...world.extents.values()].flatMap((disk) =>
    [...disk.files].map(([name, { finished }]) => ({ name, finished })),
  )
  assert.ok(
    files.every(({ finished }) => finished),
    'every file ends in a trailer',
  )
  assert.equal(files.length, 2 * named.length, 'two copies of each group, and no other file')
}

/** How often each thing happens, of 100. */
const quiet = {
  small: 50,
  stream: 3,
  resize: 2,
  drain: 35,
  crash: 0.5,
  takeAway: 0.5,
  trouble: 2,
  rebuild: 2,
}
const stormy = { small: 35, stream: 10, resize: 8, drain: 25, crash: 7, takeAway: 6, trouble: 5, rebuild: 4 }

for (const seed of seeds(1, 2, 3, 4, 5, 6))
  test(`a vDisk reads back what was acknowledged, whatever drains, dies and takes over: seed ${seed} (R12 R20 R25 I2 I3 I7)`, async () => {
    const story = new Story(seed)
    const { world } = story
    await story.begin()
    world.loseOneAnswerOf = seed % 2 === 0 ? 40 : 0
    const often = Object.entries(seed % 3 === 0 ? quiet : stormy)
    for (let step = 0; step < 120; step++) {
      let left = world.random(1000) / 10
      const what = often.find(([, share]) => (left -= share) < 0)?.[0]
      if (what === 'small') for (let i = world.random(12); i >= 0; i--) story.beginSmall()
      else if (what === 'stream') story.beginStream()
      else if (what === 'resize') await story.resize()
      else if (what === 'drain') story.drain()
      else if (what === 'crash') await story.crash()
      else if (what === 'takeAway') await story.takeAway()
      else if (what === 'trouble') story.trouble()
      else if (what === 'rebuild') await story.rebuild(world.random(2) === 0)
      else {
        if (world.random(2) === 0) story.heal()
        await story.quiesce()
        await story.verify()
      }
      await world.clock.pass(world.random(10) === 0 ? 5000 : world.random(15))
      if (world.random(3) === 0) await story.quiesce()
    }
    world.loseOneAnswerOf = 0
    await story.quiesce()
    await story.verify()
    await story.settle()
    await story.verify()
    assertNoOrphans(world)
    for (const reopened of [false, true]) await story.rebuild(reopened)
    await story.settle()
    await story.verify()
    assertNoOrphans(world)
    assert.ok(story.total('drains') > 0 && story.total('takeovers') > 1 && story.freed > 0)
    world.close()
  })
