/** Histories in which an owner that was replaced might go on answering reads. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { NodeId } from '../../../src/base/ids.ts'
import type { Guest } from './guest.ts'
import { stateIn } from './store-holds.ts'
import { Stage } from './support.ts'

/** A guest's view of a takeover: the new owner acknowledges a write, while `reader` still asks the old one. */
async function takeOver(stage: Stage, to: NodeId): Promise<void> {
  // A claim may lose against another, or find that replicas can't be reached: then it is made again.
  for (let tries = 0; !stage.owners().includes(to) && tries < 8; tries++) {
    const claim = stage.claim(to, 'no-service')
    await stage.until('the claim is over', () => claim.settled)
  }
  const writer = stage.guest(`writer at ${stage.now}`)
  await writer.open(to)
  await stage.answer(writer.write(0, 8))
}

/**
 * Only its log peer hears the owner any more, and grants it reads: its session ends, so that a taker does not even try to
 * reach it. Nobody claims before the result is called.
 */
async function forgottenButGranted(stage: Stage, owner: NodeId, peer: NodeId): Promise<() => void> {
  const claims = stage.hold('request', (kind) => kind === 'zeus.claim')
  for (const other of [...stage.cluster.names, 'store'])
    if (other !== owner && other !== peer) stage.world.cut(owner, other)
  await stage.until('somebody wants the vDisk of the owner that nobody hears', () => claims.caught > 0)
  return () => claims.release()
}

/** Three nodes, and a vDisk of the first; what is read of it is asked at its owner, all the time. */
async function atOwner(stage: Stage, reader: Guest) {
  await reader.open(stage.cluster.names[0])
  await stage.answer(reader.write(0, 8))
  const { owner, peers, others } = stage.roles()
  await reader.open(owner)
  return { owner, peer: peers[0], taker: others[0], stop: reader.readSteadily(0, 8, 7) }
}

async function calmAndRead(stage: Stage, stop: () => void): Promise<void> {
  await stage.pass(200)
  stop()
  await stage.calm()
  await stage.readEverywhere()
}

