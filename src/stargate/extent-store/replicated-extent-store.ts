/**
 * The extent store: every copy is written and read as this file says, whether its disk is here or at a peer.
 *
 *   owner: checksums ──▶ each copy in parallel ──▶ here: the disk │ there: `extents.write`, checked, then the disk
 *   read:  local copy, else the peers' in the row's order ──▶ checked here against the row's checksums
 *
 * Peers' requests end where they arrive (the terminal lane): answering one never asks another node for anything (M9).
 */
import { assert } from '../../base/assert.ts'
import { checksumsOfPages, crc32c, crc32cOfPages, noteChecksums } from '../../base/crc32c.ts'
import { decodeControl, encodeControl } from '../../base/control.ts'
import { hasCode, messageOf, NdfsError } from '../../base/errors.ts'
import { giveBack, takeLarge, takePages } from '../../base/large-buffers.ts'
import { type Epoch, partOfGroupId, sameDisk } from '../../base/ids.ts'
import type { CopyNumber, DiskRef, GroupId, NodeId } from '../../base/ids.ts'
import { groupPage, pageBytes, pagesPerGroupMax, type GroupPage } from '../../base/units.ts'
import type { Disk, SpacePurpose, Tier } from '../../disk/disk.ts'
import type { PeerRequest, Peers } from '../../peer/peer.ts'
import type { Platform } from '../../platform/platform.ts'
import { badRuns } from './checksums.ts'
import type {
  Candidate,
  CopyPlacementRequest,
  CopyRef,
  CopyVerdict,
  ExtentStore,
  ExtentStoreStatistics,
  FoundCopy,
  GroupAccess,
  Placement,
  PlacementRequest,
  Trailer,
} from './extent-store.ts'
import { LocalExtents } from './local-extents.ts'
import { Patience } from './patience.ts'
import type { EpochOf } from './epoch-guard.ts'
import { isMixed, place, placeCopy } from './placement.ts'
import { spacesOf } from './space-view.ts'
import { decodeTrailer, encodeTrailer } from './trailer.ts'
import { readVerified, type CopyReader, type WantedPages } from './verified-read.ts'
import { decodeVerifyRequest, encodeVerifyRequest } from './verify-copy.ts'
import { decodeExtentRequest, encodeExtentRequest, type ExtentRequest } from './wire.ts'

export interface ExtentStoreOptions {
  readonly platform: Platform
  readonly peers: Peers
  readonly node: NodeId
  /** Read anew for each placement: an operator may move the node to another. */
  readonly block: string
  readonly clusterId: string
  /** This node's disks that hold extent groups. */
  readonly disks: readonly Disk[]
  /** The disk, here or elsewhere, is being left: see `Candidate`. */
  readonly isPassedOver?: (disk: DiskRef) => boolean
  /** It is no disk of the cluster any more, and never comes back. */
  readonly isRemoved?: (disk: DiskRef) => boolean
  readonly epochOf: EpochOf
  /** Other nodes' disks as last heard: see space-view.ts. */
  readonly remoteCandidates: () => readonly Candidate[]
  /** Asks all other nodes. */
  readonly hearOfSpace: () => Promise<void>
  /** Hears of another node's disks anew, before anybody chooses from them again. */
  readonly hearAgain?: (node: NodeId) => Promise<void>
  /** By the cluster's configuration, whatever was heard of the disk. */
  readonly remoteTier: (disk: DiskRef) => Tier | undefined
  /** Disks whose copies are read when no other gives the bytes: slow ones, failed ones, those out of reach. */
  readonly readLast?: (disk: DiskRef) => boolean
}

/** A copy waits behind others that are verified on its disk, and the disk may be a busy one. */
const verifyTimeoutMs = 60_000

export const createExtentStore = (options: ExtentStoreOptions): ExtentStore =>
  new ReplicatedExtentStore(options)

/** After so long without an answer from one copy a guest's read asks the next: less than a guest's patience, more than any sound disk takes. */
const readPatienceMs = 2000

interface CopyWrite {
  readonly epoch: Epoch
  readonly at: GroupPage
  readonly pages: readonly Buffer[]
  readonly checksums: Uint32Array
  readonly pagesMax: number
  readonly purpose: SpacePurpose
  readonly trailer: Trailer | undefined
}

