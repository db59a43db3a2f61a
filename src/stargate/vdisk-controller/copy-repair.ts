/**
 * A copy of an extent group is bad: a good one is made on the same disk under a new number, verified, the row is swapped to it,
 * and only then the bad one is unlinked (I5, M4). The index knows of the new one before its first byte is written, so that it
 * is found again, by whoever owns the vDisk then, where this repair ends in the middle. One repair of a group at a time: two at once would each judge the other's row.
 */
import { messageOf, NdfsError } from '../../base/errors.ts'
import type { CopyNumber, GroupId } from '../../base/ids.ts'
import { pageBytes } from '../../base/units.ts'
import type { Chance, Log } from '../../platform/platform.ts'
import type { CopyRef, ExtentStore } from '../extent-store/extent-store.ts'
import { type GroupIndex, namesCopy } from './group-index.ts'
import type { GroupRow } from './rows.ts'
import type { VDiskRow } from './vdisk-row.ts'

export interface CopyRepairContext {
  readonly chance: Chance
  readonly log: Log
  readonly row: VDiskRow
  readonly index: GroupIndex
  readonly extents: ExtentStore
  readonly admit: (bytes: number) => Promise<() => void>
  readonly repaired: () => void
}

/** Numbers are drawn at random above those in the row, so that what a repair that failed left behind is in nobody's way. */
const numberStepMax = 2 ** 20

export class CopyRepair {
  readonly #context: CopyRepairContext
  readonly #underWay = new Set<GroupId>()

  constructor(context: CopyRepairContext) {
    this.#context = context
  }

  /** Repairs the copy where the row still names it. What fails is logged, and done when the copy is next met. */
  async repair(group: GroupId, copy: CopyRef): Promise<void> {
    if (this.#underWay.has(group)) return
    this.#underWay.add(group)
    const { log, index } = this.#context
    try {
      const row = await index.read(group)
      if (row?.state === 'whole' && namesCopy(row.copies, copy)) await this.#rebuild(group, copy, row)
    } catch (error) {
      if (!(error instanceof NdfsError)) throw error
      log.error(`a bad copy of extent group ${group} could not be repaired`, {
        disk: copy.disk,
        reason: messageOf(error),
      })
    } finally {
      this.#underWay.delete(group)
    }
  }

  async #rebuild(group: GroupId, copy: CopyRef, row: GroupRow): Promise<void> {
    const { chance, log, row: owned, index, extents, admit, repaired } = this.#context
    const { layer, extents: runs, checksums, copies } = row
    const highest = Math.max(...copies.map(({ number }) => number))
    const number = (highest + 1 + chance.below(numberStepMax)) as CopyNumber
    const trailer = {
      container: owned.state.name,
      layer,
      copies: owned.state.copies,
      extents: runs,
      checksums,
      zeros: [],
    }
    const leave = await admit(checksums.length * pageBytes)
    try {
      const access = { group, vdisk: owned.vdisk, epoch: owned.epoch, copies }
      const planned = await index.planned(group)
      const { node, disk, incarnation } = copy
      if (
        planned === undefined ||
        !(await index.plan(group, [...planned, { node, disk, incarnation, number }]))
      )
        return
      const rebuilt = await extents.rebuildCopy(access, copy, number, trailer)
      await index.swapCopy(group, copy, rebuilt)
      // Whatever became of the swap: the row says which are copies, and all others are unlinked, earlier repairs' too.
      const now = await index.read(group)
      for (const one of [...planned, copy, rebuilt])
        if (now === undefined || !namesCopy(now.copies, one)) await extents.remove(group, one, owned.epoch)
      if (now === undefined) return
      await index.plan(group, now.copies)
      if (!namesCopy(now.copies, rebuilt)) return
      repaired()
      log.warn(`a bad copy of extent group ${group} was repaired`, { disk: copy.disk, node: copy.node })
    } finally {
      leave()
    }
  }
}
