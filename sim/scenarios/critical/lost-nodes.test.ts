/** Histories in which nobody looks after what only logs hold, or too few disks are left to go on. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Stage } from './support.ts'

/** Drained, and the copies where all are: nothing depends on one log any more. */
const isDrained = (stage: Stage): boolean => {
  const { drained, episodes } = stage.row
  const [owner] = stage.owners()
  return (
    episodes.every(({ end }) => end === undefined || end <= drained) &&
    (owner === undefined || stage.describe(owner)?.drained === stage.describe(owner)?.acknowledged)
  )
}

for (const who of ['owner', 'peer'] as const)
  test(`C12: a vDisk without traffic outlives its ${who}, and then the node that was left`, () =>
    Stage.tell({ seed: 1, nodes: 4 }, async (stage) => {
      const guest = stage.guest('guest')
      await guest.open(stage.cluster.names[0])
      for (let i = 0; i < 4; i++) await stage.answer(guest.write(i * 20, 15))
      const { owner, peers } = stage.roles()
      const [first, second] = who === 'owner' ? [owner, peers[0]] : [peers[0], owner]
      stage.cluster.lose(first)
      await stage.until(
        'its log is drained, though nobody asks for it',
        () => stage.row.drained >= 5 && isDrained(stage),
      )
      // Groups that had a copy there get another.
      await stage.pass(1_000)
      stage.cluster.end(second, 'silent power cut')
      await stage.pass(4_000)
      for (const node of stage.cluster.serving()) await stage.readAll(node)
      stage.checkHistory()
    }))

for (const seed of [1, 2])
  test(`F11: when all power was gone an idle vDisk is drained though nobody died in anybody's sight, seed ${seed}`, () =>
    Stage.tell({ seed }, async (stage) => {
      const guest = stage.guest('guest')
      await guest.open(stage.cluster.names[0])
      for (let i = 0; i < 4; i++) await stage.answer(guest.write(i * 20, 15))
      for (const node of stage.cluster.names) stage.cluster.end(node, 'power cut')
      stage.cluster.killStore()
      await stage.pass(5_000)
      await stage.calm()
      await stage.until('its log is drained', () => stage.row.drained >= 5)
    }))

test('F10: with one of two nodes gone reads go on, and writes when it is back, without an error', () =>
  Stage.tell({ seed: 1, nodes: 2 }, async (stage) => {
    const guest = stage.guest('guest')
    await guest.open(stage.cluster.names[0])
    await stage.answer(guest.write(0, 8))
    for (const forMs of [20, 700, 3_000, 8_000]) {
      const { owner, peers } = stage.roles()
      await guest.open(owner)
      stage.cluster.end(peers[0], forMs === 700 ? 'silent power cut' : 'kill')
      const write = guest.write(0, 4)
      await stage.pass(forMs / 2)
      // No grant, and the row shows whose the vDisk is.
      await stage.answer(guest.read(0, 8), 2_500)
      await stage.pass(forMs / 2)
      stage.cluster.startNode(peers[0])
      await stage.answer(write)
      await stage.readEverywhere()
    }
  }))

test('F10: a log disk that hangs is replaced within seconds, and is chosen again when there is no other', () =>
  Stage.tell({ seed: 1 }, async (stage) => {
    const guest = stage.guest('guest')
    await guest.open(stage.cluster.names[0])
    for (const round of [1, 2]) {
      await stage.answer(guest.write(0, 8))
      const { owner, peers, others } = stage.roles()
      const [peer] = peers
      await guest.open(owner)
      stage.onDisk(peer, ({ kind, path }) =>
        kind !== 'read' && path.includes('/oplog/') ? { delayMs: 9_000 } : undefined,
      )
      const askedAt = stage.now
      await stage.answer(guest.write(0, 4))
      assert.ok(stage.now - askedAt < 5_000, `in round ${round} the write took ${stage.now - askedAt} ms`)
      await stage.calm()
      // The only other one is gone now: whoever failed a moment ago is better than nobody.
      stage.cluster.end(others[0], 'kill')
      await stage.answer(guest.write(2, 4))
      await stage.calm()
    }
  }))
