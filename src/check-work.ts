/**
 * One node's part of a check of the whole cluster: the vDisks and the containers' files that it was given, and the files on its own disks. Whoever leads the check
 * asks now and then how far it is; one that is not asked about any more ends by itself.
 */
import { atOnce } from './base/at-once.ts'
import { decodeControl, encodeControl } from './base/control.ts'
import { messageOf, NdfsError } from './base/errors.ts'
import type { VDiskId } from './base/ids.ts'
import { Limit } from './base/limit.ts'
import type { ClusterView } from './cluster-view.ts'
import type { Disk } from './disk/disk.ts'
import { findingsMax, leftOverToldMax, type WrongKind } from './management/check.ts'
import type { Medusa } from './medusa/medusa.ts'
import type { NodeShares } from './node-shares.ts'
import type { Peers } from './peer/peer.ts'
import type { Clock, Log, Timer } from './platform/platform.ts'
import type { ExtentStore } from './stargate/extent-store/extent-store.ts'
import { checkFiles } from './stargate/vdisk-controller/file-check.ts'
import { checkVDisk, countGroups, type VDiskCheckContext } from './stargate/vdisk-controller/vdisk-check.ts'
import type { FileFinding, InodeId } from './stargate/namespace/namespace.ts'
import { type DiskPicture, type Finding, standings } from './stargate/vdisk-controller/vdisk-controller.ts'
import type { VDiskHost } from './stargate/vdisk-controller/vdisk-host.ts'
import type { WrongCopies, WrongCopy } from './wrong-copies.ts'

export interface CheckWorkOptions {
  readonly clock: Clock
  readonly log: Log
  readonly view: ClusterView
  readonly peers: Peers
  readonly medusa: Medusa
  readonly extents: ExtentStore
  readonly disks: readonly Disk[]
  readonly controller: VDiskHost
  readonly wrongCopies: WrongCopies
  readonly shares: Pick<NodeShares, 'check'>
  readonly admit: (work: 'scrub', bytes: number) => Promise<() => void>
}

/** What a node is asked to check. */
export interface CheckOrder {
  readonly id: string
  readonly vdisks: readonly { readonly id: VDiskId; readonly name: string }[]
  /** Whose files it is to check. */
  readonly containers: readonly { readonly name: string; readonly root: InodeId }[]
  readonly picture: DiskPicture
  readonly repair: boolean
}

/** How far it is. `findings`: those behind the first `from`, as many as are kept. */
export interface CheckReport {
  readonly done: boolean
  readonly vdisks: number
  /** `total`: of all vDisks of the part, as they were at its beginning; absent until they are counted. */
  readonly groups: { readonly checked: number; readonly total?: number }
  readonly copies: number
  readonly bytes: number
  readonly files: { readonly files: number; readonly directories: number; readonly bytes: number }
  readonly leftOver: { readonly entries: number; readonly vdisks: number; readonly told: readonly string[] }
  readonly repaired: number
  readonly counts: Readonly<Partial<Record<WrongKind, number>>>
  readonly findings: readonly (Finding | FileFinding)[]
  readonly unfinished: readonly string[]
}

const vDisksAtOnce = 2
const repairsAtOnce = 2
const unfinishedMax = 100
/** Whoever leads a check asks twice a second. */
const unaskedMsMax = 60_000

export class CheckWork {
  readonly #options: CheckWorkOptions
  readonly #parts = new Map<string, Part>()

  constructor(options: CheckWorkOptions) {
    this.#options = options
    const { peers } = options
    peers.handle('check.begin', 'terminal', ({ body }) => {
      this.#begin(decodeControl<CheckOrder>(body))
      return []
    })
    peers.handle('check.look', 'terminal', ({ body }) => {
      const { id, from } = decodeControl<{ id: string; from: number }>(body)
      const part = this.#parts.get(id)
      if (part === undefined)
        throw new NdfsError('NOT_FOUND', `There is no check ${id} here: this node was started again`)
      return [encodeControl(part.report(from))]
    })
    peers.handle('check.end', 'terminal', ({ body }) => {
      this.#end(decodeControl<{ id: string }>(body).id)
      return []
    })
  }

