/**
 * A delta of one partition of the map: what one change made of many vBlocks, in one row, so that a drain of random writes doesn't write every
 * vBlock's row anew for a few pages of it (M18). Little-endian.
 *
 *   0         2        4         8               8 + 16 g
 *   ┌─────────┬────────┬─────────┬─── ─ ─ ───────┬──── ─ ─ ────────────────────────────────────────────┐
 *   │ version │ groups │ vBlocks │ groups × 16   │ vBlocks × { index u16, runs u16, version u32,       │
 *   │ u16     │ g u16  │ u32     │ (map-row.ts)  │             runs × { page u8, count - 1 u8,         │
 *   │         │        │         │               │                      group u16, at u16 } }          │
 *   └─────────┴────────┴─────────┴─── ─ ─ ───────┴──── ─ ─ ────────────────────────────────────────────┘
 *
 * A vBlock is its own row, of some version, and upon it the deltas that name it with the next versions, without a gap, up to the one that the
 * partition's digest has: less than that is damage (I5, F12). Runs say what pages became, holes too.
 */
import { assert } from '../../base/assert.ts'
import { NdfsError } from '../../base/errors.ts'
import type { GroupId } from '../../base/ids.ts'
import { KiB, pagesPerVBlock } from '../../base/units.ts'
import type { Row } from '../../medusa/medusa.ts'
import type { GroupHandle } from '../extent-cache/extent-cache.ts'
import { bad, groupIdAt, groupIdBytes, hole, putGroupId, runBytes, type VBlock } from './map-row.ts'

const deltaVersion = 1
const headerBytes = 8
const entryBytes = 8
const holePlace = 0xfffe
const badPlace = 0xffff

export const deltaKeysBegin = 'd'
/** Behind all deltas, and before the digest. */
export const deltaKeysEnd = 'd:'
/** By the version that the partition has with it: none is used twice, and who reads begins with the oldest that is needed. */
export const deltaKey = (version: number): string => `d${String(version).padStart(15, '0')}`

/** Right before it, so that whoever reads behind that reads it first. */
export const keyBefore = (key: string): string => deltaKey(Number(key.slice(1)) - 1)

/** What a change makes of one vBlock, `index` in its partition. */
export interface ChangedVBlock {
  readonly index: number
  readonly version: number
  readonly before: VBlock
  readonly after: VBlock
}

const isChanged = ({ before, after }: Pick<ChangedVBlock, 'before' | 'after'>, page: number): boolean =>
  before.groups[page] !== after.groups[page] || before.pages[page] !== after.pages[page]

/** Whether one run holds the page and the one before it. */
const goesOn = ({ groups, pages }: VBlock, page: number): boolean =>
  page > 0 &&
  groups[page] === groups[page - 1] &&
  (groups[page] === hole || groups[page] === bad || pages[page] === pages[page - 1] + 1)

/** How many runs the vBlock's own row would have, and how many a delta: of at most `runBytesMax` each. */
export function runsOf(changed: Pick<ChangedVBlock, 'before' | 'after'>): {
  readonly own: number
  readonly delta: number
} {
  const { after } = changed
  let [own, delta] = [0, 0]
  for (let page = 0, wasChanged = false; page < pagesPerVBlock; page++) {
    const isOn = goesOn(after, page)
    if (!isOn && after.groups[page] !== hole) own++
    const isNew = isChanged(changed, page)
    if (isNew && !(wasChanged && isOn)) delta++
    wasChanged = isNew
  }
  return { own, delta }
}

/** Of a run with a group of its own. */
export const runBytesMax = runBytes + groupIdBytes
const entryBytesMax = entryBytes + pagesPerVBlock * runBytes

/** What a delta is put together in, one at a time. */
let scratch = Buffer.allocUnsafe(64 * KiB)

