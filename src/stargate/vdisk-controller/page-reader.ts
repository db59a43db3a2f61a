/**
 * Brings pages of extent groups into buffers: from the cache, else from the extent store, many pages of one group in one read,
 * verified against the row's checksums. Used by guests' reads and by draining, which needs the base under ragged writes.
 */
import { atOnce } from '../../base/at-once.ts'
import { hasCode, NdfsError } from '../../base/errors.ts'
import type { Epoch, VDiskId } from '../../base/ids.ts'
import { joined } from '../../base/joined.ts'
import { giveBack, takeLarge } from '../../base/large-buffers.ts'
import { groupPage, pageBytes } from '../../base/units.ts'
import type { ExtentCache, GroupHandle } from '../extent-cache/extent-cache.ts'
import type { ExtentStore } from '../extent-store/extent-store.ts'
import type { GroupPlace, GroupTable } from './group-table.ts'
import { bad } from './map-row.ts'

export interface PageFetch {
  readonly group: GroupHandle
  readonly at: number
  /** One page. */
  readonly target: Buffer
}

/** Runs read at once: what one guest request or drain may keep the disks busy with. */
const runsAtOnceMax = 16
/** Pages between two that are wanted which are read with them: so many take less of a disk than another request. */
const gapPagesMax = 8

export class PageReader {
  readonly #extents: ExtentStore
  readonly #cache: ExtentCache
  readonly #groups: GroupTable
  readonly #underWay = new Set<Promise<unknown>>()

  constructor(extents: ExtentStore, cache: ExtentCache, groups: GroupTable) {
    this.#extents = extents
    this.#cache = cache
    this.#groups = groups
  }

  /** Resolves when every target is filled; rejects when nothing touches them any more: CORRUPT_EXTENT where all copies of a page are bad, PEER_UNREACHABLE where some can't be asked. */
  fetch(vdisk: VDiskId, epoch: Epoch, fetches: readonly PageFetch[]): Promise<void> {
    return this.#during(this.#fetch(vdisk, epoch, fetches))
  }

  /**
   * As `fetch`, of pages that lie close together and are wanted once: they are read with what is between them, and the cache is left to
   * what guests read. Rejects with CORRUPT_EXTENT also where a page is bad that was not asked for.
   */
  fetchAcrossGaps(vdisk: VDiskId, epoch: Epoch, fetches: readonly PageFetch[]): Promise<void> {
    const runs = runsOf(fetches, gapPagesMax)
    const read = async (run: PageFetch[]): Promise<void> => {
      const across = takeLarge((run.at(-1)!.at + 1 - run[0].at) * pageBytes)
      await this.#readRun(vdisk, epoch, run, this.#groups.peek(run[0].group), across)
      giveBack(across)
    }
    return this.#during(atOnce(runs, runsAtOnceMax, read))
  }

  /**
   * Pages that lie in their group one after the other, into memory that the caller may give back (large-buffers.ts). Rejects as `fetch`
   * does. They are not looked for in the cache, and are there afterwards.
   */
  take(vdisk: VDiskId, epoch: Epoch, group: GroupHandle, at: number, count: number): Promise<Buffer> {
    return this.#during(this.#take(vdisk, epoch, group, at, count))
  }