  /** Nothing is begun any more. */
  stop(): void {
    for (const id of [...this.#parts.keys()]) this.#end(id)
  }

  #begin(order: CheckOrder): void {
    // Sent again, because nobody heard that it had come.
    if (this.#parts.has(order.id)) return
    const part = new Part(this.#options, order, () => this.#parts.delete(order.id))
    this.#parts.set(order.id, part)
    void part.run()
  }

  #end(id: string): void {
    this.#parts.get(id)?.stop()
    this.#parts.delete(id)
  }
}

class Part {
  readonly #options: CheckWorkOptions
  readonly #order: CheckOrder
  readonly #forget: () => void
  readonly #findings: (Finding | FileFinding)[] = []
  readonly #counts: Partial<Record<WrongKind, number>> = {}
  readonly #files = { files: 0, directories: 0, bytes: 0 }
  readonly #leftOver = { entries: 0, vdisks: 0, told: [] as string[] }
  readonly #unfinished: string[] = []
  readonly #repairs: Promise<void>[] = []
  readonly #repairing = new Limit(repairsAtOnce)
  #vdisks = 0
  #groupsChecked = 0
  #groupsTotal: number | undefined
  #copies = 0
  #bytes = 0
  #repaired = 0
  #done = false
  #stopped = false
  #askedAt: number
  #timer: Timer | undefined

  constructor(options: CheckWorkOptions, order: CheckOrder, forget: () => void) {
    this.#options = options
    this.#order = order
    this.#forget = forget
    this.#askedAt = options.clock.now()
    this.#watch()
  }

  async run(): Promise<void> {
    await Promise.all([this.#countGroups(), this.#checkVDisks(), this.#checkDisks(), this.#checkFiles()])
    await Promise.all(this.#repairs)
    this.#done = true
  }

  report(from: number): CheckReport {
    this.#askedAt = this.#options.clock.now()
    return {
      done: this.#done,
      vdisks: this.#vdisks,
      groups: {
        checked: this.#groupsChecked,
        ...(this.#groupsTotal === undefined ? {} : { total: this.#groupsTotal }),
      },
      copies: this.#copies,
      bytes: this.#bytes,
      files: this.#files,
      leftOver: this.#leftOver,
      repaired: this.#repaired,
      counts: this.#counts,
      findings: this.#findings.slice(from),
      unfinished: this.#unfinished,
    }
  }

  stop(): void {
    this.#stopped = true
    this.#timer?.cancel()
  }

  /** Ends it once whoever led it is gone. */
  #watch(): void {
    const { clock } = this.#options
    this.#timer = clock.after(unaskedMsMax, () => {
      if (clock.now() - this.#askedAt < unaskedMsMax) return this.#watch()
      this.stop()
      this.#forget()
    })
  }

  /** Beside the check, so that it is known how far that is: index rows are little of what is read. */
  async #countGroups(): Promise<void> {
    const { medusa } = this.#options
    let total = 0
    try {
      for (const { id } of this.#order.vdisks)
        total += await countGroups({ medusa, stopped: () => this.#stopped }, id)
      this.#groupsTotal = total
    } catch (error) {
      // The check itself says what it can't read; how far it is stays unknown.
      if (!(error instanceof NdfsError)) throw error
    }
  }

  async #checkVDisks(): Promise<void> {
    const context = this.#context()
    await atOnce(this.#order.vdisks, vDisksAtOnce, async ({ id, name }) => {
      if (this.#stopped) return
      await this.#orUnfinished(`vDisk ${name}`, () => checkVDisk(context, id, name))
      this.#vdisks++
    })
  }

  async #checkDisks(): Promise<void> {
    const { disks, medusa, clock, extents } = this.#options
    for (const disk of disks) {
      if (this.#stopped || disk.state !== 'online') continue
      const found = (finding: Finding): void => this.#found(finding)
      const context = { medusa, clock, extents, found, stopped: () => this.#stopped }
      await this.#orUnfinished(`the files of ${disk.ref.disk}`, () => checkFiles(context, disk.ref))
    }
  }

  async #checkFiles(): Promise<void> {
    const { shares, admit } = this.#options
    for (const { name, root } of this.#order.containers)
      await this.#orUnfinished(`the files of container ${name}`, () =>
        shares.check(name, root, {
          admit: (bytes) => admit('scrub', bytes),
          found: (finding) => this.#found(finding),
          checked: (what, bytes) => {
            this.#files[what === 'file' ? 'files' : 'directories']++
            this.#files.bytes += bytes
          },
          leftOver: (what, sentence) => {
            this.#leftOver[what === 'entry' ? 'entries' : 'vdisks']++
            if (this.#leftOver.told.length < leftOverToldMax) this.#leftOver.told.push(sentence)
          },
          unfinished: (what) => this.#leaveUnfinished(what),
          stopped: () => this.#stopped,
        }),
      )
  }

  #context(): VDiskCheckContext {
    const { medusa, clock, extents, controller, view, admit } = this.#options
    const { picture } = this.#order
    const live = new Set(picture.live.map(({ disk, incarnation }) => `${disk} ${incarnation}`))
    return {
      ...{ medusa, clock, extents },
      standing: standings(picture),
      isLive: ({ disk, incarnation }) => live.has(`${disk} ${incarnation}`),
      admit: (bytes) => admit('scrub', bytes),
      owner: (vdisk) => controller.leftOverJudge(vdisk),
      isUnowned: (vdisk) => {
        const owner = view.owner(vdisk)
        return owner === undefined || (owner.released === true && owner.next === undefined)
      },
      found: (finding) => this.#found(finding),
      wrongCopy: (vdisk, group, copy, reason) => this.#wrongCopy({ vdisk, group, copy, reason }),
      copyRead: (bytes) => {
        this.#copies++
        this.#bytes += bytes
      },
      groupChecked: () => void this.#groupsChecked++,
      unfinished: (what) => this.#leaveUnfinished(what),
      stopped: () => this.#stopped,
    }
  }

  #found(finding: Finding | FileFinding): void {
    this.#counts[finding.kind] = (this.#counts[finding.kind] ?? 0) + 1
    if (this.#findings.length < findingsMax) this.#findings.push(finding)
  }

  #wrongCopy(wrong: WrongCopy): void {
    const { wrongCopies, log } = this.#options
    if (!this.#order.repair) return
    const repair = async (): Promise<void> => {
      if (this.#stopped) return
      try {
        if (await wrongCopies.repair(wrong)) this.#repaired++
      } catch (error) {
        if (!(error instanceof NdfsError)) throw error
        log.warn(`a wrong copy of extent group ${wrong.group} is not made anew yet`, {
          reason: messageOf(error),
        })
      }
    }
    this.#repairs.push(this.#repairing.run(repair))
  }

  async #orUnfinished(what: string, work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      if (!(error instanceof NdfsError)) throw error
      this.#leaveUnfinished(`${what} could not be checked: ${messageOf(error)}`)
    }
  }

  #leaveUnfinished(what: string): void {
    if (this.#unfinished.length < unfinishedMax) this.#unfinished.push(what)
  }
}