export function encodeMapDelta(
  changed: readonly ChangedVBlock[],
  idOf: (handle: GroupHandle) => GroupId,
): Buffer {
  const places = new Map<GroupHandle, number>([
    [hole, holePlace],
    [bad, badPlace],
  ])
  const groups: GroupHandle[] = []
  const placeOf = (group: GroupHandle): number => {
    let place = places.get(group)
    if (place === undefined) {
      place = groups.push(group) - 1
      places.set(group, place)
    }
    return place
  }
  let end = 0
  for (const one of changed) {
    if (end + entryBytesMax > scratch.length) scratch = Buffer.concat([scratch, scratch])
    const entry = end
    end += entryBytes
    for (let page = 0, past: number; page < pagesPerVBlock; page = past) {
      past = page + 1
      if (!isChanged(one, page)) continue
      while (past < pagesPerVBlock && isChanged(one, past) && goesOn(one.after, past)) past++
      const group = one.after.groups[page]
      scratch[end] = page
      scratch[end + 1] = past - page - 1
      scratch.writeUInt16LE(placeOf(group), end + 2)
      scratch.writeUInt16LE(group === hole || group === bad ? 0 : one.after.pages[page], end + 4)
      end += runBytes
    }
    scratch.writeUInt16LE(one.index, entry)
    scratch.writeUInt16LE((end - entry - entryBytes) / runBytes, entry + 2)
    scratch.writeUInt32LE(one.version, entry + 4)
  }
  assert(groups.length < holePlace, 'a delta has places for its groups')
  const bytes = Buffer.allocUnsafe(headerBytes + groups.length * groupIdBytes + end)
  bytes.writeUInt16LE(deltaVersion, 0)
  bytes.writeUInt16LE(groups.length, 2)
  bytes.writeUInt32LE(changed.length, 4)
  let at = headerBytes
  for (const group of groups) {
    putGroupId(bytes, idOf(group), at)
    at += groupIdBytes
  }
  scratch.copy(bytes, at, 0, end)
  return bytes
}

/** Of an entry in a delta's own list of them. */
const indexBytes = 40

/** A delta as it was read, or written. Its runs are decoded when somebody asks for a vBlock. */
export class MapDelta {
  readonly key: string
  readonly #value: Buffer
  /** Where in the value each vBlock's entry begins, by its index. */
  readonly #entries = new Map<number, number>()

  /** Throws DAMAGED_METADATA where the row can't be read. */
  constructor({ key, value }: Row) {
    this.key = key
    this.#value = value
    const groups = value.length < headerBytes ? 0 : value.readUInt16LE(2)
    let at = headerBytes + groups * groupIdBytes
    if (at > value.length || value.readUInt16LE(0) !== deltaVersion) throw this.#unreadable()
    for (let left = value.readUInt32LE(4); left > 0; left--) {
      if (at + entryBytes > value.length) throw this.#unreadable()
      this.#entries.set(value.readUInt16LE(at), at)
      at += entryBytes + value.readUInt16LE(at + 2) * runBytes
    }
    if (at !== value.length) throw this.#unreadable()
  }

  get bytes(): number {
    return this.#value.length
  }

  /** What it takes in memory, about. */
  get bytesKept(): number {
    return this.#value.length + indexBytes * this.#entries.size
  }

  /** Of the vBlocks that it names. */
  get indexes(): Iterable<number> {
    return this.#entries.keys()
  }

  /** The version that it made of the vBlock; 0 where it doesn't name it. */
  versionOf(index: number): number {
    const at = this.#entries.get(index)
    return at === undefined ? 0 : this.#value.readUInt32LE(at + 4)
  }

  /** Makes of the vBlock, of the version before, what the delta made of it. */
  applyTo(index: number, block: VBlock, handleOf: (id: GroupId) => GroupHandle): void {
    const entry = this.#entries.get(index)
    if (entry === undefined) return
    const value = this.#value
    const groups = value.readUInt16LE(2)
    let at = entry + entryBytes
    for (let left = value.readUInt16LE(entry + 2); left > 0; left--, at += runBytes) {
      const [page, count] = [value[at], value[at + 1] + 1]
      const place = value.readUInt16LE(at + 2)
      const first = value.readUInt16LE(at + 4)
      const isNowhere = place === holePlace || place === badPlace
      if (page + count > pagesPerVBlock || (!isNowhere && place >= groups)) throw this.#unreadable()
      const group =
        place === holePlace
          ? hole
          : place === badPlace
            ? bad
            : handleOf(groupIdAt(value, headerBytes + place * groupIdBytes))
      for (let k = 0; k < count; k++) {
        block.groups[page + k] = group
        block.pages[page + k] = isNowhere ? 0 : first + k
      }
    }
  }

  #unreadable(): NdfsError {
    return new NdfsError(
      'DAMAGED_METADATA',
      `Cannot read a delta of the map: row ${this.key} is unreadable`,
      {
        row: this.key,
      },
    )
  }
}

/**
 * Makes of a vBlock, as its own row had it in version `from` (0: it has none), what the deltas, in their order, made of it since. Returns the version
 * that came of it: another than the digest's is damage.
 */
export function applyDeltas(
  deltas: Iterable<MapDelta>,
  index: number,
  block: VBlock,
  from: number,
  handleOf: (id: GroupId) => GroupHandle,
): number {
  let version = from
  for (const delta of deltas) {
    const made = delta.versionOf(index)
    if (made <= version) continue
    if (made !== version + 1) return version
    delta.applyTo(index, block, handleOf)
    version = made
  }
  return version
}
