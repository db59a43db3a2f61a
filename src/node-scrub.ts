/** The scrub of one node, joined to what it reads, repairs and remembers; and the one setting that all nodes share. */
import { type DiskRef, type GroupId, type NodeId, sameDisk } from './base/ids.ts'
import { pageBytes } from './base/units.ts'
import type { ClusterView } from './cluster-view.ts'
import { FileScrub, type FileScrubRound } from './curator/file-scrub.ts'
import { Scrub, type ScrubProgress, type ScrubTold } from './curator/scrub.ts'
import type { Disk } from './disk/disk.ts'
import type { Sample } from './management/management.ts'
import type { Medusa } from './medusa/medusa.ts'
import type { Clock, Log } from './platform/platform.ts'
import type { NodeShares } from './node-shares.ts'
import type { InodeId } from './stargate/namespace/namespace.ts'
import type { CopyRef, ExtentStore } from './stargate/extent-store/extent-store.ts'
import { checkCopy, type CheckedCopy, namesNow } from './stargate/vdisk-controller/copy-check.ts'
import { walkBegins, walkCopies } from './stargate/vdisk-controller/copy-walk.ts'
import { readGroupRow } from './stargate/vdisk-controller/group-rows.ts'
import type { WrongCopies } from './wrong-copies.ts'
import { fileScrubKey, type ScrubSettingValue, type Watch, type Zeus } from './zeus/zeus.ts'

export interface NodeScrubOptions {
  readonly clock: Clock
  readonly log: Log
  readonly node: NodeId
  readonly zeus: Zeus
  readonly medusa: Medusa
  readonly view: ClusterView
  readonly extents: ExtentStore
  readonly disks: readonly Disk[]
  readonly wrongCopies: WrongCopies
  readonly shares: Pick<NodeShares, 'check'>
  readonly admit: (work: 'scrub', bytes: number) => Promise<() => void>
  /** Where nobody has set another. */
  readonly usualPeriodMs: number
}

const settingKey = 'scrubbing'

export class NodeScrub {
  readonly #options: NodeScrubOptions
  readonly #scrub: Scrub
  readonly #files: FileScrub
  readonly #watch: Watch
  #setting: ScrubSettingValue | undefined

  constructor(options: NodeScrubOptions) {
    this.#options = options
    const { clock, log, node, zeus } = options
    const key = `scrub/${node}`
    const periodMs = (): number | undefined => (this.periodMs === 0 ? undefined : this.periodMs)
    this.#scrub = new Scrub(
      {
        ...{ clock, log, periodMs },
        walk: (place) => {
          const vdisks = [...options.view.vdisks.values()].map(({ id }) => id)
          return walkCopies(options.medusa, vdisks, place, (disk) => this.#isHere(disk))
        },
        check: ({ group, copy }) => this.#check(group, copy),
        repair: ({ vdisk, group, copy }, reason) =>
          options.wrongCopies.repair({ vdisk, group, copy, reason }),
        load: async () => (await zeus.get(key))?.value as ScrubProgress | undefined,
        save: async (progress) => {
          await zeus.set(key, progress)
        },
      },
      walkBegins,
    )
    this.#files = new FileScrub({
      ...{ clock, log, periodMs },
      containers: () => {
        const nodes = options.view.liveNodes()
        return [...options.view.containers].flatMap(([name, { root, deleting }]) =>
          root === undefined || deleting || nodes[root % nodes.length] !== node
            ? []
            : [{ name, root: root as InodeId }],
        )
      },
      admit: (bytes) => options.admit('scrub', bytes),
      check: ({ name, root }, context) => options.shares.check(name, root, context),
      load: async (root) => (await zeus.get(fileScrubKey(root)))?.value as FileScrubRound | undefined,
      save: async (root, round) => {
        await zeus.set(fileScrubKey(root), round)
      },
    })
    this.#watch = zeus.watch(settingKey, (_, now) => {
      this.#setting = now?.value as ScrubSettingValue | undefined
      this.#scrub.look()
      this.#files.look()
    })
  }

  /** 0: nothing is scrubbed. */
  get periodMs(): number {
    return this.#setting?.everyMs ?? this.#options.usualPeriodMs
  }

  start(): void {
    this.#scrub.start()
    this.#files.start()
  }

  stop(): void {
    this.#watch.stop()
    this.#scrub.stop()
    this.#files.stop()
  }

  describe(): (ScrubTold & { readonly damagedFiles: number }) | undefined {
    const told = this.#scrub.describe()
    return told && { ...told, damagedFiles: this.#files.found }
  }

  /** A node came or went: what others scrubbed may be ours. */
  nodesChanged(): void {
    this.#files.look()
  }

  /** For all nodes, and for good. */
  async setPeriod(everyMs: number): Promise<void> {
    const value: ScrubSettingValue = { everyMs }
    await this.#options.zeus.set(settingKey, value)
    // Who has set it sees it at once.
    this.#setting = value
    this.#scrub.look()
    this.#files.look()
  }

  samples(): Sample[] {
    const told = this.describe()
    const { copies, bytes } = this.#scrub.counts
    const sample = (kind: Sample['kind'], name: string, help: string, value: number): Sample => ({
      ...{ kind, name, help, value },
    })
    return [
      sample(
        'gauge',
        'scrub_period_seconds',
        'Every copy is read once in so long; 0: never.',
        this.periodMs / 1000,
      ),
      sample('counter', 'scrub_copies_total', 'Copies of extent groups that the scrub has read.', copies),
      sample('counter', 'scrub_read_bytes_total', 'Bytes that the scrub has read.', bytes),
      ...(told === undefined
        ? []
        : [
            sample('gauge', 'scrub_progress', 'Of this round, 0 to 1.', told.progress),
            sample('gauge', 'scrub_wrong_copies', 'Wrong copies that the scrub found, ever.', told.found),
            sample('gauge', 'scrub_repaired_copies', 'Of them, those that were made anew.', told.repaired),
            sample('gauge', 'scrub_waiting_copies', 'Of them, those that are still to be.', told.waiting),
            sample(
              'gauge',
              'scrub_damaged_files',
              'Damaged files and wrong names that the scrub of files has found in its last round.',
              told.damagedFiles,
            ),
            sample(
              'gauge',
              'scrub_last_complete_timestamp_seconds',
              'When every copy on the disks of this node had been read last; 0: never.',
              (told.lastCompleteAt ?? 0) / 1000,
            ),
          ]),
    ]
  }

  #isHere(ref: DiskRef): boolean {
    return this.#options.disks.some((disk) => disk.state === 'online' && sameDisk(disk.ref, ref))
  }

  async #check(
    group: GroupId,
    copy: CopyRef,
  ): Promise<{ readonly checked: CheckedCopy; readonly bytes: number }> {
    const { medusa, extents, admit } = this.#options
    const row = await readGroupRow(medusa, group)
    if (!namesNow(row, copy) || !this.#isHere(copy)) return { checked: { state: 'moved on' }, bytes: 0 }
    const bytes = row.checksums.length * pageBytes
    const leave = await admit('scrub', bytes)
    const checked = await checkCopy({ medusa, extents }, group, copy, row).finally(leave)
    return { checked, bytes: checked.state === 'moved on' ? 0 : bytes }
  }
}