for (const seed of [1, 2]) {
  test(`C11: an owner that is cut off reads nothing old, whenever it is replaced, seed ${seed}`, () =>
    Stage.tell({ seed }, async (stage) => {
      const reader = stage.guest('reader')
      for (const ms of [0, 90, 180, 500, 1_200]) {
        const { owner, taker, stop } = await atOwner(stage, reader)
        await stage.pass(ms / 3)
        stage.isolate(owner)
        await stage.pass(ms)
        await takeOver(stage, taker)
        await calmAndRead(stage, stop)
      }
    }))

  test(`C11: an owner that stood still reads nothing old when it goes on, seed ${seed}`, () =>
    Stage.tell({ seed }, async (stage) => {
      const reader = stage.guest('reader')
      for (const ms of [0, 90, 600]) {
        const { owner, taker, stop } = await atOwner(stage, reader)
        await stage.pass(ms)
        stage.world.freeze(owner)
        await takeOver(stage, taker)
        stage.world.thaw(owner)
        await calmAndRead(stage, stop)
      }
    }))

  test(`C11: a fence at the owner's own replica ends its ownership, though its peer grants on, seed ${seed}`, () =>
    Stage.tell({ seed, nodes: 4 }, async (stage) => {
      const reader = stage.guest('reader')
      for (const ms of [0, 110]) {
        const { peer, taker, stop } = await atOwner(stage, reader)
        await stage.pass(ms)
        stage.world.cut(taker, peer)
        await takeOver(stage, taker)
        await calmAndRead(stage, stop)
      }
    }))

  test(`C11: a peer that is asked to fence lets its last grant run out first, seed ${seed}`, () =>
    Stage.tell({ seed }, async (stage) => {
      const reader = stage.guest('reader')
      for (const ms of [0, 125]) {
        const { owner, peer, taker, stop } = await atOwner(stage, reader)
        const letClaim = await forgottenButGranted(stage, owner, peer)
        await stage.pass(ms)
        stage.world.cut(owner, peer)
        letClaim()
        await takeOver(stage, taker)
        await calmAndRead(stage, stop)
      }
    }))

  test(`C11: an owner that nobody but its peer hears gets no grant after the fence, seed ${seed}`, () =>
    Stage.tell({ seed }, async (stage) => {
      const reader = stage.guest('reader')
      const { owner, peer, taker, stop } = await atOwner(stage, reader)
      const letClaim = await forgottenButGranted(stage, owner, peer)
      letClaim()
      await takeOver(stage, taker)
      await stage.pass(1_000)
      await calmAndRead(stage, stop)
    }))

  test(`I4: an owner that nobody but its peer hears gets no write acknowledged after the fence, seed ${seed}`, () =>
    Stage.tell({ seed, nodes: 4 }, async (stage) => {
      const guest = stage.guest('guest')
      // Placement likes the last node best: it comes only for the new owner's episode.
      const last = stage.cluster.names.at(-1)!
      stage.cluster.end(last, 'kill')
      await stage.pass(1_000)
      const { owner, peer, taker, stop } = await atOwner(stage, guest)
      const letClaim = await forgottenButGranted(stage, owner, peer)
      stage.cluster.startNode(last)
      await stage.until('the last node runs', () => stage.cluster.node(last) !== undefined)
      await stage.pass(1_500)
      letClaim()
      await takeOver(stage, taker)
      const next = stage.row.episodes.at(-1)!.replicas.map(({ node }) => node)
      assert.ok(!next.includes(peer), 'the fence is all that the peer hears of the new owner')
      // Whether it is acknowledged does not matter; what the guest was told has to be true.
      const write = guest.write(8, 8)
      await stage.untilOr(() => write.settled, 1_000)
      await calmAndRead(stage, stop)
    }))

  test(`C11: a grant counts from when it was asked for, however late its answer comes, seed ${seed}`, () =>
    Stage.tell({ seed }, async (stage) => {
      const reader = stage.guest('reader')
      for (const ms of [0, 250, 500, 750]) {
        const { owner, peer, taker, stop } = await atOwner(stage, reader)
        const letClaim = await forgottenButGranted(stage, owner, peer)
        stage.world.network.delay(peer, owner, 850)
        await stage.pass(2_000 + ms)
        letClaim()
        await takeOver(stage, taker)
        await stage.pass(1_000)
        await calmAndRead(stage, stop)
      }
    }))

  test(`F1: a replica that was restarted waits until grants that it forgot have run out, seed ${seed}`, () =>
    Stage.tell({ seed }, async (stage) => {
      const reader = stage.guest('reader')
      for (const ms of [0, 60, 120, 190]) {
        const { owner, peer, taker, stop } = await atOwner(stage, reader)
        const letClaim = await forgottenButGranted(stage, owner, peer)
        await stage.pass(ms)
        stage.world.cut(owner, peer)
        stage.cluster.end(peer, ms === 60 ? 'power cut' : 'kill')
        stage.cluster.startNode(peer)
        await stage.until(`${peer} runs again`, () => stage.cluster.node(peer) !== undefined)
        letClaim()
        await takeOver(stage, taker)
        await calmAndRead(stage, stop)
      }
    }))

  test(`F2: while the outcome of a new episode is unknown no grant of the old one counts, seed ${seed}`, () =>
    Stage.tell({ seed, nodes: 4 }, async (stage) => {
      const reader = stage.guest('reader')
      const { owner, peer, stop } = await atOwner(stage, reader)
      const episode = stage.row.episodes.at(-1)!
      const answer = stage.hold('answer', (_, asks) => {
        const named = stateIn(asks)?.episodes.at(-1)
        return named !== undefined && named.id !== episode.id
      })
      // The peer's log disk hangs; its loop goes on granting.
      stage.onDisk(peer, ({ kind, path }) =>
        kind !== 'read' && path.startsWith('/disks/flash') ? { delayMs: 8_000 } : undefined,
      )
      reader.write(16, 8)
      await stage.until('the row names another episode, and the owner does not know', () => answer.caught > 0)
      // It hears its old peer, and nobody else.
      for (const other of [...stage.cluster.names, 'store'])
        if (other !== owner && other !== peer) stage.world.cut(owner, other)
      const replicas = stage.row.episodes.at(-1)!.replicas.map(({ node }) => node)
      const taker = stage.cluster.names.find((node) => node !== peer && !replicas.includes(node))!
      await stage.pass(5)
      await takeOver(stage, taker)
      await calmAndRead(stage, stop)
    }))

  test(`F2: reads stop before the row is changed, though the last grant still runs, seed ${seed}`, () =>
    Stage.tell({ seed, nodes: 5 }, async (stage) => {
      const reader = stage.guest('reader')
      const { owner, peer, stop } = await atOwner(stage, reader)
      await stage.pass(2_000)
      await stage.answer(stage.drain(owner))
      const episode = stage.row.episodes.at(-1)!
      const answer = stage.hold('answer', (_, asks) => {
        const named = stateIn(asks)?.episodes.at(-1)
        return named !== undefined && named.id !== episode.id
      })
      // Both logs fail at once: none of the new replicas has granted anything, so that they agree to a fence at once.
      for (const node of [owner, peer])
        stage.onDisk(node, ({ kind, path }) =>
          kind === 'write' && path.startsWith('/disks/flash/oplog') ? { fail: 'EIO' } : undefined,
        )
      reader.write(16, 8)
      await stage.until('the row names another episode, and the owner does not know', () => answer.caught > 0)
      stage.isolate(owner)
      const replicas = stage.row.episodes.at(-1)!.replicas.map(({ node }) => node)
      const taker = stage.cluster.names.find((node) => ![owner, peer, ...replicas].includes(node))!
      answer.release()
      await takeOver(stage, taker)
      await stage.pass(1_000)
      // Whoever has a disk that failed takes it into service when it starts again.
      for (const node of [owner, peer]) stage.cluster.end(node, 'kill')
      await calmAndRead(stage, stop)
    }))
}
