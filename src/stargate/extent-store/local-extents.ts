/**
 * Extent groups on this node's disks: what the owner's extent store does here, and what it asks of peers.
 *
 *  1. `write` and `finish` resolve when bytes and name are on stable media on that disk.
 *  2. A copy is reached only under its disk's name and incarnation, its group and its number (M2, M4).
 *  3. Errors say whose fault it is: NOT_FOUND, no such copy on a disk that is here; DISK_FAILED, the disk was asked and
 *     failed; PEER_UNREACHABLE, a disk that is not here or out of service and may come back with its data (F9).
 *  4. When `close` has resolved nothing is under way, and nothing begins any more: peers may ask until the very end.
 */
import { atOnce } from '../../base/at-once.ts'
import { hasCode, messageOf, NdfsError } from '../../base/errors.ts'
import { cut } from '../../base/joined.ts'
import { Limit } from '../../base/limit.ts'
import {
  type DiskId,
  type DiskRef,
  type Epoch,
  type GroupId,
  partsOfGroupId,
  type VDiskId,
} from '../../base/ids.ts'
import { KiB, pageBytes, type GroupPage } from '../../base/units.ts'
import type { Disk, DiskFile, SpacePurpose } from '../../disk/disk.ts'
import type { Files } from '../../platform/platform.ts'
import { EpochGuard, type EpochOf } from './epoch-guard.ts'
import type { CopyRef, CopyVerdict, FoundCopy } from './extent-store.ts'
import {
  folderOf,
  groupFileBytes,
  groupFileName,
  groupsFolder,
  hashFolders,
  lateTrailerEnd,
  parseGroupFileName,
} from './group-file.ts'
import { OpenFiles, type OpenedFile, type OpenFile } from './open-files.ts'
import { verifyCopyFile, verifyPieceBytes } from './verify-copy.ts'

/**
 * Groups are written in pieces, two at a time: one is at work while this process comes to hand on the next. Whoever else writes to the disk waits for what is
 * under way: a log behind 4 MiB five times as long as behind one piece. And each piece is judged by itself: late, failed, or of a disk that has failed (I6).
 */
const pieceBytes = 512 * KiB
const piecesAtOnce = 2

interface LocalDisk {
  readonly disk: Disk
  readonly files: OpenFiles
  /** The folders of group files are there. */
  folders: Promise<void> | undefined
  /** One copy is verified at a time: a disk reads fastest in one stream, and guests come in between. */
  readonly verifying: Limit
  verified: Buffer | undefined
}

export class LocalExtents {
  readonly #disks = new Map<DiskId, LocalDisk>()
  readonly #epochs: EpochGuard
  readonly #files: Pick<Files, 'alignedBuffer'>
  #underWay = 0
  #closed = false
  #onIdle: () => void = () => undefined

