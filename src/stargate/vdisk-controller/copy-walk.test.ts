/** A walk over the indexes of groups meets every copy on some disks once, wherever it is broken off. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { groupIdOf, type CopyNumber, type DiskId, type DiskRef, type Epoch } from '../../base/ids.ts'
import type { GroupId, Incarnation, NodeId, VDiskId } from '../../base/ids.ts'
import type { Medusa, Row } from '../../medusa/medusa.ts'
import { walkBegins, walkCopies } from './copy-walk.ts'
import { encodePlannedCopies } from './rows.ts'

const diskOf = (node: string, incarnation = 'first'): DiskRef => ({
  node: node as NodeId,
  disk: `${node}-flash-0` as DiskId,
  incarnation: incarnation as Incarnation,
})
const here = diskOf('n1')

/** vDisks with so many groups each, every other one of them on n1. */
function medusaOf(groups: readonly number[]): Pick<Medusa, 'scan'> {
  const tables = groups.map((count, i) =>
    Array.from({ length: count }, (_, counter): Row => {
      const id = groupIdOf((i + 1) as VDiskId, 1 as Epoch, counter)
      const disks = [counter % 2 === 0 ? here : diskOf('n1', 'before'), diskOf('n2')]
      const copies = disks.map((disk, number) => ({ ...disk, number: (number + 1) as CopyNumber }))
      return { key: id, value: encodePlannedCopies(copies) }
    }).sort((a, b) => (a.key < b.key ? -1 : 1)),
  )
  return {
    scan: async ({ key: vdisk }, { after = '', before = '~', limit = 1000 } = {}) => ({
      static: { epoch: 1 as Epoch, version: 1, changeId: '' },
      rows: (tables[Number(vdisk) - 1] ?? [])
        .filter(({ key }) => key > after && key < before)
        .slice(0, limit),
    }),
  }
}

test('a walk meets every copy on the disks once, vDisk by vDisk, and ends', async () => {
  for (const groups of [[], [0], [3], [3, 0, 5], [0, 0], [700, 1, 256, 512]]) {
    const medusa = medusaOf(groups)
    const vdisks = groups.map((_, i) => (i + 1) as VDiskId).reverse()
    const met: GroupId[] = []
    let place = walkBegins
    for (let pieces = 1; ; pieces++) {
      assert(pieces < 20, `the walk over ${groups.join()} does not end`)
      const walked = await walkCopies(
        medusa,
        vdisks,
        place,
        (disk) => disk.incarnation === here.incarnation && disk.node === here.node,
      )
      met.push(...walked.copies.map(({ group }) => group))
      assert(walked.copies.every(({ group, vdisk }) => group.startsWith(`${vdisk}-`)))
      place = walked.place
      if (walked.isEnd) break
    }
    assert.equal(new Set(met).size, met.length, 'once each')
    assert.equal(
      met.length,
      groups.reduce((sum, count) => sum + Math.ceil(count / 2), 0),
      groups.join(),
    )
  }
})

test('a walk goes on from a vDisk that is not there any more', async () => {
  const place = { vdisk: 2 as VDiskId, group: '2-1-7' as GroupId }
  const { copies, isEnd } = await walkCopies(
    medusaOf([2, 9, 2]),
    [1 as VDiskId, 3 as VDiskId],
    place,
    () => true,
  )
  assert.equal(copies.length, 4)
  assert.equal(isEnd, true)
})
