/**
 * All of one vDisk, held against each other by whoever may read Medusa: its map, the index and the rows of its extent groups, and every
 * copy that a row names, read on the disk that it is on. It runs while the vDisk is written to, and changes nothing.
 *
 *   map ─▶ index, row by row ─▶ group's row ─▶ its copies, each read where it lies ─▶ a pause ─▶ what seemed left over, looked at again
 *
 *  1. Every copy that a row named when the check came to it was read, or is in a finding, or is said to be unfinished.
 *  2. What changes meanwhile is no finding. Each has a confirmation that no sound change can contradict: a copy is named still after
 *     it was read; a group has no row, and the map that is read after that names it; what seems left over is there still after the grace
 *     that freeing takes, in a vDisk that is at rest, or of which its owner says that nothing points to it.
 *  3. What is on its way is passed by: open groups, dead ones that are being freed, copies that wait for a disk to come back.
 *
 * Not here: files that no row knows of (file-check.ts), whose part which vDisk is, what is done about it.
 */
import { atOnce } from '../../base/at-once.ts'
import { hasCode, messageOf, NdfsError } from '../../base/errors.ts'
import type { DiskRef, GroupId, VDiskId } from '../../base/ids.ts'
import { pageBytes } from '../../base/units.ts'
import type { Medusa, Static } from '../../medusa/medusa.ts'
import type { Clock } from '../../platform/platform.ts'
import type { CopyRef, ExtentStore } from '../extent-store/extent-store.ts'
import { checkCopy, namesNow } from './copy-check.ts'
import { readGroupRow } from './group-rows.ts'
import { copyFinding, type Finding } from './check-findings.ts'
import type { Standing } from './copy-levels.ts'
import { namesCopy } from './group-copies.ts'
import { isAt } from './group-sets.ts'
import { type NamedGroup, readMap, type SeenMap, stillNames } from './map-check.ts'
import { graceMs } from './reclaim.ts'
import {
  decodePlannedCopies,
  groupKeysEnd,
  groupsOfPartition,
  type GroupRow,
  type PlannedCopy,
  vdiskPartition,
  type VDiskState,
} from './rows.ts'
import { VDiskRow } from './vdisk-row.ts'

export interface VDiskCheckContext {
  readonly medusa: Medusa
  readonly clock: Clock
  readonly extents: Pick<ExtentStore, 'verify'>
  /** Where disks stand, as the check's own picture has it. */
  readonly standing: (disks: readonly DiskRef[]) => Standing
  readonly isLive: (disk: DiskRef) => boolean
  readonly admit: (bytes: number) => Promise<() => void>
  /** Its owner, where that is here. */
  readonly owner: (vdisk: VDiskId) => LeftOverJudge | undefined
  /** No node is shown as the owner. */
  readonly isUnowned: (vdisk: VDiskId) => boolean
  readonly found: (finding: Finding) => void
  /** A copy that is on a disk in service is wrong. */
  readonly wrongCopy: (vdisk: VDiskId, group: GroupId, copy: CopyRef, reason: string) => void
  readonly copyRead: (bytes: number) => void
  /** One that the index has was looked at, and each of its copies. */
  readonly groupChecked: () => void
  readonly unfinished: (what: string) => void
  readonly stopped: () => boolean
}

/** What an owner knows of groups in its index; false while it doesn't. */
export interface LeftOverJudge {
  /** Nothing points to the group, and it isn't being freed. */
  isLeftOver(group: GroupId): boolean
  /** No copy waits to be made, or unlinked. */
  isSettled(): boolean
}

const groupsAtOnce = 4
const rowsAtOnce = 256
/** Of a copy that can't be reached: a connection that broke is there again by then. */
const triesMax = 4
const retryMs = 1000
/** Longer than a dead group takes to be freed once it is marked. */
const lookAgainAfterMs = 2 * graceMs

interface Suspect {
  readonly group: GroupId
  readonly planned: readonly PlannedCopy[]
  /** Copies in the index that the row does not name; none where the group itself seems to be left over. */
  readonly copies?: readonly CopyRef[]
}

/** Rejects where Medusa can't be read: nothing is known then. */
export async function checkVDisk(context: VDiskCheckContext, vdisk: VDiskId, name: string): Promise<void> {
  await new VDiskCheck(context, vdisk, name).run()
}

