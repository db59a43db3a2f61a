/** Histories in which two nodes might own the vDisk, or one that no longer does might go on. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { NodeId } from '../../../src/base/ids.ts'
import type { Hold } from './store-holds.ts'
import { Stage } from './support.ts'

/** Keeps back the change that raises the row's epoch to this. */
const holdRaise = (stage: Stage, epoch: number): Hold =>
  stage.hold(
    'request',
    (kind, { partition, change }) =>
      kind === 'medusa.change' &&
      partition?.table === 'vdisk' &&
      change?.epoch === epoch &&
      change.expected.epoch < epoch,
  )

/**
 * Two nodes have claimed, and neither has raised the row's epoch. `meanwhile` comes after the first was let go on; then the
 * second is.
 */
async function twoTakers(
  stage: Stage,
  [first, second]: readonly NodeId[],
  meanwhile: () => Promise<unknown>,
): Promise<void> {
  const { epoch } = stage.row
  const raises = [holdRaise(stage, epoch + 1), holdRaise(stage, epoch + 2)]
  const claims = [stage.claim(first, 'no-service')]
  await stage.until('the first is about to raise the epoch', () => raises[0].caught === 1)
  claims.push(stage.claim(second, 'no-service'))
  await stage.until('so is the second', () => raises[1].caught === 1)
  raises[0].release()
  await meanwhile()
  raises[1].release()
  await stage.until('both claims are over', () => claims.every(({ settled }) => settled))
}

for (const seed of [1, 2]) {
  test(`C1: a taker raises the row's epoch before it reads the row, and is in time whenever it does, seed ${seed}`, () =>
    Stage.tell({ seed, nodes: 4 }, async (stage) => {
      const guest = stage.guest('guest')
      for (const moments of [0, 1, 2, 3, 4, 6, 9, 13]) {
        await guest.open(stage.cluster.names[moments % 4])
        await stage.answer(guest.write(0, 8))
        const { owner, others } = stage.roles()
        stage.cluster.end(owner, 'kill')
        await twoTakers(stage, others, () => stage.passMoments(moments, 5_000))
        await stage.calm()
        await stage.readEverywhere()
      }
    }))

  test(`C1: what the first of two takers acknowledges in an episode that the second has not seen stays, seed ${seed}`, () =>
    Stage.tell({ seed, nodes: 4 }, async (stage) => {
      const guest = stage.guest('guest')
      await guest.open(stage.cluster.names[0])
      await stage.answer(guest.write(0, 8))
      const { owner, peers, others } = stage.roles()
      const [first, second] = others
      // So the first opens its episode without the peer of the one before, and the second hears only that peer.
      stage.world.cut(first, peers[0])
      stage.world.cut(second, owner)
      const other = stage.guest('other')
      await twoTakers(stage, others, async () => {
        await stage.until('the first serves', () => stage.owners().includes(first))
        await other.open(first)
        await stage.answer(other.write(0, 4))
      })
      await other.open(second)
      await stage.answer(other.read(0, 8))
      stage.checkHistory()
    }))
}

test('M1: what a replica has beyond the end of its episode counts for nothing when it comes back', () =>
  Stage.tell({ seed: 1, nodes: 4 }, async (stage) => {
    const guest = stage.guest('guest')
    await guest.open(stage.cluster.names[0])
    await stage.answer(guest.write(0, 8))
    await stage.answer(guest.write(8, 8))
    const { owner, peers, others } = stage.roles()
    // Its own disk alone has these.
    stage.world.cut(owner, peers[0])
    for (let writes = 0; writes < 4; writes++) guest.write(0, 8)
    await stage.pass(50)
    stage.cluster.end(owner, 'power cut')
    const [first, second] = others
    // What the first taker recovers is not drained soon: the row still names the episode that it has ended.
    stage.hold(
      'request',
      (kind, { partition }) => kind === 'medusa.change' && partition?.table === 'groups-of',
    )
    const claim = stage.claim(first, 'no-service')
    await stage.until('it is taken over', () => claim.settled && stage.owners().includes(first))
    await guest.open(first)
    for (let writes = 0; writes < 3; writes++) await stage.answer(guest.write(4 * writes, 8))
    stage.world.healAll()
    stage.cluster.startNode(owner)
    await stage.until('the first owner runs again', () => stage.cluster.node(owner) !== undefined)
    await stage.pass(500)
    assert.equal(stage.row.episodes.length, 2)
    stage.cluster.end(first, 'kill')
    const next = stage.claim(second, 'no-service')
    await stage.until('it is taken over again', () => next.settled && stage.owners().includes(second))
    await stage.readAll(second)
    stage.checkHistory()
  }))