  async #take(vdisk: VDiskId, epoch: Epoch, group: GroupHandle, at: number, count: number): Promise<Buffer> {
    const taken = await this.#fromPlace(group, this.#groups.peek(group), ({ copies, checksums }) => {
      const access = { group: this.#groups.idOf(group), vdisk, epoch, copies }
      return this.#extents.take(access, groupPage(at), count, checksums.subarray(at, at + count))
    })
    this.#cache.put(group, at, taken, 0, count)
    return taken
  }

  #during<T>(done: Promise<T>): Promise<T> {
    const over = (): void => void this.#underWay.delete(done)
    this.#underWay.add(done)
    done.then(over, over)
    return done
  }

  /** Resolves when every fetch that is under way now has ended: nobody reads what the map no longer named then. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#underWay)
  }

  #fetch(vdisk: VDiskId, epoch: Epoch, fetches: readonly PageFetch[]): Promise<void> {
    if (fetches.some(({ group }) => group === bad))
      return Promise.reject(
        new NdfsError(
          'CORRUPT_EXTENT',
          `Cannot read a page of vDisk ${vdisk}: every copy of it was bad when it was last needed. Overwrite it`,
        ),
      )
    const missing = fetches.filter(
      ({ group, at, target }) => this.#cache.get(group, at, target, 0, 0, pageBytes) === 0,
    )
    // Places that are known now are kept now: the group of an undrained record is known to nobody else, and may be drained meanwhile.
    const runs = runsOf(missing).map((fetches) => ({ fetches, place: this.#groups.peek(fetches[0].group) }))
    if (runs.length === 1) return this.#readRun(vdisk, epoch, runs[0].fetches, runs[0].place)
    return atOnce(runs, runsAtOnceMax, ({ fetches, place }) => this.#readRun(vdisk, epoch, fetches, place))
  }

  async #readRun(
    vdisk: VDiskId,
    epoch: Epoch,
    run: readonly PageFetch[],
    known: GroupPlace | undefined,
    across?: Buffer,
  ): Promise<void> {
    const target = across ?? contiguousTarget(run) ?? Buffer.allocUnsafe(run.length * pageBytes)
    await this.#fromPlace(run[0].group, known, (place) => this.#readFrom(place, vdisk, epoch, run[0], target))
    if (across === undefined) this.#keep(run, target)
    else deal(run, target)
  }

  async #fromPlace<T>(
    group: GroupHandle,
    known: GroupPlace | undefined,
    read: (place: GroupPlace) => Promise<T>,
  ): Promise<T> {
    let place = known ?? (await this.#groups.place(group))
    for (;;)
      try {
        return await read(place)
      } catch (error) {
        // Copies move: only what a row read after the failure names was really tried.
        const now = await this.#placeNow(group, place)
        if (now === undefined || !hasCode(error, 'CORRUPT_EXTENT', 'PEER_UNREACHABLE', 'NOT_FOUND'))
          throw error
        place = now
      }
  }

  #readFrom(
    { copies, checksums }: GroupPlace,
    vdisk: VDiskId,
    epoch: Epoch,
    { group, at }: PageFetch,
    target: Buffer,
  ): Promise<void> {
    const count = target.length / pageBytes
    const access = { group: this.#groups.idOf(group), vdisk, epoch, copies }
    return this.#extents.read(access, groupPage(at), count, checksums.subarray(at, at + count), target)
  }

  /** What was read goes to the cache, and where it is wanted. */
  #keep(run: readonly PageFetch[], target: Buffer): void {
    this.#cache.put(run[0].group, run[0].at, target, 0, run.length)
    for (let i = 0; i < run.length; i++)
      if (
        run[i].target.buffer !== target.buffer ||
        run[i].target.byteOffset !== target.byteOffset + i * pageBytes
      )
        target.copy(run[i].target, 0, i * pageBytes, (i + 1) * pageBytes)
  }

  /** The place as Medusa has it now, where that is another than the one tried. */
  async #placeNow(group: GroupHandle, tried: GroupPlace): Promise<GroupPlace | undefined> {
    const now = await this.#groups.placeNow(group)
    if (now === undefined) return undefined
    const same =
      now.copies.length === tried.copies.length &&
      now.copies.every(
        (copy, i) => copy.disk === tried.copies[i].disk && copy.number === tried.copies[i].number,
      )
    return same ? undefined : now
  }
}

/** Fetches of pages of one group together that have no more than `gap` others between them, whatever order they came in. */
function runsOf(fetches: readonly PageFetch[], gap = 0): PageFetch[][] {
  const sorted = [...fetches].sort((a, b) => a.group - b.group || a.at - b.at)
  const runs: PageFetch[][] = []
  for (const fetch of sorted) {
    const run = runs.at(-1)
    const last = run?.at(-1)
    const between = fetch.at - (last?.at ?? 0) - 1
    if (last?.group === fetch.group && between >= 0 && between <= gap) run!.push(fetch)
    else runs.push([fetch])
  }
  return runs
}

/** What was read from the first page of the run on goes where it is wanted. */
function deal(run: readonly PageFetch[], read: Buffer): void {
  for (const { at, target } of run) {
    const from = (at - run[0].at) * pageBytes
    read.copy(target, 0, from, from + pageBytes)
  }
}

/** The targets as one buffer, where they lie one after the other. */
function contiguousTarget(run: readonly PageFetch[]): Buffer | undefined {
  if (run.length === 1) return run[0].target
  const [first, ...others] = joined(run.map(({ target }) => target))
  return others.length === 0 ? first : undefined
}