/** Groups in the vDisk's index now: what a check of it will come by. Rejects where Medusa can't be read. */
export async function countGroups(
  { medusa, stopped }: Pick<VDiskCheckContext, 'medusa' | 'stopped'>,
  vdisk: VDiskId,
): Promise<number> {
  let count = 0
  for (let after = ''; !stopped();) {
    const options = { after, before: groupKeysEnd, limit: rowsAtOnce }
    const { rows } = await medusa.scan(groupsOfPartition(vdisk), options)
    count += rows.length
    if (rows.length < rowsAtOnce) break
    after = rows[rowsAtOnce - 1].key
  }
  return count
}

class VDiskCheck {
  readonly #context: VDiskCheckContext
  readonly #vdisk: VDiskId
  readonly #name: string
  readonly #suspects: Suspect[] = []

  constructor(context: VDiskCheckContext, vdisk: VDiskId, name: string) {
    this.#context = context
    this.#vdisk = vdisk
    this.#name = name
  }

  async run(): Promise<void> {
    const { medusa, found, stopped } = this.#context
    const vdisk = this.#vdisk
    const begun = await VDiskRow.peekWithEpoch({ medusa }, vdisk)
    if (begun === undefined)
      return found({ kind: 'damaged metadata', vdisk, what: `vDisk ${vdisk} (${this.#name}) has no row` })
    const { state } = begun
    if (state.state === 'deleted') return
    const { static: at } = await medusa.get(vdiskPartition(vdisk), [])
    const map = await readMap(medusa, vdisk, state.layer)
    for (const what of map.damage) found({ kind: 'damaged metadata', vdisk, what })
    if (map.badPages > 0)
      found({
        kind: 'lost pages',
        vdisk,
        what: `${map.badPages} pages of vDisk ${vdisk} (${this.#name}) can't be read: each copy of them was bad`,
      })
    await this.#checkIndex(state, map)
    // What is left of them no row of the index has.
    for (const [group, place] of map.named) {
      if (stopped()) return
      await this.#checkNamedWithoutIndex(state, group, place)
    }
    await this.#lookAgain(state, at)
  }

