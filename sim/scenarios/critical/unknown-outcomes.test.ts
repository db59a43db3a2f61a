/** Histories in which a change of the metadata takes effect late, or took effect without its owner knowing. */
import { test } from 'node:test'
import { stateIn, type StoreAsks } from './store-holds.ts'
import { Stage } from './support.ts'

for (const seed of [1, 2])
  test(`C2: a change that takes effect after the owner has sent it again, and gone on, changes nothing, seed ${seed}`, () =>
    Stage.tell({ seed }, async (stage) => {
      const guest = stage.guest('guest')
      for (const table of ['map', 'vdisk', 'groups-of', 'group']) {
        await guest.open(stage.cluster.names[0])
        await stage.answer(guest.write(0, 8))
        await stage.answer(guest.write(100, 8))
        const { owner } = stage.roles()
        const late = stage.hold(
          'request',
          (kind, { partition, change }) =>
            kind === 'medusa.change' && partition?.table === table && (change?.put?.length ?? 0) > 0,
          1,
        )
        await stage.answer(stage.drain(owner))
        await stage.until('a change is under way', () => late.caught === 1)
        await stage.answer(guest.write(0, 4))
        await stage.answer(guest.zero(100, 8))
        await stage.answer(stage.drain(owner))
        // What the first drain made may be freed by now.
        await stage.pass(4_000)
        late.release()
        await stage.pass(100)
        stage.cluster.end(owner, 'kill')
        await stage.pass(100)
        await stage.calm()
        await stage.readEverywhere()
      }
    }))

for (const where of ['request', 'answer'] as const)
  for (const taken of [false, true])
    test(`F6: an owner knows its own change of episodes by its id: its ${where} is late${taken ? ', and it is replaced' : ''}`, () =>
      Stage.tell({ seed: 1, nodes: 4 }, async (stage) => {
        const guest = stage.guest('guest')
        await guest.open(stage.cluster.names[0])
        await stage.answer(guest.write(0, 8))
        const { owner, peers, others } = stage.roles()
        const before = stage.row.episodes.at(-1)!
        const namesAnother = (asks: StoreAsks): boolean => {
          const named = stateIn(asks)?.episodes.at(-1)
          return named !== undefined && named.id !== before.id
        }
        const late = stage.hold(where, (_, asks) => namesAnother(asks), 1)
        stage.cluster.end(peers[0], 'kill')
        stage.cluster.startNode(peers[0])
        guest.write(0, 4)
        await stage.until('the owner names another episode', () => late.caught === 1)
        const caughtAt = stage.now
        await stage.until('its peer runs again', () => stage.cluster.node(peers[0]) !== undefined)
        if (taken) {
          // Fenced is what is named: the old episode at the peer that runs again, or the new one at its other replica.
          const taker = others.at(-1)!
          stage.world.cut(taker, owner)
          const claim = stage.claim(taker, 'no-service')
          await stage.until(
            'another node took the vDisk',
            () => claim.settled && stage.owners().includes(taker),
          )
          const other = stage.guest('at the taker')
          await other.open(taker)
          await stage.answer(other.write(2, 4))
        }
        // Not so old, when the owner looks what became of its change, that it is told it has waited too long.
        await stage.untilOr(() => stage.now > caughtAt + 6_000, 10_000)
        const write = guest.write(4, 4)
        await stage.untilOr(() => write.settled, 15_000)
        late.release()
        await stage.pass(500)
        await stage.calm()
        await stage.readEverywhere()
      }))
