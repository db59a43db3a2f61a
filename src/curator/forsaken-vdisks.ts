/**
 * vDisks that were made for a file which does not name them are deleted: a node died before the file named its new vDisk, or after the
 * file was removed and before its vDisk was (docs/nfs.md, "What a crash leaves").
 *
 *   named in Zeus for ten minutes ─▶ the file's inode does not name it, and never will [disown] ─▶ vDisk deleted ─▶ name deleted
 *
 *  1. Nothing is deleted because it was not found (I7): of an inode that is missing nothing follows. `disown` is the state in the row: it makes
 *     it impossible that the file comes to name that vDisk, whoever is about to do so, and however long he was frozen. The ten minutes
 *     are for the peace of those at work; nothing rests on them.
 *  2. Every step may be done again, by this node or another one, and is, until the name is gone.
 *  3. Every node looks through those that its number points at, as with vDisks that nobody owns (assign.ts): when nodes come and go, for then
 *     numbers point elsewhere; once a day; and some minutes after a process of another node has ended, or something could not be done.
 */
import { atOnce } from '../base/at-once.ts'
import { messageOf, NdfsError } from '../base/errors.ts'
import type { NodeId, VDiskId } from '../base/ids.ts'
import type { Clock, Log, Timer } from '../platform/platform.ts'
import type { VDiskNameValue } from '../zeus/zeus.ts'

/** A vDisk as it is named for a file. */
export interface FileVDiskName {
  /** `container/file-N` */
  readonly name: string
  readonly vdisk: VDiskId
  /** The file's inode. */
  readonly file: number
}

export interface ForsakenVDisksContext {
  readonly clock: Clock
  readonly log: Log
  readonly node: NodeId
  readonly liveNodes: () => readonly NodeId[]
  /** All names of vDisks, as far as this node has heard. */
  readonly names: () => Iterable<readonly [string, VDiskNameValue]>
  /** Deletes it unless its file names it, or might. True: it is gone. */
  readonly clear: (vdisk: FileVDiskName) => Promise<boolean>
}

/** Longer than whoever makes a vDisk for a file needs until the file names it, or than he who removes a file until its vDisk is gone. */
export const youngMs = 10 * 60_000
const lookEveryMs = 24 * 60 * 60_000
/** Behind a change of nodes: others follow it when a cluster starts. */
const settleMs = 2000
/** Inodes read at once. */
const looksAtOnceMax = 4

export class ForsakenVDisks {
  readonly #context: ForsakenVDisksContext
  #timer: Timer | undefined
  /** When that timer is due. */
  #lookAt = Number.POSITIVE_INFINITY
  #looking = false
  #stopped = false

  constructor(context: ForsakenVDisksContext) {
    this.#context = context
  }

  start(): void {
    void this.#look()
  }

  /** A node came or went: some of what others looked after is ours. Behind the last change that each hears of, all are somebody's. */
  nodesChanged(): void {
    this.#lookIn(settleMs)
  }

  /** Somebody may have died at work. */
  lookSoon(): void {
    this.#lookIn(youngMs)
  }

  stop(): void {
    this.#stopped = true
    this.#timer?.cancel()
  }

  #lookIn(ms: number): void {
    const { clock } = this.#context
    const at = clock.now() + ms
    if (this.#stopped || this.#lookAt <= at) return
    this.#timer?.cancel()
    this.#lookAt = at
    this.#timer = clock.after(ms, () => void this.#look())
  }

  async #look(): Promise<void> {
    this.#lookAt = Number.POSITIVE_INFINITY
    this.#lookIn(lookEveryMs)
    if (this.#looking) return this.lookSoon()
    this.#looking = true
    await atOnce(this.#mine(), looksAtOnceMax, (vdisk) => this.#lookAtOne(vdisk))
    this.#looking = false
  }

  /** Those that this node looks after, and that are not young. */
  #mine(): FileVDiskName[] {
    const { clock, names, node, liveNodes } = this.#context
    const nodes = [...liveNodes()].sort()
    const mine: FileVDiskName[] = []
    for (const [name, { id, createdAt, file }] of names()) {
      if (file === undefined || nodes[id % nodes.length] !== node) continue
      if (clock.wallTime() - createdAt < youngMs) this.lookSoon()
      else mine.push({ name, vdisk: id, file })
    }
    return mine
  }

  async #lookAtOne(vdisk: FileVDiskName): Promise<void> {
    const { log, clear } = this.#context
    if (this.#stopped) return
    try {
      if (await clear(vdisk))
        log.info(`vDisk ${vdisk.name}, which no file names, was deleted`, { file: vdisk.file })
    } catch (error) {
      if (!(error instanceof NdfsError)) throw error
      log.debug(`vDisk ${vdisk.name} was not looked at`, { reason: messageOf(error) })
      this.lookSoon()
    }
  }
}