  constructor(disks: readonly Disk[], epochOf: EpochOf, files: Pick<Files, 'alignedBuffer'>) {
    this.#epochs = new EpochGuard(epochOf)
    this.#files = files
    for (const disk of disks)
      this.#disks.set(disk.ref.disk, {
        ...{ disk, files: new OpenFiles(disk), folders: undefined },
        ...{ verifying: new Limit(1), verified: undefined },
      })
  }

  inService(): Disk[] {
    return [...this.#disks.values()].filter(({ disk }) => disk.state === 'online').map(({ disk }) => disk)
  }

  /** The write at page 0 creates the file, with room for `pagesMax` pages; FENCED where a later owner is known here. */
  write(
    copy: CopyRef,
    group: GroupId,
    epoch: Epoch,
    at: GroupPage,
    pages: readonly Uint8Array[],
    pagesMax: number,
    purpose: SpacePurpose,
    trailer?: Buffer,
  ): Promise<void> {
    return this.#during(copy, (local) =>
      this.#write(local, copy, group, epoch, at, pages, pagesMax, purpose, trailer),
    )
  }

  async #write(
    local: LocalDisk,
    copy: CopyRef,
    group: GroupId,
    epoch: Epoch,
    at: GroupPage,
    pages: readonly Uint8Array[],
    pagesMax: number,
    purpose: SpacePurpose,
    trailer: Buffer | undefined,
  ): Promise<void> {
    const { disk, files } = local
    const { vdisk } = partsOfGroupId(group)
    const end = at + pages.reduce((sum, part) => sum + part.length, 0) / pageBytes
    let open: OpenFile
    if (at === 0) {
      // The name is known as one that is being created before anything is waited for: an unlinking that comes meanwhile
      // waits too, and doesn't answer that there is no such file while this would still make it.
      const may = this.#mayCreate(local, vdisk, epoch)
      open = files.create(group, copy.number, groupFileBytes(pagesMax, trailer?.length), purpose, may)
    } else {
      await this.#assertCurrent(vdisk, epoch)
      open = files.acquire(group, copy.number)
    }
    await this.#use(disk, files, open, 'write to', async (opened) => {
      const { file, finished } = opened
      if (finished)
        throw new NdfsError(
          'REFUSED',
          `Cannot write to ${open.name}: it is finished, and never changes again`,
        )
      opened.finished = trailer !== undefined
      await writeInPieces(file, pages, at * pageBytes)
      if (trailer !== undefined) {
        const fileEnd =
          at === 0
            ? groupFileBytes(end, trailer.length)
            : lateTrailerEnd(end, trailer.length, await file.size())
        await file.write([trailer], fileEnd - trailer.length)
      }
      await Promise.all([file.sync(), opened.named])
    })
  }

  async #mayCreate(local: LocalDisk, vdisk: VDiskId, epoch: Epoch): Promise<void> {
    const { disk } = local
    // All at once, before the first file: one by one, each would cost the first group in it two syncs more.
    local.folders ??= disk.makeFolders(groupsFolder, hashFolders)
    await local.folders.catch((error: unknown) => {
      local.folders = undefined
      throw failureOf(disk, 'make folders of', groupsFolder, error)
    })
    await this.#assertCurrent(vdisk, epoch)
  }

  async #assertCurrent(vdisk: VDiskId, epoch: Epoch): Promise<void> {
    const learning = this.#epochs.learn(vdisk, epoch)
    if (learning !== undefined) await learning
    this.#epochs.assertCurrent(vdisk, epoch)
  }

  /**
   * Writes the trailer of a copy whose `pages` pages all lie there. A drain that was cut short is run again, so a
   * trailer may be there already, perhaps torn: the same one is left alone, so that a crash now doesn't tear it.
   */
  finish(copy: CopyRef, group: GroupId, epoch: Epoch, pages: number, trailer: Buffer): Promise<void> {
    return this.#during(copy, async ({ disk, files }) => {
      // A later owner may have finished it, with a trailer that says more.
      await this.#assertCurrent(partsOfGroupId(group).vdisk, epoch)
      const open = files.acquire(group, copy.number)
      return this.#use(disk, files, open, 'write to', async (opened) => {
        opened.finished = true
        const size = await opened.file.size()
        if (size < pages * pageBytes)
          throw new NdfsError(
            'DISK_FAILED',
            `Cannot finish ${open.name}: it has ${size} bytes, fewer than its ${pages} pages`,
          )
        const position = lateTrailerEnd(pages, trailer.length, size) - trailer.length
        if (!(await holds(opened.file, trailer, position))) await opened.file.write([trailer], position)
        // Also where it was there: whoever wrote it may not have come to sync it.
        await opened.file.sync()
      })
    })
  }

  /** Fills the target with pages from `at`, unverified: only the reader has their checksums. */
  async read(copy: CopyRef, group: GroupId, at: GroupPage, target: Uint8Array): Promise<void> {
    // As `#during` and `#use` have it, in one piece: guests read more often than all else is done here.
    const { disk, files } = this.#begin(copy)
    const open = files.acquire(group, copy.number)
    try {
      const { file } = await open.opening
      const bytes = await file.read(target, at * pageBytes)
      if (bytes < target.length)
        throw new NdfsError(
          'DISK_FAILED',
          `Cannot read ${target.length} bytes at page ${at} of ${open.name}: the file ends after ${bytes} of them`,
        )
    } catch (error) {
      throw failureOf(disk, 'read', open.name, error)
    } finally {
      files.release(open)
      this.#end()
    }
  }

  /**
   * Reads all of the copy from the disk itself, not from memory that the system or this process has of it: the file is opened anew,
   * around the page cache, so that what is told is what a restart would find.
   */
  verify(copy: CopyRef, group: GroupId, checksums: Uint32Array): Promise<CopyVerdict> {
    return this.#during(copy, (local) =>
      local.verifying.run(() => this.#verify(local, copy, group, checksums)),
    )
  }

  async #verify(
    local: LocalDisk,
    { number }: CopyRef,
    group: GroupId,
    checksums: Uint32Array,
  ): Promise<CopyVerdict> {
    const { disk } = local
    const name = groupFileName(group, number)
    try {
      const file = await disk.open(name, { direct: true })
      try {
        local.verified ??= this.#files.alignedBuffer(verifyPieceBytes)
        return await verifyCopyFile(file, { group, number, checksums }, local.verified)
      } finally {
        await file.close()
      }
    } catch (error) {
      const failure = failureOf(disk, 'read', name, error)
      if (hasCode(failure, 'NOT_FOUND')) return { state: 'missing', reason: 'its file is not there' }
      if (hasCode(failure, 'DISK_FAILED')) return { state: 'unreadable', reason: failure.message }
      throw failure
    }
  }

  remove(copy: CopyRef, group: GroupId, epoch: Epoch): Promise<void> {
    return this.#during(copy, async ({ disk, files }) => {
      this.#epochs.raise(partsOfGroupId(group).vdisk, epoch)
      const name = groupFileName(group, copy.number)
      // One that is being created is there only then.
      await files.forget(group, copy.number)
      try {
        await disk.remove(name)
        await disk.syncNames(folderOf(group))
      } catch (error) {
        if (!isAbsent(error)) throw failureOf(disk, 'remove', name, error)
      }
    })
  }

  /** What one of the hash folders of a disk holds; complete, or it rejects (I7). */
  inventory(ref: DiskRef, folder: number): Promise<FoundCopy[]> {
    return this.#during(ref, ({ disk }) => this.#inventory(disk, folder))
  }

  async #inventory(disk: Disk, folder: number): Promise<FoundCopy[]> {
    const path = `${groupsFolder}/${hashFolders[folder]}`
    const found: FoundCopy[] = []
    for (const name of await this.#namesIn(disk, path)) {
      const copy = parseGroupFileName(name)
      if (copy === undefined) continue
      try {
        const file = await disk.open(`${path}/${name}`)
        found.push({ ...copy, bytes: await file.size() })
        await file.close()
      } catch (error) {
        // Removed since the folder was read.
        if (!isAbsent(error)) throw failureOf(disk, 'open', `${path}/${name}`, error)
      }
    }
    return found
  }

  async close(): Promise<void> {
    this.#closed = true
    if (this.#underWay > 0) await new Promise<void>((resolve) => (this.#onIdle = resolve))
    for (const { files } of this.#disks.values()) files.close()
  }

  async #during<T>(ref: DiskRef, work: (local: LocalDisk) => Promise<T>): Promise<T> {
    const local = this.#begin(ref)
    try {
      return await work(local)
    } finally {
      this.#end()
    }
  }

  #begin(ref: DiskRef): LocalDisk {
    const local = this.#diskOf(ref)
    this.#underWay++
    return local
  }

  #end(): void {
    if (--this.#underWay === 0) this.#onIdle()
  }

  async #namesIn(disk: Disk, path: string): Promise<string[]> {
    try {
      return await disk.list(path)
    } catch (error) {
      // Folders come with their first file.
      if (isAbsent(error)) return []
      throw failureOf(disk, 'list', path, error)
    }
  }

  #diskOf(ref: DiskRef): LocalDisk {
    const local = this.#disks.get(ref.disk)
    if (this.#closed)
      throw new NdfsError('PEER_UNREACHABLE', `Cannot reach disk ${ref.disk}: ${ref.node} stops`, {
        node: ref.node,
        disk: ref.disk,
      })
    if (local?.disk.ref.incarnation !== ref.incarnation)
      throw new NdfsError(
        'PEER_UNREACHABLE',
        `Cannot reach disk ${ref.disk} (${ref.incarnation}): it is not in ${ref.node} now`,
        { node: ref.node, disk: ref.disk },
      )
    return local
  }

  async #use(
    disk: Disk,
    files: OpenFiles,
    open: OpenFile,
    what: string,
    work: (opened: OpenedFile) => Promise<void>,
  ): Promise<void> {
    try {
      await work(await open.opening)
    } catch (error) {
      throw failureOf(disk, what, open.name, error)
    } finally {
      files.release(open)
    }
  }
}