class ReplicatedExtentStore implements ExtentStore, CopyReader {
  readonly #options: ExtentStoreOptions
  readonly #local: LocalExtents
  readonly #patience: Patience
  #pagesRead = 0
  #pagesReadFromPeers = 0
  #pagesWritten = 0
  #badPages = 0
  #copiesRebuilt = 0
  onBadCopy: ExtentStore['onBadCopy'] = () => undefined

  constructor(options: ExtentStoreOptions) {
    this.#options = options
    this.#patience = new Patience(options.platform.clock, readPatienceMs)
    this.#local = new LocalExtents(options.disks, options.epochOf, options.platform.files)
    const { peers } = options
    peers.handle('extents.write', 'terminal', (request) => this.#acceptWrite(request), { endsBody: true })
    peers.handle('extents.read', 'terminal', (request) => this.#acceptRead(request), { endsAnswer: true })
    peers.handle('extents.finish', 'terminal', (request) => this.#acceptFinish(request))
    peers.handle('extents.remove', 'terminal', (request) => this.#acceptRemove(request))
    peers.handle('extents.inventory', 'terminal', (request) => this.#acceptInventory(request))
    peers.handle('extents.verify', 'terminal', (request) => this.#acceptVerify(request))
    peers.handle('extents.space', 'terminal', () => [encodeControl(spacesOf(this.local()))])
  }

  async write(
    access: GroupAccess,
    at: GroupPage,
    pages: readonly Buffer[],
    purpose: SpacePurpose,
    trailer?: Trailer,
    pagesMax?: number,
  ): Promise<Uint32Array> {
    assertAccess(access)
    assertWrittenInItsEpoch(access)
    // Before the first byte leaves: from here on nothing can go wrong with a page unnoticed (I5).
    const checksums = checksumsBy(trailer, at, pages)
    const end = at + checksums.length
    const room = pagesMax ?? end
    assert(checksums.length > 0 && end <= room && room <= pagesPerGroupMax, 'a write past the end of a group')
    if (trailer !== undefined) assertEndsWith(trailer, at, checksums)
    await this.#onAllCopies(access, (copy) =>
      this.#writeCopy(copy, access.group, {
        epoch: access.epoch,
        at,
        pages,
        checksums,
        pagesMax: room,
        purpose,
        trailer,
      }),
    )
    this.#pagesWritten += checksums.length
    return checksums
  }

  async finish(access: GroupAccess, trailer: Trailer): Promise<void> {
    assertAccess(access)
    const { group, epoch } = access
    const count = trailer.checksums.length
    await this.#onAllCopies(access, async (copy) => {
      const bytes = this.#encodeTrailer(group, copy.number, trailer)
      if (this.#isHere(copy)) return this.#local.finish(copy, group, epoch, count, bytes)
      const head = { copy, group, epoch, at: groupPage(0), count }
      await this.#call(copy, 'extents.finish', head, undefined, [], bytes)
    })
  }

  async read(
    access: GroupAccess,
    at: GroupPage,
    count: number,
    checksums: Uint32Array,
    target: Buffer,
  ): Promise<void> {
    const copies = this.#inReadingOrder(access.copies)
    const last = copies.at(-1)
    // One that hangs holds nobody up while there is another; the last is waited for as long as it takes.
    const reader: CopyReader = {
      readCopy: (of, copy, from, into) =>
        copy === last ? this.readCopy(of, copy, from, into) : this.#readPatiently(of, copy, from, into),
      badCopy: (of, copy, pages, reason) => this.badCopy(of, copy, pages, reason),
    }
    await this.#readFrom(copies, access, { at, count, checksums, target }, reader)
    this.#pagesRead += count
  }

  /** No read is given the memory that is answered, but such as have resolved: what was given up writes to none of it. */
  async take(access: GroupAccess, at: GroupPage, count: number, checksums: Uint32Array): Promise<Buffer> {
    const copies = this.#inReadingOrder(access.copies)
    const last = copies.at(-1)
    const reader: CopyReader = {
      readCopy: (of, copy, from, into) => this.#readElsewhere(of, copy, from, into.length, copy === last),
      badCopy: (of, copy, pages, reason) => this.badCopy(of, copy, pages, reason),
    }
    const wanted = { at, count, checksums, target: takeLarge(count * pageBytes) }
    const { target } = wanted
    await this.#readFrom(copies, access, wanted, reader)
    this.#pagesRead += count
    if (wanted.target !== target) giveBack(target)
    return wanted.target
  }

  /** Into memory of its own: what is given up may write there later. */
  async #readPatiently(access: GroupAccess, copy: CopyRef, at: GroupPage, target: Buffer): Promise<void> {
    const own = takePages(target.length)
    await this.#inTime(access, copy, this.readCopy(access, copy, at, own.bytes))
    own.bytes.copy(target)
    own.giveBack()
  }

  /** Into memory of its own, which is the caller's when it resolves. */
  async #readElsewhere(
    access: GroupAccess,
    copy: CopyRef,
    at: GroupPage,
    bytes: number,
    isLast: boolean,
  ): Promise<Buffer> {
    const reading = this.#isHere(copy)
      ? this.#readHere(access, copy, at, takeLarge(bytes))
      : this.#askPages(access, copy, at, bytes / pageBytes)
    return isLast ? reading : this.#inTime(access, copy, reading)
  }

