/** A rebuild in the small world of the vDisk controller's tests: all rows are lost, and made from what its disks hold. */
import assert from 'node:assert/strict'
import { noIncarnation, sameDisk } from '../../base/ids.ts'
import type { CopyNumber, DiskRef, Epoch, GroupId, NodeId, Sequence, VDiskId } from '../../base/ids.ts'
import { newChangeId } from '../../medusa/medusa.ts'
import type { ExtentPiece } from './extent-payload.ts'
import { chanceOf, type TestWorld } from './fixtures.test.ts'
import {
  type CopyOnDisk,
  type LogsOnDisks,
  rebuildVDisk,
  type RebuiltVDisk,
  type VDiskOnDisks,
} from './rebuild.ts'
import { decodeVDiskState, stateRowKey, vdiskPartition } from './rows.ts'

export function groupsOnDisks(world: TestWorld, vdisk: VDiskId): VDiskOnDisks['groups'] {
  const groups = new Map<
    GroupId,
    { group: GroupId; copies: CopyOnDisk[]; trailer?: VDiskOnDisks['groups'][number]['trailer'] }
  >()
  for (const { ref, files } of world.extents.values())
    for (const [name, { trailer }] of files) {
      const [id, number] = name.split('.')
      if (!id.startsWith(`${vdisk}-`)) continue
      const group = groups.get(id as GroupId) ?? { group: id as GroupId, copies: [] }
      groups.set(id as GroupId, group)
      const state = trailer === undefined ? 'unfinished' : 'whole'
      group.copies.push({ ...ref, number: Number(number) as CopyNumber, tier: 'flash', state })
      if (trailer !== undefined) group.trailer = trailer
    }
  return [...groups.values()]
}

export function logsOnDisks(world: TestWorld, vdisk: VDiskId): LogsOnDisks {
  const disks = [...world.extents.values()]
  const isFreed = ({ group, copies }: ExtentPiece): boolean =>
    !disks.some(({ files }) => [...files.keys()].some((name) => name.startsWith(`${group}.`))) &&
    copies.every((copy) => disks.some(({ ref }) => sameDisk(ref, copy)))
  const logs = [...world.logs.values()].map((disk) => disk.onDisk(vdisk, isFreed))
  return {
    epoch: Math.max(...logs.map(({ epoch }) => epoch)) as Epoch,
    freed: Math.max(...logs.map(({ freed }) => freed)) as Sequence,
    endBytes: Math.max(...logs.map(({ endBytes }) => endBytes)),
    resized: Math.max(...logs.map(({ resized }) => resized)) as Sequence,
    episodes: logs.flatMap(({ episodes }) => episodes),
    ofFreedGroups: logs.flatMap(({ ofFreedGroups }) => ofFreedGroups),
  }
}

/** The vDisk's row, as a backup takes it. */
export function savedRow(world: TestWorld, vdisk: VDiskId): NonNullable<VDiskOnDisks['saved']> {
  const partition = vdiskPartition(vdisk)
  const { static: now, rows } = world.engine.run('medusa.get', { partition, rowKeys: [stateRowKey] })
  return { epoch: now.epoch, state: decodeVDiskState(rows[0].value) }
}

/** As `ndfs rebuild-metadata` has it: repair makes anew what is said to be there. */
function diskThatIsNowhere(world: TestWorld, besides: readonly NodeId[]): DiskRef | undefined {
  const other = [...world.extents.values()].find(({ ref }) => !besides.includes(ref.node))
  return other && { ...other.ref, incarnation: noIncarnation }
}

/** Loses all rows, and makes the vDisk's anew. No process may run. */
export function rebuild(world: TestWorld, vdisk: VDiskId, more: Partial<VDiskOnDisks> = {}): RebuiltVDisk {
  const rebuilt = rebuildVDisk(vdisk, {
    groups: groupsOnDisks(world, vdisk),
    logs: logsOnDisks(world, vdisk),
    nameless: `c/vdisk-${vdisk}`,
    lostDisk: (besides) => diskThatIsNowhere(world, besides),
    ...more,
  })
  assert.ok(rebuilt !== undefined, 'nothing is known of the vDisk')
  world.loseMetadata()
  for (const { name, epoch, changes } of rebuilt.partitions)
    changes.forEach((put, version) => {
      const expected = { epoch: (version === 0 ? 0 : epoch) as Epoch, version }
      const change = { id: newChangeId(chanceOf(world.random)), expected, epoch, put }
      assert.equal(world.engine.run('medusa.change', { partition: name, change }).outcome, 'applied')
    })
  return rebuilt
}
