/** Histories in which an episode begins or ends, and one of those who know of it is gone a moment later. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { NodeId } from '../../../src/base/ids.ts'
import { usualNodePace } from '../../../src/node.ts'
import type { Guest } from './guest.ts'
import { type Hold, stateIn, type StoreAsks } from './store-holds.ts'
import { Stage } from './support.ts'

const seed = 1

/** What is recovered or written is not drained: rows name past episodes for longer. */
const holdDrains = (stage: Stage): Hold =>
  stage.hold('request', (kind, { partition }) => kind === 'medusa.change' && partition?.table === 'groups-of')

/** Keeps back what would name another episode than the open one. */
function holdNaming(stage: Stage): Hold {
  const before = stage.row.episodes.at(-1)!
  const names = (asks: StoreAsks): boolean => {
    const named = stateIn(asks)?.episodes.at(-1)
    return named !== undefined && named.end === undefined && named.id !== before.id
  }
  return stage.hold('request', (_, asks) => names(asks), 1)
}

/** Claims until it has it: what a takeover needs may be known to the node only a moment later. */
async function take(stage: Stage, node: NodeId): Promise<void> {
  for (let tries = 0; !stage.owners().includes(node); tries++) {
    assert.ok(tries < 12, `${node} does not get the vDisk`)
    const claim = stage.claim(node, 'no-service')
    await stage.until('the claim is over', () => claim.settled)
    if (claim.error !== undefined) await stage.pass(300)
  }
}

/** Opens the vDisk while the last node, which placement likes best, is not there; it is there afterwards. */
async function openWithoutTheLast(stage: Stage, guest: Guest): Promise<void> {
  const last = stage.cluster.names.at(-1)!
  stage.cluster.end(last, 'kill')
  await stage.pass(1_000)
  await guest.open(stage.cluster.names[0])
  await stage.answer(guest.write(0, 8))
  stage.cluster.startNode(last)
  await stage.until('the last node runs', () => stage.cluster.node(last) !== undefined)
  await stage.pass(1_500)
}

test('M1: nothing is acknowledged in an episode before the row names it', () =>
  Stage.tell({ seed, nodes: 4 }, async (stage) => {
    const guest = stage.guest('guest')
    await guest.open(stage.cluster.names[0])
    await stage.answer(guest.write(0, 8))
    const { owner, peers, others } = stage.roles()
    const naming = holdNaming(stage)
    stage.cluster.end(peers[0], 'kill')
    const write = guest.write(0, 8)
    await stage.until('the owner names another episode', () => naming.caught > 0)
    await stage.untilOr(() => write.settled, 200)
    stage.cluster.end(owner, 'power cut')
    stage.cluster.startNode(peers[0])
    await stage.until('the peer runs again', () => stage.cluster.node(peers[0]) !== undefined)
    await take(stage, others[0])
  }))

test('M1: an attempt that the row may name yet is not cut', () =>
  Stage.tell({ seed, nodes: 4 }, async (stage) => {
    const guest = stage.guest('guest')
    await guest.open(stage.cluster.names[0])
    await stage.answer(guest.write(0, 8))
    const { owner, peers, others } = stage.roles()
    const naming = holdNaming(stage)
    stage.cluster.end(peers[0], 'kill')
    const write = guest.write(0, 8)
    await stage.until('the owner names another episode', () => naming.caught > 0)
    stage.cluster.startNode(peers[0])
    await stage.until('the peer runs again', () => stage.cluster.node(peers[0]) !== undefined)
    for (const node of others)
      await stage.answer(
        stage.ask(node, 'a look at the rows', () => stage.cluster.node(node)!.controller.freeDrained()),
      )
    naming.release()
    await stage.answer(write)
    const [next] = stage.roles().peers
    stage.cluster.end(owner, 'power cut')
    await take(
      stage,
      others.find((node) => node !== next)!,
    )
    await guest.open(next)
    await stage.answer(guest.read(0, 8))
  }))

test('M1: what a taker shows is on all replicas of its own episode', () =>
  Stage.tell({ seed, nodes: 5 }, async (stage) => {
    const guest = stage.guest('guest')
    await openWithoutTheLast(stage, guest)
    const { owner, peers, others } = stage.roles()
    // It reaches the peer alone.
    stage.onDisk(owner, ({ kind, path }) =>
      kind === 'write' && path.includes('/oplog/') ? { delayMs: 5_000 } : undefined,
    )
    guest.write(0, 8)
    await stage.pass(50)
    stage.cluster.end(owner, 'power cut')
    stage.onDisk(owner, () => undefined)
    holdDrains(stage)
    await take(stage, others[0])
    stage.cluster.end(others[0], 'kill')
    stage.cluster.end(peers[0], 'kill')
    stage.cluster.startNode(owner)
    await stage.until('the first owner runs again', () => stage.cluster.node(owner) !== undefined)
    await take(stage, others[1])
  }))

test('C11: a replica that was restarted still refuses the owner before its last fence', () =>
  Stage.tell({ seed, nodes: 5 }, async (stage) => {
    const reader = stage.guest('reader')
    await openWithoutTheLast(stage, reader)
    // The row names the episode of the owner before for as long as some of it is not drained.
    holdDrains(stage)
    for (let writes = 0; writes < 3; writes++) await stage.answer(reader.write(0, 8))
    const { owner, peers, others } = stage.roles()
    const [peer] = peers
    await reader.open(owner)
    const stop = reader.readSteadily(0, 8, 7)
    const claims = stage.hold('request', (kind) => kind === 'zeus.claim')
    stage.isolate(owner)
    await stage.until('somebody wants the vDisk of the owner that nobody hears', () => claims.caught > 0)
    claims.release()
    await take(stage, others[0])
    const writer = stage.guest('writer')
    await writer.open(others[0])
    await stage.answer(writer.write(0, 8))
    stage.cluster.end(peer, 'kill')
    stage.cluster.startNode(peer)
    await stage.until('the peer runs again', () => stage.cluster.node(peer) !== undefined)
    stage.world.heal(owner, peer)
    await stage.pass(3_000)
    stop()
    await stage.calm()
    await stage.readEverywhere()
  }))

test('I2: a read is of one instant, however late what lies beneath the log comes', () =>
  // Nothing but the guest and the drain reads extent groups.
  Stage.tell({ seed, pace: { ...usualNodePace, goneGraceMs: 60_000 } }, async (stage) => {
    const guest = stage.guest('guest')
    for (const slow of [1, 2]) {
      await guest.open(stage.cluster.names[0])
      await stage.answer(guest.write(0, 8))
      await stage.answer(stage.drain(stage.owners()[0]))
      // Another owner has nothing of it in memory.
      const { owner } = stage.roles()
      stage.cluster.end(owner, 'kill')
      await stage.pass(100)
      await stage.calm()
      await guest.open(stage.cluster.names[0])
      await stage.answer(guest.write(2, 3))
      let reads = 0
      for (const node of stage.cluster.names)
        stage.onDisk(node, ({ kind, path }) =>
          kind === 'read' && path.includes('/groups/') && reads++ < slow ? { delayMs: 400 } : undefined,
        )
      const read = guest.read(0, 8)
      await stage.pass(1)
      const drain = stage.drain(stage.owners()[0])
      await stage.answer(drain)
      assert.ok(!read.settled, 'the read was over before the drain was')
      await stage.answer(read)
      await stage.calm()
    }
  }))