  async #readHere(access: GroupAccess, copy: CopyRef, at: GroupPage, own: Buffer): Promise<Buffer> {
    await this.#local.read(copy, access.group, at, own)
    return own
  }

  #inTime<T>(access: GroupAccess, copy: CopyRef, reading: Promise<T>): Promise<T> {
    const tooLate = (): NdfsError =>
      new NdfsError(
        'PEER_UNREACHABLE',
        `Cannot read extent group ${access.group} from disk ${copy.disk} of ${copy.node}: no answer in ${readPatienceMs} ms`,
        { disk: copy.disk, node: copy.node },
      )
    return this.#patience.within(reading, tooLate)
  }

  #inReadingOrder(copies: readonly CopyRef[]): readonly CopyRef[] {
    const { readLast = () => false } = this.#options
    const rank = (copy: CopyRef): number => (readLast(copy) ? 2 : this.#isHere(copy) ? 0 : 1)
    const isInOrder = copies.every((copy, i) => i === 0 || rank(copies[i - 1]) <= rank(copy))
    return isInOrder ? copies : [...copies].sort((a, b) => rank(a) - rank(b))
  }

  async rebuildCopy(
    access: GroupAccess,
    last: readonly CopyRef[],
    trailer: Trailer,
    arriving: () => Promise<CopyRef | undefined>,
  ): Promise<CopyRef | undefined> {
    assertAccess(access)
    const isLast = (copy: CopyRef): boolean =>
      last.some((one) => sameDisk(one, copy) && one.number === copy.number)
    const copies = [...access.copies.filter((copy) => !isLast(copy)), ...access.copies.filter(isLast)]
    const count = trailer.checksums.length
    const { pages, atOnce } = await this.#readWhole(access, copies, trailer.checksums)
    const rebuilt = await arriving()
    if (rebuilt === undefined) return undefined
    assert(
      access.copies.every(({ number }) => number !== rebuilt.number),
      () => `copy number ${rebuilt.number} of group ${access.group} is in use`,
    )
    const write: CopyWrite = {
      epoch: access.epoch,
      at: groupPage(0),
      pages: [pages],
      checksums: trailer.checksums,
      pagesMax: count,
      purpose: 'maintenance',
      trailer,
    }
    await this.#writeCopy(rebuilt, access.group, write).catch((error: unknown) => {
      if (!(error instanceof NdfsError)) throw error
      const facts = { ...error.facts, node: rebuilt.node, disk: rebuilt.disk }
      throw new NdfsError(
        error.code,
        `Cannot write another copy of extent group ${access.group}: ${error.message}`,
        facts,
        { cause: error },
      )
    })
    if (atOnce) giveBack(pages)
    this.#copiesRebuilt++
    return rebuilt
  }

  /** All pages of a group. `atOnce`: nobody writes to their memory any more. */
  async #readWhole(
    access: GroupAccess,
    copies: readonly CopyRef[],
    checksums: Uint32Array,
  ): Promise<{ readonly pages: Buffer; readonly atOnce: boolean }> {
    const all = { first: 0, count: checksums.length }
    if (!this.#isHere(copies[0])) {
      // What came is used as it came. Where it did not come, or is bad, that is found once more below, and told.
      const answer = await this.#askPages(access, copies[0], groupPage(0), all.count).catch(unlessBug)
      if (answer === undefined) copies = [...copies.slice(1), copies[0]]
      else if (badRuns(answer, all, checksums).length > 0) giveBack(answer)
      else {
        this.#pagesRead += all.count
        return { pages: answer, atOnce: true }
      }
    }
    const pages = takeLarge(all.count * pageBytes)
    const wanted = { at: groupPage(0), count: all.count, checksums, target: pages }
    const atOnce = await this.#readFrom(copies, access, wanted)
    this.#pagesRead += all.count
    return { pages, atOnce }
  }

  async remove(group: GroupId, copy: CopyRef, epoch: Epoch): Promise<void> {
    if (this.#options.isRemoved?.(copy) === true) return
    if (this.#isHere(copy)) return this.#local.remove(copy, group, epoch)
    await this.#call(copy, 'extents.remove', { copy, group, at: groupPage(0), count: 0, epoch })
  }

  async verify(group: GroupId, copy: CopyRef, checksums: Uint32Array): Promise<CopyVerdict> {
    if (this.#isHere(copy)) return this.#local.verify(copy, group, checksums)
    const body = encodeVerifyRequest({ copy, group, checksums })
    const options = { lane: 'terminal', timeoutMs: verifyTimeoutMs } as const
    return decodeControl(await this.#options.peers.call(copy.node, 'extents.verify', [body], options))
  }

  /** A folder at a time: an answer stays small however full the disk is. */
  async inventory(disk: DiskRef, folder: number): Promise<readonly FoundCopy[]> {
    if (this.#isHere(disk)) return this.#local.inventory(disk, folder)
    const copy = { ...disk, number: 0 as CopyNumber }
    const request = { copy, group: '' as GroupId, at: groupPage(folder), count: 0 }
    return decodeControl(await this.#call(disk, 'extents.inventory', request))
  }

  candidates(): readonly Candidate[] {
    const { block, remoteCandidates, isPassedOver = () => false, isRemoved = () => false } = this.#options
    const here = this.local().map((disk): Candidate => ({
      ref: disk.ref,
      block,
      tier: disk.tier,
      space: disk.space(),
      live: true,
    }))
    return [...here, ...remoteCandidates()]
      .filter(({ ref }) => !isRemoved(ref))
      .map((candidate) => (isPassedOver(candidate.ref) ? { ...candidate, leaving: true } : candidate))
  }

  hearOfSpace(): Promise<void> {
    return this.#options.hearOfSpace()
  }

  place(request: PlacementRequest): Placement {
    const chosen = place(request, this.candidates())
    return { disks: chosen.map(({ ref }) => ref), mixed: isMixed(request, chosen) }
  }

  placeCopy(request: CopyPlacementRequest): Candidate | undefined {
    return placeCopy(request, this.candidates())
  }

  tierOf(disk: DiskRef): Tier | undefined {
    const { disks, remoteTier } = this.#options
    if (!this.#isHere(disk)) return remoteTier(disk)
    return disks.find(({ ref }) => ref.disk === disk.disk)?.tier
  }

  local(): readonly Disk[] {
    return this.#local.inService()
  }

  statistics(): ExtentStoreStatistics {
    return {
      pagesRead: this.#pagesRead,
      pagesReadFromPeers: this.#pagesReadFromPeers,
      pagesWritten: this.#pagesWritten,
      badPages: this.#badPages,
      copiesRebuilt: this.#copiesRebuilt,
    }
  }

  close(): Promise<void> {
    return this.#local.close()
  }

  // What verified-read.ts asks for.

  readCopy(access: GroupAccess, copy: CopyRef, at: GroupPage, target: Buffer): Promise<void> {
    return this.#isHere(copy)
      ? this.#local.read(copy, access.group, at, target)
      : this.#readFromPeer(access, copy, at, target)
  }

  async #readFromPeer(access: GroupAccess, copy: CopyRef, at: GroupPage, target: Buffer): Promise<void> {
    const answer = await this.#askPages(access, copy, at, target.length / pageBytes)
    answer.copy(target)
    giveBack(answer)
  }

  async #askPages(access: GroupAccess, copy: CopyRef, at: GroupPage, count: number): Promise<Buffer> {
    const answer = await this.#call(copy, 'extents.read', { copy, group: access.group, at, count })
    assert(
      answer.length === count * pageBytes,
      () => `a peer answered ${answer.length} bytes to ${count} pages`,
    )
    this.#pagesReadFromPeers += count
    return answer
  }

  badCopy(access: GroupAccess, copy: CopyRef, pages: number, reason: string): void {
    this.#badPages += pages
    this.#options.platform.log.warn('A copy of an extent group is bad', {
      group: access.group,
      node: copy.node,
      disk: copy.disk,
      copy: copy.number,
      reason,
    })
    this.onBadCopy(access, copy, reason)
  }

  #readFrom(
    copies: readonly CopyRef[],
    access: GroupAccess,
    wanted: WantedPages,
    reader: CopyReader = this,
  ): Promise<boolean> {
    assertAccess(access)
    const { at, count, checksums, target } = wanted
    assert(count > 0 && at + count <= pagesPerGroupMax, 'a read past the end of a group')
    assert(checksums.length === count && target.length === count * pageBytes, 'a read of another length')
    return readVerified(reader, access, copies, wanted)
  }

  async #writeCopy(copy: CopyRef, group: GroupId, write: CopyWrite): Promise<void> {
    const { epoch, at, pages, checksums, pagesMax, purpose, trailer } = write
    const bytes = trailer === undefined ? undefined : this.#encodeTrailer(group, copy.number, trailer)
    if (this.#isHere(copy)) return this.#local.write(copy, group, epoch, at, pages, pagesMax, purpose, bytes)
    const head = { copy, group, epoch, at, count: checksums.length, pagesMax, purpose }
    let first = 0
    for (const part of pages)
      noteChecksums(part, checksums.subarray(first, (first += part.length / pageBytes)))
    await this.#call(copy, 'extents.write', head, checksums, pages, bytes)
  }

  /**
   * Resolves when all copies have: buffers may be used again. Rejects when each has answered or was given up: a disk that failed, or a
   * peer that gave no answer, may use them yet.
   */
  async #onAllCopies(access: GroupAccess, work: (copy: CopyRef) => Promise<void>): Promise<void> {
    const results = await Promise.allSettled(access.copies.map(work))
    const failures = results.flatMap((result, index) =>
      result.status === 'rejected' ? [{ copy: access.copies[index], reason: result.reason as unknown }] : [],
    )
    if (failures.length === 0) return
    await this.#hearOfFull(failures)
    const [{ copy, reason }] = failures
    if (!(reason instanceof NdfsError)) throw reason
    throw new NdfsError(
      reason.code,
      `Cannot write ${failures.length} of ${results.length} copies of extent group ${access.group}: ${reason.message}`,
      {
        ...reason.facts,
        node: copy.node,
        disk: copy.disk,
        failures: failures.map((failure) => ({
          node: failure.copy.node,
          disk: failure.copy.disk,
          code: failure.reason instanceof NdfsError ? failure.reason.code : undefined,
          message: messageOf(failure.reason),
        })),
      },
      { cause: reason },
    )
  }

  /** What was heard of a disk that has no room is old: who tries again shall not choose it again. */
  async #hearOfFull(
    failures: readonly { readonly copy: CopyRef; readonly reason: unknown }[],
  ): Promise<void> {
    const full = failures.filter(({ copy, reason }) => hasCode(reason, 'OUT_OF_SPACE') && !this.#isHere(copy))
    const nodes = new Set(full.map(({ copy }) => copy.node))
    await Promise.all([...nodes].map(async (node) => await this.#options.hearAgain?.(node)))
  }

  #encodeTrailer(group: GroupId, number: CopyNumber, trailer: Trailer): Buffer {
    return encodeTrailer({ ...trailer, cluster: this.#options.clusterId, group, number })
  }

  #isHere(disk: DiskRef): boolean {
    return disk.node === this.#options.node
  }

  #call(to: DiskRef, kind: string, ...request: Parameters<typeof encodeExtentRequest>): Promise<Buffer> {
    return this.#options.peers.call(to.node, kind, encodeExtentRequest(...request), { lane: 'terminal' })
  }

  async #acceptWrite(request: PeerRequest): Promise<readonly Uint8Array[]> {
    const asked = this.#decode(request)
    const { copy, group, epoch, at, count, pages, pagesMax, purpose, trailer } = asked
    // The owner made the checksums before the pages left it: what differs now changed in its memory, on the way or in ours. (Where it made
    // the frame's of them, too, the frame is refused already.)
    const bad = pagesThatChanged(request, asked)
    if (bad > 0)
      throw new NdfsError(
        'REFUSED',
        `Cannot write ${count} pages of extent group ${group}: ${bad} of them arrived changed`,
        { node: copy.node, disk: copy.disk },
      )
    this.#checkTrailer(group, copy, trailer)
    await this.#local.write(copy, group, epoch, at, [pages], pagesMax, purpose, trailer)
    return []
  }

  async #acceptRead(request: PeerRequest): Promise<readonly Uint8Array[]> {
    const { copy, group, at, count } = this.#decode(request)
    const target = takeLarge(count * pageBytes)
    await this.#local.read(copy, group, at, target)
    return [target]
  }

  async #acceptFinish(request: PeerRequest): Promise<readonly Uint8Array[]> {
    const { copy, group, epoch, count, trailer } = this.#decode(request)
    this.#checkTrailer(group, copy, trailer)
    if (trailer !== undefined) await this.#local.finish(copy, group, epoch, count, trailer)
    return []
  }

  async #acceptRemove(request: PeerRequest): Promise<readonly Uint8Array[]> {
    const { copy, group, epoch } = this.#decode(request)
    await this.#local.remove(copy, group, epoch)
    return []
  }

  async #acceptInventory(request: PeerRequest): Promise<readonly Uint8Array[]> {
    const { copy, at } = this.#decode(request)
    return [encodeControl(await this.#local.inventory(copy, at))]
  }

  async #acceptVerify({ body }: PeerRequest): Promise<readonly Uint8Array[]> {
    const { copy, group, checksums } = decodeVerifyRequest(this.#options.node, body)
    return [encodeControl(await this.#local.verify(copy, group, checksums))]
  }

  #decode({ kind, body }: PeerRequest): ExtentRequest {
    return decodeExtentRequest(kind, this.#options.node, body)
  }

  #checkTrailer(group: GroupId, copy: CopyRef, bytes: Buffer | undefined): void {
    if (bytes === undefined) return
    const trailer = decodeTrailer(bytes)
    const fits =
      trailer?.group === group &&
      trailer.number === copy.number &&
      trailer.cluster === this.#options.clusterId
    if (!fits)
      throw new NdfsError(
        'REFUSED',
        `Cannot finish extent group ${group}: the trailer is damaged or another's`,
      )
  }
}

function unlessBug(error: unknown): undefined {
  if (!(error instanceof NdfsError)) throw error
}

/** How many pages are not what their checksums say: by what the connection computed of all of them, or one by one. */
function pagesThatChanged({ body, checksumOfPages }: PeerRequest, asked: ExtentRequest): number {
  const { pages, pagesAt, count, checksums } = asked
  if (checksumOfPages !== undefined) {
    const wholePages = (from: number, to: number): Uint32Array =>
      checksumsOfPages(from < to ? [body.subarray(from * pageBytes, to * pageBytes)] : [])
    const before = crc32cOfPages(wholePages(0, pagesAt))
    const behind = wholePages(pagesAt + count, Math.floor(body.length / pageBytes))
    if (crc32cOfPages(behind, crc32cOfPages(checksums, before)) === checksumOfPages) return 0
  }
  return badRuns(pages, { first: 0, count }, checksums).reduce((sum, run) => sum + run.count, 0)
}

/** R27: an access is made from a row, and a row is its vDisk's. */
function assertAccess(access: GroupAccess): void {
  assert(access.epoch >= 1, () => `group ${access.group} is touched without an epoch`)
  assert(
    partOfGroupId(access.group, 0) === access.vdisk,
    () => `group ${access.group} is touched as one of vDisk ${access.vdisk}`,
  )
  assert(access.copies.length > 0, () => `group ${access.group} is touched without knowing its copies`)
}

/** A group's id holds the epoch that registered it; only that owner puts pages into it, once (I3, I4). */
function assertWrittenInItsEpoch(access: GroupAccess): void {
  assert(
    partOfGroupId(access.group, 1) === access.epoch,
    () => `group ${access.group} is written to under epoch ${access.epoch}`,
  )
}

/** Of each page; where a trailer says what they are the pages are held against that all at once. */
function checksumsBy(trailer: Trailer | undefined, at: GroupPage, pages: readonly Buffer[]): Uint32Array {
  const said = trailer?.checksums.slice(at)
  const ofAll = said && pages.reduce((before, part) => crc32c(part, before), 0)
  return said && crc32cOfPages(said) === ofAll ? said : checksumsOfPages(pages)
}

/** The trailer that comes with the last pages says of them what was computed from them. */
function assertEndsWith(trailer: Trailer, at: GroupPage, checksums: Uint32Array): void {
  assert(trailer.checksums.length === at + checksums.length, 'the trailer is of a group of another length')
  for (let page = 0; page < checksums.length; page++)
    assert(
      trailer.checksums[at + page] === checksums[page],
      () => `page ${at + page} changed after its checksum was computed`,
    )
}