  async #checkIndex(state: VDiskState, map: SeenMap): Promise<void> {
    const { medusa, stopped } = this.#context
    for (let after = ''; ;) {
      const options = { after, before: groupKeysEnd, limit: rowsAtOnce }
      const { rows } = await medusa.scan(groupsOfPartition(this.#vdisk), options)
      await atOnce(rows, groupsAtOnce, async ({ key, value }) => {
        if (stopped()) return
        const group = key as GroupId
        const place = map.named.get(group)
        map.named.delete(group)
        await this.#checkGroup(state, group, decodePlannedCopies(value), place)
        this.#context.groupChecked()
      })
      if (rows.length < rowsAtOnce || stopped()) return
      after = rows[rowsAtOnce - 1].key
    }
  }

  async #checkGroup(
    state: VDiskState,
    group: GroupId,
    planned: readonly PlannedCopy[],
    place: NamedGroup | undefined,
  ): Promise<void> {
    const row = await this.#rowOf(group)
    if (row === 'damaged') return
    if (row?.state !== 'whole') {
      if (place !== undefined) await this.#checkDangling(state, group, place)
      else this.#suspects.push({ group, planned })
      return
    }
    if (place === undefined) this.#suspects.push({ group, planned })
    else if (place.page >= row.checksums.length && (await this.#isNamedStill(state, group, place)))
      this.#dangling(group, place, `which has ${row.checksums.length}`)
    const unnamed = planned.filter(notLeftBehind).filter((copy) => !namesCopy(row.copies, copy))
    if (unnamed.length > 0) this.#suspects.push({ group, planned, copies: unnamed })
    await this.#checkPlacement(state, group, row)
    for (const copy of row.copies) await this.#checkCopy(group, copy, row)
  }

  async #rowOf(group: GroupId): Promise<GroupRow | undefined | 'damaged'> {
    const { medusa, found } = this.#context
    try {
      return await readGroupRow(medusa, group)
    } catch (error) {
      if (!hasCode(error, 'DAMAGED_METADATA')) throw error
      found({ kind: 'damaged metadata', vdisk: this.#vdisk, group, what: `${group}: ${error.message}` })
      return 'damaged'
    }
  }

  /** Freed between the two readings, or moved by compaction: then the index is behind the map as we read it. */
  async #checkNamedWithoutIndex(state: VDiskState, group: GroupId, place: NamedGroup): Promise<void> {
    const { medusa, found } = this.#context
    const row = await this.#rowOf(group)
    if (row === 'damaged') return
    if (row?.state !== 'whole') return this.#checkDangling(state, group, place)
    const { rows } = await medusa.get(groupsOfPartition(this.#vdisk), [group])
    const isThere = rows.length > 0
    if (isThere) return this.#checkGroup(state, group, decodePlannedCopies(rows[0].value), place)
    if (!(await this.#isNamedStill(state, group, place))) return
    found({
      ...{ kind: 'damaged metadata', vdisk: this.#vdisk, group },
      what: `extent group ${group} is in the map and not in the index of groups: it is not repaired when a copy is lost`,
    })
    await this.#checkPlacement(state, group, row)
    for (const copy of row.copies) await this.#checkCopy(group, copy, row)
  }

  /** The group has no row, or is being deleted, and never comes back: a map that is read now, and names it, is wrong. */
  async #checkDangling(state: VDiskState, group: GroupId, place: NamedGroup): Promise<void> {
    if (await this.#isNamedStill(state, group, place)) this.#dangling(group, place, 'which no row has')
  }

  #isNamedStill({ layer }: VDiskState, group: GroupId, place: NamedGroup): Promise<boolean> {
    return stillNames(this.#context.medusa, this.#vdisk, layer, group, place)
  }

  #dangling(group: GroupId, { page, partition, vBlock }: NamedGroup, why: string): void {
    this.#context.found({
      ...{ kind: 'dangling pointer', vdisk: this.#vdisk, group },
      what: `the map of vDisk ${this.#vdisk}, partition ${partition}, vBlock ${vBlock}, names page ${page} of extent group ${group}, ${why}`,
    })
  }

  async #checkPlacement({ copies: asked }: VDiskState, group: GroupId, row: GroupRow): Promise<void> {
    const { medusa, standing, found } = this.#context
    const faultOf = ({ copies }: GroupRow): Finding | undefined => {
      const names = { vdisk: this.#vdisk, group }
      if (copies.length < asked)
        return {
          ...{ kind: 'missing copy', ...names },
          what: `the row of extent group ${group} names ${copies.length} copies, and ${asked} are asked for`,
        }
      const nodes = new Set(copies.map(({ node }) => node)).size
      const where = copies.map(({ disk }) => disk).join(', ')
      if (nodes < copies.length)
        return {
          ...{ kind: 'misplaced copies', ...names },
          what: `the copies of extent group ${group} are on ${nodes} nodes: ${where}`,
        }
      if (!standing(copies).misplaced) return undefined
      return {
        ...{ kind: 'misplaced copies', ...names },
        what: `the copies of extent group ${group} are in fewer blocks than they could be: ${where}`,
      }
    }
    if (faultOf(row) === undefined) return
    const now = await readGroupRow(medusa, group)
    const fault = now?.state === 'whole' ? faultOf(now) : undefined
    if (fault !== undefined) found(fault)
  }

  async #checkCopy(group: GroupId, copy: CopyRef, row: GroupRow): Promise<void> {
    const { medusa, isLive, found, wrongCopy, copyRead, unfinished, stopped, clock } = this.#context
    const vdisk = this.#vdisk
    if (!isLive(copy)) {
      if (namesNow(await readGroupRow(medusa, group), copy))
        found(copyFinding('missing copy', group, vdisk, copy, `${copy.disk} is not in service`))
      return
    }
    const bytes = row.checksums.length * pageBytes
    for (let tries = 1; !stopped(); tries++)
      try {
        const leave = await this.#context.admit(bytes)
        const checked = await checkCopy(this.#context, group, copy, row).finally(leave)
        copyRead(checked.state === 'moved on' ? 0 : bytes)
        if (checked.state !== 'wrong') return
        const kind = ['missing', 'short'].includes(checked.fault) ? 'missing copy' : 'bad copy'
        found(copyFinding(kind, group, vdisk, copy, checked.reason))
        return wrongCopy(vdisk, group, copy, checked.reason)
      } catch (error) {
        if (!(error instanceof NdfsError)) throw error
        if (tries === triesMax)
          return unfinished(`${copyName(group, copy)} was not read: ${messageOf(error)}`)
        await clock.sleep(retryMs)
        if (!namesNow(await readGroupRow(medusa, group), copy)) return
      }
  }

  /** What seemed to be left over is on its way mostly: looked at once more, when it had the time to be gone. */
  async #lookAgain(state: VDiskState, at: Static): Promise<void> {
    const { clock, stopped, found } = this.#context
    const isAtRest = isDrained(state) && this.#context.isUnowned(this.#vdisk)
    const missing = state.episodes.some(({ replicas }) => !replicas.every(this.#context.isLive))
    if (stopped() || (this.#suspects.length === 0 && !missing)) return
    await clock.sleep(lookAgainAfterMs)
    if (missing) await this.#checkLog(state)
    const judged = await this.#judged(isAtRest, at)
    for (const { group, planned, copies } of judged) {
      if (stopped()) return
      for (const copy of copies ?? [])
        if (await this.#isUnnamedStill(group, copy))
          found(copyFinding('orphan', group, this.#vdisk, copy, 'the row of its group does not name it'))
      if (copies !== undefined || !(await this.#isThereStill(group))) continue
      found({
        ...{ kind: 'orphan', vdisk: this.#vdisk, group },
        what: `extent group ${group} on ${planned.map(({ disk }) => disk).join(', ')}: nothing names it`,
      })
    }
  }

  /** Those that are left over for certain, of which nothing waits for a disk to come back. */
  async #judged(isAtRest: boolean, at: Static): Promise<readonly Suspect[]> {
    const { medusa, isLive, owner, isUnowned } = this.#context
    const vdisk = this.#vdisk
    const there = this.#suspects.filter(({ planned }) => planned.every(isLive))
    if (there.length === 0) return []
    const judge = owner(vdisk)
    if (judge !== undefined)
      return there.filter(({ group, copies }) =>
        copies === undefined ? judge.isLeftOver(group) : judge.isSettled(),
      )
    const { static: now } = await medusa.get(vdiskPartition(vdisk), [])
    if (!isAtRest || !isUnowned(vdisk) || !isAt(at, now)) return []
    const left: Suspect[] = []
    for (const suspect of there)
      if (suspect.copies !== undefined || (await this.#takesRoom(suspect))) left.push(suspect)
    return left
  }

  /** Else it was planned ahead by an owner that gave the vDisk up: no disk has anything of it, and the next owner forgets it. */
  async #takesRoom({ group, planned }: Suspect): Promise<boolean> {
    for (const copy of planned) {
      const { state } = await this.#context.extents.verify(group, copy, new Uint32Array(1))
      if (state !== 'missing') return true
    }
    return false
  }

  async #isThereStill(group: GroupId): Promise<boolean> {
    const { rows } = await this.#context.medusa.get(groupsOfPartition(this.#vdisk), [group])
    return rows.length > 0
  }

  /** One that is on a disk that went while we checked waits for that disk, and is left over no more than those that did before. */
  async #isUnnamedStill(group: GroupId, copy: CopyRef): Promise<boolean> {
    const { medusa } = this.#context
    const { rows } = await medusa.get(groupsOfPartition(this.#vdisk), [group])
    const planned = rows.flatMap(({ value }) => decodePlannedCopies(value))
    const isPlanned = namesCopy(planned.filter(notLeftBehind), copy)
    return isPlanned && !namesNow(await readGroupRow(medusa, group), copy)
  }

  /** Log that is not drained, and has a replica on a disk that is gone: its owner makes another, or drains it, at once. */
  async #checkLog({ episodes: before, drained }: VDiskState): Promise<void> {
    const { medusa, isLive, found } = this.#context
    const now = (await VDiskRow.peek({ medusa }, this.#vdisk)) ?? { episodes: [], drained }
    for (const { id, end, replicas } of now.episodes) {
      const isHeld = end === undefined || end > now.drained
      const gone = replicas.filter((disk) => !isLive(disk)).map(({ disk }) => disk)
      if (!isHeld || gone.length === 0 || !before.some((one) => one.id === id)) continue
      found({
        ...{ kind: 'missing copy', vdisk: this.#vdisk },
        what: `the log of vDisk ${this.#vdisk} (${this.#name}), episode ${id}, lacks its copy on ${gone.join(', ')}, which is not in service`,
      })
    }
  }
}

const notLeftBehind = ({ left }: PlannedCopy): boolean => left !== true

const isDrained = ({ episodes, drained }: VDiskState): boolean =>
  episodes.every(({ end }) => end !== undefined && end <= drained)

const copyName = (group: GroupId, { number, disk }: CopyRef): string =>
  `copy ${number} of extent group ${group} on ${disk}`
