/**
 * What the loss of which things some bytes survive, by the disks that hold copies of them. Pure.
 *
 *   unreadable   no copy is on a disk in service, nor on one that failed and may still be read
 *   one copy     the next loss may be the last
 *   disk         copies on several disks of one node
 *   node         copies on several nodes of one block
 *   block        copies in several blocks
 *
 * A survey is the sum of what was looked at. Nothing that was not looked at may be left out of it: say that it is unknown instead.
 */
import type { DiskRef, NodeId } from '../../base/ids.ts'

/** From the worst to the best. */
export const copyLevels = ['unreadable', 'one copy', 'disk', 'node', 'block'] as const
export type CopyLevel = (typeof copyLevels)[number]

/** The cluster's disks, as whoever asks knows them. */
export interface DiskPicture {
  /** In service, of nodes that live. */
  readonly live: readonly (DiskRef & { readonly block: string })[]
  /** Failed, of nodes that live: they may still be read as a last resort (I6, M12). */
  readonly failed: readonly DiskRef[]
  /** Those of which is to be told what is still on them. */
  readonly asked?: readonly DiskRef[]
}

/** What still is on a disk that is being left. */
export interface HeldByDisk {
  readonly disk: DiskRef
  /** Extent groups whose rows name it, or that may be named by a log and name it in the index. */
  readonly groups: number
  /** Of their copies there, at most. */
  readonly bytes: number
  /** vDisks whose log may have records there, or gets some with the next write. */
  readonly logs: number
}

export interface CopySurvey {
  readonly bytes: Readonly<Record<CopyLevel, number>>
  /** The level of the weakest; undefined where there is nothing. */
  readonly weakest: CopyLevel | undefined
  /** What has fewer copies left than it should have. */
  readonly shortBytes: number
  /** What lies in fewer blocks than it could, with as many copies and the blocks that live. */
  readonly misplacedBytes: number
  /** Levels of which some bytes were not counted one by one: there are no more than this. */
  readonly atMost: readonly CopyLevel[]
  /** Of the disks that were asked for, those that hold something. */
  readonly held?: readonly HeldByDisk[]
}

/** Where so many copies lie. */
export interface Standing {
  readonly level: CopyLevel
  readonly copies: number
  readonly misplaced: boolean
}

/** A copy is read at the node that the row names: a disk that was carried to another is not found. */
const keyOf = ({ node, disk, incarnation }: DiskRef): string => `${node} ${disk} ${incarnation}`

/** Answers for sets of disks; made once for each picture. */
export function standings(picture: DiskPicture): (disks: readonly DiskRef[]) => Standing {
  const live = new Map(picture.live.map((disk) => [keyOf(disk), disk]))
  const failed = new Set(picture.failed.map(keyOf))
  const blocksThere = new Set(picture.live.map(({ block }) => block)).size
  return (disks) => {
    const nodes = new Set<NodeId>()
    const blocks = new Set<string>()
    const there = new Set<string>()
    for (const disk of disks) {
      const found = live.get(keyOf(disk))
      if (found === undefined) continue
      there.add(keyOf(found))
      nodes.add(found.node)
      blocks.add(found.block)
    }
    const copies = there.size
    return {
      level: levelOf(copies, nodes.size, blocks.size, () => disks.some((disk) => failed.has(keyOf(disk)))),
      copies,
      misplaced: blocks.size < Math.min(copies, blocksThere),
    }
  }
}

function levelOf(disks: number, nodes: number, blocks: number, mayBeRead: () => boolean): CopyLevel {
  if (blocks > 1) return 'block'
  if (nodes > 1) return 'node'
  if (disks > 1) return 'disk'
  return disks === 1 || mayBeRead() ? 'one copy' : 'unreadable'
}

export const weaker = (a: CopyLevel | undefined, b: CopyLevel | undefined): CopyLevel | undefined =>
  a === undefined || (b !== undefined && copyLevels.indexOf(b) < copyLevels.indexOf(a)) ? b : a

/** Adds up what is looked at. */
export class SurveySum {
  readonly #bytes: Record<CopyLevel, number> = { unreadable: 0, 'one copy': 0, disk: 0, node: 0, block: 0 }
  #weakest: CopyLevel | undefined
  #shortBytes = 0
  #misplacedBytes = 0
  readonly #atMost = new Set<CopyLevel>()
  readonly #held = new Map<string, { disk: DiskRef; groups: number; bytes: number; logs: number }>()

  /** `wanted`: how many copies there should be. */
  add({ level, copies, misplaced }: Standing, bytes: number, wanted: number, atMost = false): void {
    this.#bytes[level] += bytes
    this.#weakest = weaker(this.#weakest, level)
    if (copies < wanted) this.#shortBytes += bytes
    if (misplaced) this.#misplacedBytes += bytes
    if (atMost) this.#atMost.add(level)
  }

  addSurvey(survey: CopySurvey): void {
    for (const level of copyLevels) this.#bytes[level] += survey.bytes[level]
    this.#weakest = weaker(this.#weakest, survey.weakest)
    this.#shortBytes += survey.shortBytes
    this.#misplacedBytes += survey.misplacedBytes
    for (const level of survey.atMost) this.#atMost.add(level)
    for (const held of survey.held ?? []) this.addHeld(held)
  }

  addHeld({ disk, groups, bytes, logs }: HeldByDisk): void {
    const sum = this.#held.get(keyOf(disk)) ?? { disk, groups: 0, bytes: 0, logs: 0 }
    this.#held.set(keyOf(disk), {
      disk,
      groups: sum.groups + groups,
      bytes: sum.bytes + bytes,
      logs: sum.logs + logs,
    })
  }

  get survey(): CopySurvey {
    return {
      bytes: { ...this.#bytes },
      weakest: this.#weakest,
      shortBytes: this.#shortBytes,
      misplacedBytes: this.#misplacedBytes,
      atMost: copyLevels.filter((level) => this.#atMost.has(level)),
      ...(this.#held.size === 0 ? {} : { held: [...this.#held.values()] }),
    }
  }
}