/** Rejects when every piece that was begun has ended or, as its disk has failed, was given up. */
function writeInPieces(file: DiskFile, parts: readonly Uint8Array[], position: number): Promise<void> {
  const bytes = parts.reduce((sum, part) => sum + part.length, 0)
  const pieces = Array.from({ length: Math.ceil(bytes / pieceBytes) }, (_, i) => i * pieceBytes)
  return atOnce(pieces, piecesAtOnce, (at) => file.write(cut(parts, at, at + pieceBytes), position + at))
}

async function holds(file: DiskFile, bytes: Buffer, position: number): Promise<boolean> {
  const there = Buffer.alloc(bytes.length)
  return (await file.read(there, position)) === bytes.length && there.equals(bytes)
}

const systemCodeOf = (error: unknown): unknown =>
  error instanceof Error && 'code' in error ? error.code : undefined
const isAbsent = (error: unknown): boolean => hasCode(error, 'NOT_FOUND') || systemCodeOf(error) === 'ENOENT'

/** The error with one of the codes that this file promises. */
function failureOf(disk: Disk, what: string, name: string, error: unknown): unknown {
  if (!(error instanceof Error)) return error
  const facts = { node: disk.ref.node, disk: disk.ref.disk }
  const because = (code: NdfsError['code']) =>
    new NdfsError(code, `Cannot ${what} ${name} on disk ${disk.ref.disk}: ${messageOf(error)}`, facts, {
      cause: error,
    })
  // A disk that is out of service may be whole: what it holds is out of reach, neither bad nor gone.
  if (what === 'read' && disk.state === 'failed') return because('PEER_UNREACHABLE')
  if (isAbsent(error)) return because('NOT_FOUND')
  if (error instanceof NdfsError || systemCodeOf(error) === undefined) return error
  switch (systemCodeOf(error)) {
    case 'EEXIST':
      return because('ALREADY_EXISTS')
    case 'ENOSPC':
    case 'EDQUOT':
      return because('OUT_OF_SPACE')
    default:
      return because('DISK_FAILED')
  }
}
