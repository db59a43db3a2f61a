import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { PartitionName } from '../../medusa/medusa.ts'
import { World } from '../namespace/fixtures.test.ts'
import { PartitionChanges, type PartitionTask } from './partition-changes.ts'

const partition: PartitionName = { table: 'inode', key: '1' }

const numberIn = (value: Buffer | undefined): number => value?.readUInt32LE(0) ?? 0
function asBytes(number: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(number)
  return bytes
}

/** Adds one, and tells what was there. */
const add = (key: string): PartitionTask<number> => ({
  keys: [key],
  decide: (view) => {
    const before = numberIn(view.get(key))
    view.put(key, asBytes(before + 1))
    return before
  },
})
const look = (key: string): PartitionTask<number> => ({
  keys: [key],
  decide: (view) => numberIn(view.get(key)),
})

test('changes and looks of several nodes are of one order, which is that of time', async () => {
  for (let seed = 1; seed <= 150; seed++) {
    const world = new World(seed)
    world.delayMs = 1 + world.roll(12)
    const platform = { clock: world.clock, chance: world.chance }
    const nodes = [0, 1].map(() => new PartitionChanges({ medusa: world.medusa(), platform }))
    const keys = ['a', 'b', 'c']
    interface Done {
      readonly key: string
      readonly adds: boolean
      readonly seen: number
      readonly from: number
      readonly to: number
    }
    const done: Done[] = []
    const client = async (node: (typeof nodes)[number]): Promise<void> => {
      for (let turn = 0; turn < 12; turn++) {
        const key = keys[world.roll(keys.length)]
        const adds = world.roll(3) > 0
        const from = world.clock.now()
        const seen = await node.change(partition, adds ? add(key) : look(key))
        done.push({ key, adds, seen, from, to: world.clock.now() })
        if (world.roll(3) === 0) await world.clock.sleep(world.roll(10))
      }
    }
    await Promise.all(Array.from({ length: 8 }, (_, i) => client(nodes[i % (seed % 3 === 0 ? 1 : 2)])))
    for (const key of keys) {
      const all = done.filter((one) => one.key === key)
      const added = all.filter(({ adds }) => adds)
      assert.deepEqual(
        added.map(({ seen }) => seen).sort((a, b) => a - b),
        added.map((_, i) => i),
        `seed ${seed}: a change was lost, or made twice`,
      )
      for (const { seen, from, to } of all) {
        const least = added.filter((one) => one.to < from).length
        const most = added.filter((one) => one.from <= to).length
        assert.ok(
          seen >= least && seen <= most,
          `seed ${seed}: ${seen} of ${least} to ${most} changes were seen`,
        )
      }
    }
    world.close()
  }
})
