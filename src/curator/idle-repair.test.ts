import assert from 'node:assert/strict'
import { test } from 'node:test'
import { NdfsError } from '../base/errors.ts'
import type { Epoch, Incarnation, NodeId, VDiskId } from '../base/ids.ts'
import type { Clock, Log } from '../platform/platform.ts'
import type { Owner } from '../zeus/zeus.ts'
import { IdleRepair } from './idle-repair.ts'

/** n1 looks after vDisks 2 and 4 of those that nobody owns; 6 has an owner. */
class Cluster {
  readonly owners = new Map<VDiskId, Owner>()
  readonly lookedAt: string[] = []
  readonly claimed: number[] = []
  readonly needs = new Set<number>()
  isDown = false
  readonly repair: IdleRepair

  constructor() {
    for (const id of [1, 2, 3, 4]) this.owners.set(id as VDiskId, this.#owner(true))
    this.owners.set(6 as VDiskId, this.#owner(false))
    this.repair = new IdleRepair({
      clock: { sleep: () => new Promise(() => undefined) } as unknown as Clock,
      log: { debug: () => undefined } as unknown as Log,
      node: 'n1' as NodeId,
      view: {
        owners: this.owners,
        liveNodes: () => ['n1', 'n2'] as NodeId[],
        lives: () => true,
      },
      needsRepair: async (vdisk, losses) => {
        if (this.isDown) throw new NdfsError('PEER_UNREACHABLE', 'the store is down')
        this.lookedAt.push(`${vdisk}${losses ? ' for losses' : ''}`)
        return this.needs.has(vdisk)
      },
      claim: async (vdisk) => void this.claimed.push(vdisk),
    })
  }

  #owner(released: boolean): Owner {
    const owner = { node: 'n2' as NodeId, incarnation: 'p' as Incarnation, epoch: 1 as Epoch }
    return released ? { ...owner, released } : owner
  }
}

const settled = async (): Promise<void> => {
  for (let i = 0; i < 30; i++) await Promise.resolve()
}

test('each vDisk that nobody owns is looked at once after each change, and claimed where there is work', async () => {
  const { repair, lookedAt, claimed, needs } = new Cluster()
  repair.look()
  await settled()
  assert.deepEqual(
    lookedAt.splice(0),
    ['2 for losses', '4 for losses'],
    'at the start nobody knows what was looked at',
  )
  repair.look()
  await settled()
  assert.deepEqual(lookedAt, [])
  repair.changed(false)
  await settled()
  assert.deepEqual(lookedAt.splice(0), ['2', '4'])
  needs.add(4)
  repair.changed(true)
  assert.equal(repair.toLookAt, 2)
  await settled()
  assert.deepEqual(lookedAt.splice(0), ['2 for losses', '4 for losses'])
  assert.deepEqual(claimed, [4])
  assert.equal(repair.toLookAt, 0)
})

test('what could not be looked at is looked at again, and then for all that was missed', async () => {
  const cluster = new Cluster()
  const { repair, lookedAt } = cluster
  repair.look()
  await settled()
  lookedAt.length = 0
  cluster.isDown = true
  repair.changed(true)
  repair.changed(false)
  await settled()
  assert.equal(repair.toLookAt, 2)
  cluster.isDown = false
  repair.look()
  await settled()
  assert.deepEqual(lookedAt, ['2 for losses', '4 for losses'])
  assert.equal(repair.toLookAt, 0)
})

test('a change in the middle of a look is looked at too', async () => {
  const { repair, lookedAt } = new Cluster()
  repair.look()
  repair.changed(true)
  await settled()
  assert.equal(lookedAt.length, 4)
})
