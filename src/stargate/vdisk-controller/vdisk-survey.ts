/**
 * Surveys of vDisks: what of each would be left after which losses, counted from its rows (docs/decisions/0005). Whoever may read
 * Medusa may make one; who owns the vDisk, or whether anybody does, is of no account.
 *
 *  1. Every byte that was acknowledged when the survey began is in it, with the copies that rows name, or it rejects.
 *  2. Row before index: what is drained between the two is in the index, what was drained before is in no episode that counts.
 *  3. Bytes that are not lost are counted too often rather than not at all: groups that nothing names any more, or that no byte
 *     was written to yet, until they are deleted. `atMost` says where sizes were not looked up.
 *
 * Not here: which disks live (whoever asks says so), whether a copy that is there is good (scrub).
 */
import { atOnce } from '../../base/at-once.ts'
import { NdfsError } from '../../base/errors.ts'
import { type DiskRef, type Epoch, type GroupId, sameDisk, type VDiskId } from '../../base/ids.ts'
import { groupBytesMax, pageBytes } from '../../base/units.ts'
import type { Medusa } from '../../medusa/medusa.ts'
import type { Clock } from '../../platform/platform.ts'
import { BadCopies } from './bad-copies.ts'
import { type CopySurvey, type DiskPicture, type Standing, standings, SurveySum } from './copy-levels.ts'
import { type GroupSets, isAt, readGroupSets, tooBusy } from './group-sets.ts'
import { readGroupRow } from './group-rows.ts'
import { groupsOfPartition, type VDiskState } from './rows.ts'
import { VDiskRow } from './vdisk-row.ts'
import { undrainedBytesPerVDiskMax } from './write-gate.ts'

/** A stretch of undrained log, and the disks that all of it is on. */
export interface HeldByLog {
  readonly replicas: readonly DiskRef[]
  readonly bytes: number
}

/** What an owner knows of its log; true as long as the row has its epoch. */
export interface ToldByOwner {
  readonly epoch: Epoch
  readonly held: readonly HeldByLog[]
  /** Copies that were found to be bad: those that a row still names don't count. */
  readonly bad?: BadCopies
}

/** Groups of all indexes that are kept: about 40 bytes each. */
const groupsKeptMax = 1_000_000
/** Rows of endangered groups that the surveys of one question read; the others are counted as full. */
const rowsReadMax = 256
const readsAtOnce = 16
const triesMax = 4

/** One question: a picture of the disks, and how many rows may still be read for it. */
export interface SurveyQuestion {
  readonly standing: (disks: readonly DiskRef[]) => Standing
  /** Of these disks it is to be told what they hold. */
  readonly asked: readonly DiskRef[]
  rowsLeft: number
}

export const questionOf = (picture: DiskPicture): SurveyQuestion => ({
  standing: standings(picture),
  asked: picture.asked ?? [],
  rowsLeft: rowsReadMax,
})

export class VDiskSurveys {
  readonly #medusa: Medusa
  readonly #clock: Clock
  /** Least recently used first. */
  readonly #kept = new Map<VDiskId, GroupSets>()
  #groupsKept = 0
  /** Long ones outlive the question that they were begun for: the next one finds what they read. */
  readonly #reading = new Map<VDiskId, Promise<GroupSets>>()

  constructor(medusa: Medusa, clock: Clock) {
    this.#medusa = medusa
    this.#clock = clock
  }

