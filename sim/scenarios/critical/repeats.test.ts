/** Histories in which a request that was sent again takes effect a second time, over what came after it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { KiB, MiB } from '../../../src/base/units.ts'
import { groupsFolder } from '../../../src/stargate/extent-store/group-file.ts'
import { sectorBytes } from '../../sector-history.ts'
import { Stage } from './support.ts'

const seed = 1

test('C10: what an owner that stood still has of forwarded writes does not land on later ones', () =>
  Stage.tell({ seed }, async (stage) => {
    const guest = stage.guest('guest')
    await guest.open(stage.cluster.names[0])
    await stage.answer(guest.write(0, 8))
    for (const events of [0, 1, 2, 4, 7, 11, 16, 25]) {
      const { owner, others } = stage.roles()
      await guest.open(others[0])
      const first = guest.write(0, 8)
      await stage.passEvents(events)
      stage.world.freeze(owner)
      // The node that forwarded it proves that nobody serves, takes the vDisk, and repeats it to itself.
      await stage.answer(first)
      await stage.answer(guest.write(0, 8))
      await stage.answer(guest.write(4, 8))
      stage.world.thaw(owner)
      await stage.pass(300)
      await stage.calm()
      await stage.readEverywhere()
    }
  }))

test('C10: a forwarded write that arrives after the takeover is refused, and not forwarded again', () =>
  Stage.tell({ seed }, async (stage) => {
    const guest = stage.guest('guest')
    await guest.open(stage.cluster.names[0])
    await stage.answer(guest.write(0, 8))
    for (const lateMs of [11_000, 18_000]) {
      const { owner, others } = stage.roles()
      await guest.open(others[0])
      stage.world.network.delay(others[0], owner, lateMs)
      const sentAt = stage.now
      await stage.answer(guest.write(0, 8))
      await stage.answer(guest.write(0, 8))
      if (lateMs > 12_000) {
        // The vDisk is back at the node that the late one goes to, under another epoch.
        const claim = stage.claim(owner, 'no-service')
        await stage.until(`${owner} owns it again`, () => claim.settled && stage.owners().includes(owner))
        const other = stage.guest('another guest')
        await other.open(owner)
        await stage.answer(other.write(0, 8))
      }
      await stage.pass(Math.max(0, sentAt + lateMs + 500 - stage.now))
      stage.world.network.delay(others[0], owner, 0)
      await stage.calm()
      await stage.readEverywhere()
    }
  }))

test('C10: a former owner that gets a late forwarded write knows the owner well, and does not hand it on', () =>
  Stage.tell({ seed }, async (stage) => {
    const guest = stage.guest('guest')
    await guest.open(stage.cluster.names[0])
    await stage.answer(guest.write(0, 8))
    for (const taken of ['by the log peer', 'by whoever forwarded it']) {
      const { owner, peers, others } = stage.roles()
      await guest.open(others[0])
      // This one message is late; all others are quick, also those that ask whether the owner lives.
      stage.world.network.delay(others[0], owner, 7_000)
      const sentAt = stage.now
      const late = guest.write(0, 8)
      await stage.pass(5)
      stage.world.network.delay(others[0], owner, 0)
      const taker = taken === 'by the log peer' ? peers[0] : others[0]
      const claim = stage.claim(taker, 'no-service')
      await stage.until(`${taker} owns it`, () => claim.settled && stage.owners().includes(taker))
      await stage.answer(late)
      await stage.answer(guest.write(0, 8))
      assert.ok(stage.now < sentAt + 7_000, 'the late one came before what came after it')
      await stage.pass(sentAt + 7_500 - stage.now)
      await stage.calm()
      await stage.readEverywhere()
    }
  }))

test('F3: a client that went to another node is not overtaken by what the node before still has of it', () =>
  Stage.tell({ seed }, async (stage) => {
    const guest = stage.guest('guest')
    await guest.open(stage.cluster.names[0])
    await stage.answer(guest.write(0, 8))
    for (const events of [0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 17]) {
      const { owner, peers, others } = stage.roles()
      const [left] = others
      await guest.open(left)
      guest.write(0, 8)
      await stage.passEvents(events)
      stage.world.freeze(left)
      await guest.open(events % 2 === 0 ? owner : peers[0])
      await stage.answer(guest.write(0, 8))
      await stage.answer(guest.write(0, 4))
      stage.world.thaw(left)
      await stage.pass(500)
      await stage.readEverywhere()
    }
  }))

test('F3: the owner after the next one still knows which session of the client is over', () =>
  Stage.tell({ seed, nodes: 4 }, async (stage) => {
    const guest = stage.guest('guest')
    await guest.open(stage.cluster.names[0])
    await stage.answer(guest.write(0, 8))
    for (const events of [0, 2, 5, 9]) {
      const { owner, peers, others } = stage.roles()
      const [left] = others
      await guest.open(left)
      guest.write(0, 8)
      await stage.passEvents(events)
      stage.world.freeze(left)
      await guest.open(peers[0])
      await stage.answer(guest.write(0, 8))
      await stage.answer(guest.write(0, 4))
      stage.cluster.end(owner, 'kill')
      const claim = stage.claim(peers[0], 'no-service')
      await stage.until('there is another owner', () => claim.settled && stage.owners().length === 1)
      stage.world.thaw(left)
      // Longer than its router needs to hear of the new owner, and to send it what it still has.
      await stage.pass(3_000)
      await stage.calm()
      await stage.readEverywhere()
    }
  }))

test('F3: pages of a stream that are synced after their client has gone on get no record', () =>
  Stage.tell({ seed, sectors: 8192, oplogSegmentBytes: 8 * MiB }, async (stage) => {
    const pieceSectors = (128 * KiB) / sectorBytes
    const guest = stage.guest('guest')
    for (const [first, moments] of [
      [0, 3],
      [63, 8],
      [63, 14],
    ]) {
      await guest.open(stage.cluster.names[0])
      await stage.answer(guest.write(0, 8))
      const { owner, others } = stage.roles()
      for (const node of stage.cluster.names)
        stage.onDisk(node, ({ kind, path }) =>
          kind === 'sync' && path.includes(`/${groupsFolder}/`) ? { delayMs: 1_500 } : undefined,
        )
      for (let piece = 0; piece < 20; piece++) guest.write(first + piece * pieceSectors, pieceSectors)
      await stage.passMoments(moments, 1_000)
      await guest.open(owner === others[0] ? stage.cluster.names[0] : others[0])
      for (let writes = 0; writes < 2; writes++) {
        await stage.answer(guest.write(first + 15 * pieceSectors, 64))
        await stage.answer(guest.write(first + 4 * pieceSectors + 3, 4 * pieceSectors))
      }
      await stage.pass(6_000)
      const { streamWrites } = stage.cluster.node(owner)!.controller.statistics()
      assert.ok(streamWrites > 0, 'nothing went to extent groups at once')
      await stage.calm()
      await stage.readEverywhere()
    }
    // What it has registered ahead of the stream is its successor's to free.
    stage.cluster.end(stage.owners()[0], 'kill')
  }))