  /**
   * `told`: what the vDisk's log holds at the call, where its owner is here; else the row tells which replicas may hold something.
   * Rejects with NOT_FOUND where there is no such vDisk, with UNAVAILABLE and others where Medusa can't be read.
   */
  async survey(vdisk: VDiskId, question: SurveyQuestion, told?: ToldByOwner): Promise<CopySurvey> {
    const seen = await VDiskRow.peekWithEpoch({ medusa: this.#medusa }, vdisk)
    if (seen === undefined) throw new NdfsError('NOT_FOUND', `There is no vDisk ${vdisk}`, { vdisk })
    const { state, epoch } = seen
    const sum = new SurveySum()
    if (state.state === 'deleted') return sum.survey
    // An owner that was followed by another, and hasn't heard of it, tells of the past.
    const isTold = told?.epoch === epoch
    const held = isTold ? told.held : heldByRow(state)
    for (const { replicas, bytes } of held) sum.add(question.standing(replicas), bytes, state.copies, !isTold)
    await this.#addGroups(sum, vdisk, state, held.length > 0, question, told?.bad)
    if (question.asked.length > 0) await this.#addHeld(sum, vdisk, state, question)
    return sum.survey
  }

  /**
   * What is on the disks that are asked for. Too much rather than too little: an index row without a row of the group counts where the
   * vDisk's row names an episode that may hold something, and rows that are too many to be read count as the index has them.
   */
  async #addHeld(sum: SurveySum, vdisk: VDiskId, state: VDiskState, question: SurveyQuestion): Promise<void> {
    const episodes = state.episodes.filter(({ end }) => end === undefined || end > state.drained)
    const isAsked = (disks: readonly DiskRef[]): DiskRef[] =>
      question.asked.filter((disk) => disks.some((one) => sameDisk(one, disk) && one.node === disk.node))
    for (const disk of isAsked(episodes.flatMap(({ replicas }) => replicas)))
      sum.addHeld({ disk, groups: 0, bytes: 0, logs: 1 })
    const { sets, unsettled } = await this.#groupSets(vdisk, state.copies)
    const toRead: { readonly group: GroupId; readonly planned: readonly DiskRef[] }[] = []
    for (const group of unsettled) toRead.push({ group, planned: [] })
    for (const { disks, groups } of sets) {
      const asked = isAsked(disks)
      if (asked.length === 0) continue
      if (groups.length <= question.rowsLeft) {
        question.rowsLeft -= groups.length
        for (const group of groups) toRead.push({ group, planned: asked })
      } else
        for (const disk of asked)
          sum.addHeld({ disk, groups: groups.length, bytes: groups.length * groupBytesMax, logs: 0 })
    }
    await atOnce(toRead, readsAtOnce, async ({ group, planned }) => {
      const row = await readGroupRow(this.#medusa, group)
      if (row === undefined) {
        if (episodes.length > 0)
          for (const disk of planned) sum.addHeld({ disk, groups: 1, bytes: groupBytesMax, logs: 0 })
        return
      }
      if (row.state !== 'whole') return
      for (const disk of isAsked(row.copies))
        sum.addHeld({ disk, groups: 1, bytes: row.checksums.length * pageBytes, logs: 0 })
    })
  }

  async #addGroups(
    sum: SurveySum,
    vdisk: VDiskId,
    { copies }: VDiskState,
    isLogHeld: boolean,
    question: SurveyQuestion,
    bad: BadCopies = new BadCopies(),
  ): Promise<void> {
    const { sets, unsettled } = await this.#groupSets(vdisk, copies)
    const toRead: { readonly group: GroupId; readonly planned: Standing | undefined }[] = []
    for (const group of unsettled) toRead.push({ group, planned: undefined })
    for (const { disks, groups: all } of sets) {
      const groups = bad.size === 0 ? all : all.filter((group) => !bad.has(group))
      if (groups.length < all.length)
        for (const group of all) if (bad.has(group)) toRead.push({ group, planned: question.standing(disks) })
      const standing = question.standing(disks)
      const isEndangered = standing.level === 'unreadable' || standing.level === 'one copy'
      // Where one copy was asked for, all of it is endangered for good.
      const isLost = isEndangered && (copies > 1 || standing.level === 'unreadable')
      const look = isLost ? groups.slice(0, question.rowsLeft) : []
      question.rowsLeft -= look.length
      for (const group of look) toRead.push({ group, planned: standing })
      const rest = groups.length - look.length
      // Only of what is endangered anybody is told a size.
      if (rest > 0) sum.add(standing, rest * groupBytesMax, copies, true)
    }
    await atOnce(toRead, readsAtOnce, async ({ group, planned }) => {
      const row = await readGroupRow(this.#medusa, group)
      if (row !== undefined) {
        const bytes = row.checksums.length * pageBytes
        const good = bad.goodOf(group, row.copies)
        if (row.state === 'whole') sum.add(question.standing(good), bytes, copies)
      } else if (isLogHeld && planned !== undefined) sum.add(planned, groupBytesMax, copies, true)
      // Else it is open, and the log names nothing that is: no byte of it was acknowledged.
    })
  }

  /** As of now: what was read before is read again where the index has changed. */
  async #groupSets(vdisk: VDiskId, copies: number): Promise<GroupSets> {
    for (let tries = 0; tries < triesMax; tries++) {
      const kept = this.#kept.get(vdisk)
      if (kept !== undefined) {
        const now = await this.#medusa.get(groupsOfPartition(vdisk), [])
        if (kept.at !== undefined && isAt(kept.at, now.static)) {
          this.#keep(vdisk, kept)
          return kept
        }
      }
      const underWay = this.#reading.get(vdisk)
      if (underWay === undefined) return this.#read(vdisk, copies)
      // It was begun before we came: what it has is kept, and looked at like anything that is.
      await underWay
    }
    throw tooBusy(vdisk)
  }

  async #read(vdisk: VDiskId, copies: number): Promise<GroupSets> {
    const reading = readGroupSets(this.#medusa, this.#clock, vdisk, copies)
    this.#reading.set(vdisk, reading)
    try {
      const read = await reading
      this.#keep(vdisk, read)
      return read
    } finally {
      this.#reading.delete(vdisk)
    }
  }

  #keep(vdisk: VDiskId, sets: GroupSets): void {
    this.#drop(vdisk)
    this.#kept.set(vdisk, sets)
    this.#groupsKept += sets.groups
    for (const oldest of this.#kept.keys()) {
      if (this.#groupsKept <= groupsKeptMax) break
      this.#drop(oldest)
    }
  }

  #drop(vdisk: VDiskId): void {
    this.#groupsKept -= this.#kept.get(vdisk)?.groups ?? 0
    this.#kept.delete(vdisk)
  }
}

/** Episodes that may hold what is in no extent group yet; how much, their replicas know. */
const heldByRow = ({ episodes, drained }: VDiskState): HeldByLog[] =>
  episodes
    .filter(({ end }) => end === undefined || end > drained)
    .map(({ replicas }) => ({ replicas, bytes: undrainedBytesPerVDiskMax }))
