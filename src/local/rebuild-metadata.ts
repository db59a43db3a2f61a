/**
 * `ndfs rebuild-metadata`: makes the store of this machine's cluster anew from what its nodes' disks hold (docs/decisions/0014).
 *
 *  1. Nothing of the cluster runs meanwhile. The disks are read, and changed nowhere. What this release can't read is refused before the rest.
 *  2. The new store is made in a folder of its own, synced, and then renamed: until then nothing has happened, and it may be begun anew.
 *     A store that is there is refused, unless it is empty; with `force` it is kept beside the new one.
 *  3. What can't be known for certain is said.
 *
 * What comes from where: names, settings, directories and small files from the newest backup on any disk; each vDisk's bytes from the trailers of
 * its extent groups and from the logs, which its next owner replays. Memory grows with the files of all disks (a hundred bytes each), and with the
 * extents of the largest vDisk.
 */
import { existsSync } from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { type BackupEntry, readBackup } from '../backup-file.ts'
import { atOnce } from '../base/at-once.ts'
import { decodeControl, encodeControl } from '../base/control.ts'
import { messageOf, NdfsError } from '../base/errors.ts'
import { thisRelease } from '../base/formats.ts'
import type { DiskId, DiskRef, Epoch, GroupId, Incarnation, NodeId, Sequence, VDiskId } from '../base/ids.ts'
import { noIncarnation, partOfGroupId, sameDisk } from '../base/ids.ts'
import { formatKey } from '../cluster-format.ts'
import type { Disk } from '../disk/disk.ts'
import { openDisk } from '../disk/folder-disk.ts'
import { newChangeId, type PartitionName, type Row } from '../medusa/medusa.ts'
import type { EnginesPlaces } from '../open-stores.ts'
import type { Platform } from '../platform/platform.ts'
import { type CopyFile, copyFiles, trailerOfCopy } from '../stargate/extent-store/copies-on-disk.ts'
import { entriesBegin, entriesEnd } from '../stargate/namespace/cookies.ts'
import { decodeEntry, encodeEntry } from '../stargate/namespace/rows.ts'
import { type LogOfVDisk, readLog } from '../stargate/oplog/log-on-disk.ts'
import { decodeExtentPayload, type ExtentPiece } from '../stargate/vdisk-controller/extent-payload.ts'
import {
  type CopyOnDisk,
  type GroupOnDisks,
  type LogsOnDisks,
  type RebuiltVDisk,
  rebuildVDisk,
  type VDiskOnDisks,
} from '../stargate/vdisk-controller/rebuild.ts'
import { decodeVDiskState, encodeVDiskState, stateRowKey } from '../stargate/vdisk-controller/rows.ts'
import type { FormatValue } from '../zeus/zeus.ts'
import { type BackupsOnDisks, readBackupsOnDisks } from './backups-on-disks.ts'
import { type Cluster, existingCluster, type Layout, layoutOf, nodesThere } from './layout.ts'
import type { Output } from './local.ts'
import { openPlace, type Place } from './move/move-metadata.ts'
import { StoredMetadata } from './move/stored-metadata.ts'
import { readEnginesFile, readLocalNodeConfig } from './node-config.ts'
import { moveAside, raiseNumbers, refuseRunning } from './store/restore-store.ts'
import { StoreBatches } from './store/store-batch.ts'
import { movedPlacesIn, openStoreDatabase } from './store/store-database.ts'

export interface RebuildOptions {
  readonly dir: string
  /** Also where there is a store, which is kept beside the new one. */
  readonly force: boolean
  /** Also where disks can't be read: what only they hold is missing. */
  readonly withoutDisks: boolean
  /** Names engines in place of those that the nodes are configured with. */
  readonly engines?: string
}

export interface RebuiltMetadata {
  /** Of the newest backup, milliseconds since 1970; absent where no disk has one. */
  readonly backupAt?: number
  readonly vdisks: number
  readonly groups: number
  readonly files: number
  /** A sentence each: what is not certain. */
  readonly notes: readonly string[]
  readonly missingDisks: readonly string[]
  readonly kept?: string
}

type FilesByVDisk = ReadonlyMap<VDiskId, readonly { readonly disk: Disk; readonly file: CopyFile }[]>

const filesAtOnce = 16
/** Whoever owned a vDisk is gone. */
const nobody = '0'.repeat(16) as Incarnation

export async function rebuildMetadata(
  options: RebuildOptions,
  platform: Platform,
  output: Output,
): Promise<RebuiltMetadata> {
  const { files } = platform
  const layout = layoutOf(options.dir)
  const lock = await files.lock(layout.dir)
  if (lock === undefined)
    throw new NdfsError(
      'IN_USE',
      `Cannot rebuild the metadata of ${layout.dir}: \`ndfs up\` still runs. End it first.`,
    )
  try {
    await refuseRunning(layout, platform, 'rebuild the metadata')
    const cluster = await existingCluster(files, layout)
    const places = await enginesOf(options, layout, cluster, platform)
    const disks = new OpenDisks()
    try {
      if (places === undefined) refuseStoreThere(layout, options)
      await disks.open(layout, cluster.clusterId, platform)
      if (disks.missing.length > 0 && !options.withoutDisks)
        throw new NdfsError(
          'REFUSED',
          `Cannot read ${disks.missing.map(({ ref, why }) => `${ref.disk} (${why})`).join(', ')}. What only they hold would be missing: ` +
            'bring them back, or rebuild with --without-disks.',
        )
      const backups = await readBackupsOnDisks(disks.disks, cluster.clusterId, thisRelease)
      // Engines refuse nodes from now on, until all of it is there.
      const made = { id: cluster.clusterId, createdAt: Date.parse(cluster.createdAt) }
      const place = places && (await openPlace(places, made, platform, output))
      try {
        const work = join(layout.store.folder, 'rebuilding')
        await rm(work, { recursive: true, force: true })
        await mkdir(work, { recursive: true })
        const file = join(work, 'store.db')
        const rebuild = new Rebuild(file, cluster.clusterId, disks, backups, platform, output)
        const rebuilt = await rebuild.run()
        const kept =
          place === undefined
            ? await putInPlace(file, work, layout, platform)
            : await putOnEngines(file, cluster.clusterId, place)
        await rm(work, { recursive: true, force: true })
        return { ...rebuilt, ...(kept === undefined ? {} : { kept }) }
      } finally {
        await place?.close()
      }
    } finally {
      await disks.close()
    }
  } finally {
    await lock.release()
  }
}

/** Undefined where the metadata is to be in a store. */
async function enginesOf(
  { engines }: RebuildOptions,
  layout: Layout,
  cluster: Cluster,
  { files }: Platform,
): Promise<EnginesPlaces | undefined> {
  const [node] = await nodesThere(files, layout, cluster)
  const configured = (await readLocalNodeConfig(files, layout.node(node.id).config)).engines
  const there = configured ?? (movedPlacesIn(storeFile(layout)) as EnginesPlaces | undefined)
  if (engines === undefined) return there
  if (there === undefined)
    throw new NdfsError(
      'REFUSED',
      `Cannot rebuild the metadata on engines: the cluster in ${layout.dir} has a store. Rebuild that, and move it with \`ndfs migrate-metadata\`.`,
    )
  const { zookeeper, cassandra } = await readEnginesFile(files, engines)
  return { zookeeper, cassandra }
}

const storeFile = (layout: Layout): string => join(layout.store.folder, 'store.db')

function refuseStoreThere(layout: Layout, { force }: RebuildOptions): void {
  const target = storeFile(layout)
  if (existsSync(target) && !force && !isEmptyStore(target))
    throw new NdfsError(
      'IN_USE',
      `Cannot rebuild the metadata: ${target} is there, and not empty. If it can't be used, and neither can its copy (\`ndfs store restore\`), ` +
        'rebuild with --force, which keeps it beside the new one.',
      { file: target },
    )
}

/** Resolves to where the store went that was there. */
async function putInPlace(
  file: string,
  work: string,
  layout: Layout,
  platform: Platform,
): Promise<string | undefined> {
  const { files } = platform
  const opened = await files.open(file, { writable: true })
  await opened.sync().finally(() => opened.close())
  await files.syncDirectory(work)
  const kept = await moveAside(layout, platform)
  await mkdir(layout.store.folder, { recursive: true })
  await files.rename(file, storeFile(layout))
  await files.syncDirectory(layout.store.folder)
  return kept
}

/** Where it is interrupted, the file is made anew: disks may have changed. */
async function putOnEngines(file: string, cluster: string, place: Place): Promise<undefined> {
  const database = openStoreDatabase(file, cluster)
  try {
    await place.fill(new StoredMetadata(database), () => Promise.resolve())
  } finally {
    database.close()
  }
}

function isEmptyStore(file: string): boolean {
  try {
    const database = new Database(file, { readonly: true })
    try {
      return database.prepare('SELECT 1 FROM medusa_partitions').get() === undefined
    } finally {
      database.close()
    }
  } catch {
    return false
  }
}

class OpenDisks {
  readonly disks: Disk[] = []
  readonly missing: { readonly ref: DiskRef; readonly why: string }[] = []

  async open(layout: Layout, cluster: string, platform: Platform): Promise<void> {
    const there = await existingCluster(platform.files, layout)
    for (const { id } of await nodesThere(platform.files, layout, there)) {
      const config = await readLocalNodeConfig(platform.files, layout.node(id).config)
      for (const { id: disk, path } of config.disks) {
        const ref = { node: id as NodeId, disk: disk as DiskId, incarnation: noIncarnation }
        try {
          this.disks.push(await openDisk(platform, { path, node: ref.node, cluster, disk: ref.disk }))
        } catch (error) {
          // Whoever has it locked lives.
          if (!(error instanceof NdfsError) || error.code === 'IN_USE') throw error
          this.missing.push({ ref, why: messageOf(error) })
        }
      }
    }
  }

  has(disk: DiskRef): boolean {
    return this.disks.some(({ ref }) => sameDisk(ref, disk))
  }

  /** One of another node than these, under an incarnation that is nowhere. */
  lost(besides: readonly NodeId[]): DiskRef | undefined {
    const all = [...this.missing.map(({ ref }) => ref), ...this.disks.map(({ ref }) => ref)]
    const found = all.find(({ node }) => !besides.includes(node))
    return found && { ...found, incarnation: noIncarnation }
  }

  async close(): Promise<void> {
    for (const disk of this.disks) await disk.close()
  }
}

class Rebuild {
  readonly #database: Database.Database
  readonly #store: StoreBatches
  readonly #disks: OpenDisks
  readonly #backups: BackupsOnDisks
  readonly #cluster: string
  readonly #platform: Platform
  readonly #output: Output
  readonly #notes: string[] = []
  #savedFormat: FormatValue = { format: 0, nodes: {} }
  /** As the backup has them. */
  readonly #saved = new Map<VDiskId, NonNullable<VDiskOnDisks['saved']>>()
  /** Names of vDisks, by id, and what has each name. */
  readonly #nameOf = new Map<VDiskId, string>()
  readonly #names = new Set<string>()
  readonly #containers = new Set<string>()
  #files = 0

  constructor(
    file: string,
    cluster: string,
    disks: OpenDisks,
    backups: BackupsOnDisks,
    platform: Platform,
    output: Output,
  ) {
    this.#database = openStoreDatabase(file, cluster)
    // Nothing rests on it before it is synced whole.
    this.#database.pragma('synchronous = OFF')
    this.#store = new StoreBatches(this.#database)
    this.#disks = disks
    this.#backups = backups
    this.#cluster = cluster
    this.#platform = platform
    this.#output = output
  }

  async run(): Promise<Omit<RebuiltMetadata, 'kept'>> {
    try {
      const backupAt = await this.#readBackup()
      const files = await this.#listFiles()
      const logs = await this.#readLogs(files)
      const ids = new Set<VDiskId>([...this.#saved.keys(), ...files.keys(), ...logs.keys()])
      this.#output.line(`Found ${ids.size} vDisks.`)
      let groups = 0
      let vdisks = 0
      let highest = 0
      for (const vdisk of [...ids].sort((a, b) => a - b)) {
        highest = Math.max(highest, vdisk)
        const found = await this.#groupsOf(vdisk, files.get(vdisk) ?? [])
        const saved = this.#saved.get(vdisk)
        const rebuilt = rebuildVDisk(vdisk, {
          groups: found,
          ...(logs.has(vdisk) ? { logs: logs.get(vdisk)! } : {}),
          ...(saved === undefined ? {} : { saved }),
          nameless: `recovered/vdisk-${vdisk}`,
          lostDisk: (besides) => this.#disks.lost(besides),
        })
        if (rebuilt === undefined) continue
        const name = this.#bringBack(rebuilt)
        groups += rebuilt.groups
        if (rebuilt.state.state === 'live') {
          vdisks++
          this.#output.line(`${name}: ${rebuilt.groups} extent groups, drained to ${rebuilt.state.drained}`)
        }
        for (const note of rebuilt.notes) this.#notes.push(`${name}: ${note}`)
      }
      this.#count(highest)
      raiseNumbers(this.#database)
      this.#database.pragma('wal_checkpoint(TRUNCATE)')
      const missingDisks = this.#disks.missing.map(({ ref }) => ref.disk)
      return {
        ...(backupAt === undefined ? {} : { backupAt }),
        ...{ vdisks, groups, files: this.#files, notes: this.#notes, missingDisks },
      }
    } finally {
      this.#database.close()
    }
  }

  // ---- the backup ----

  async #readBackup(): Promise<number | undefined> {
    const { newest, damaged, format } = this.#backups
    for (const name of damaged)
      this.#notes.push(`the backup ${name} is damaged, or was not finished: an older one is taken`)
    if (newest === undefined) {
      this.#notes.push(
        'there is no backup of the metadata on any disk: names are those that extent groups bear, directories and small files are lost',
      )
      this.#setFormat(format)
      return undefined
    }
    const { disk, name, takenAt } = newest
    this.#output.line(
      `The newest backup of the metadata is of ${new Date(takenAt).toISOString()}: ${disk.path}/${name}`,
    )
    const file = await disk.open(name)
    try {
      for await (const entry of readBackup(file)) this.#takeIn(entry)
    } finally {
      await file.close()
    }
    this.#setFormat(format)
    return takenAt
  }

  #setFormat(format: number): void {
    const value: FormatValue = { ...this.#savedFormat, format }
    this.#zeus('zeus.set', { key: formatKey, json: JSON.stringify(value), expected: 0 })
  }

  #lastPartition: string | undefined

  #takeIn(entry: BackupEntry): void {
    if (entry.kind === 'key') {
      const { key, value } = entry
      if (key === formatKey) {
        this.#savedFormat = value as FormatValue
        return
      }
      this.#zeus('zeus.set', { key, json: JSON.stringify(value), expected: 0 })
      if (key.startsWith('container/')) this.#containers.add(key.slice('container/'.length))
      if (!key.startsWith('vdisk/')) return
      const name = key.slice('vdisk/'.length)
      this.#names.add(name)
      this.#nameOf.set((value as { id: VDiskId }).id, name)
      return
    }
    if (entry.kind !== 'rows') return
    const { partition, epoch } = entry
    const rows = entry.rows.map(({ key, value }) => ({ key, value: Buffer.from(value) }))
    if (partition.table === 'vdisk') {
      const state = decodeVDiskState(rows[0].value)
      this.#saved.set(Number(partition.key) as VDiskId, { epoch, state })
      return
    }
    // What has several names was met several times: as it was met first. Of a large one more rows follow at once.
    const name = `${partition.table}/${partition.key}`
    const before = this.#versionOf(partition)
    if (before > 0 && this.#lastPartition !== name) return
    if (before === 0) this.#files++
    this.#lastPartition = name
    this.#change(partition, epoch, before, partition.table === 'directory' ? rows.map(unstamped) : rows)
  }

  // ---- the disks ----

  async #listFiles(): Promise<FilesByVDisk> {
    const found = new Map<VDiskId, { readonly disk: Disk; readonly file: CopyFile }[]>()
    let count = 0
    for (const disk of this.#disks.disks)
      for await (const file of copyFiles(disk)) {
        const vdisk = partOfGroupId(file.group, 0) as VDiskId
        const files = found.get(vdisk)
        if (files === undefined) found.set(vdisk, [{ disk, file }])
        else files.push({ disk, file })
        count++
      }
    this.#output.line(`Found ${count} files of extent groups on ${this.#disks.disks.length} disks.`)
    return found
  }

  async #groupsOf(
    vdisk: VDiskId,
    files: readonly { readonly disk: Disk; readonly file: CopyFile }[],
  ): Promise<GroupOnDisks[]> {
    const groups = new Map<GroupId, { copies: CopyOnDisk[]; trailer?: GroupOnDisks['trailer'] }>()
    let damaged = 0
    await atOnce(files, filesAtOnce, async ({ disk, file }) => {
      const trailer = await trailerOfCopy(disk, file, this.#cluster).catch((error: unknown) => {
        if (!(error instanceof NdfsError)) throw error
        return 'damaged' as const
      })
      const { group, number } = file
      const found = groups.get(group) ?? { copies: [] }
      groups.set(group, found)
      const state = typeof trailer === 'string' ? trailer : 'whole'
      if (state === 'damaged') damaged++
      found.copies.push({ ...disk.ref, number, tier: disk.tier, state })
      if (typeof trailer !== 'string') found.trailer = trailer
    })
    if (damaged > 0) this.#notes.push(`vDisk ${vdisk}: ${damaged} files have a damaged trailer`)
    return [...groups].map(([group, found]) => ({ group, ...found }))
  }

  async #readLogs(files: FilesByVDisk): Promise<Map<VDiskId, LogsOnDisks>> {
    const all = new Map<VDiskId, LogsOnDisks>()
    const there = new Set<GroupId>()
    for (const some of files.values()) for (const { file } of some) there.add(file.group)
    // Each disk that it was written to is here, as it was then, and it may have gone to no other.
    const isFreed = ({ group, copies }: ExtentPiece): boolean =>
      !there.has(group) && this.#disks.missing.length === 0 && copies.every((copy) => this.#disks.has(copy))
    for (const disk of this.#disks.disks) {
      if (disk.tier !== 'flash') continue
      const { vdisks, uncertain } = await readLog(disk, this.#platform, (payload) =>
        decodeExtentPayload(payload).pieces.some(isFreed),
      )
      if (uncertain !== undefined) this.#notes.push(`the log on ${disk.ref.disk}: ${uncertain}`)
      for (const [vdisk, log] of vdisks) all.set(vdisk, joined(all.get(vdisk), log, disk.ref))
    }
    return all
  }

  // ---- the rows ----

  /** Writes the vDisk's rows, its name where it has none, and that it has no owner. Its name. */
  #bringBack({ vdisk, epoch, state, partitions }: RebuiltVDisk): string {
    const known = this.#nameOf.get(vdisk)
    const name = known ?? (state.state === 'live' ? this.#newName(vdisk, state.name) : state.name)
    for (const partition of partitions) {
      const isState = partition.name.table === 'vdisk'
      partition.changes.forEach((put, version) => {
        const rows = isState ? put.map((row) => (row.key === stateRowKey ? renamed(row, name) : row)) : put
        this.#change(partition.name, partition.epoch, version, rows)
      })
    }
    if (state.state === 'live' && known === undefined) {
      const createdAt = Math.round(this.#platform.clock.wallTime())
      const container = name.slice(0, name.indexOf('/'))
      if (!this.#containers.has(container)) {
        this.#containers.add(container)
        const value = { copies: state.copies, createdAt }
        this.#zeus('zeus.set', { key: `container/${container}`, json: JSON.stringify(value), expected: 0 })
        this.#notes.push(`container ${container} is in no backup, and was made for what was found of it`)
      }
      this.#zeus('zeus.set', {
        key: `vdisk/${name}`,
        json: JSON.stringify({ id: vdisk, createdAt }),
        expected: 0,
      })
      this.#notes.push(`${name} is in no backup: it was made after the last one, or deleted long ago`)
    }
    // Given to a live node when the cluster starts: its log is replayed then, and what nothing names is freed.
    const [{ ref }] = this.#disks.disks
    this.#zeus('zeus.claim', {
      vdisk,
      by: { node: ref.node, incarnation: nobody },
      reason: 'free',
      atLeast: epoch,
    })
    return name
  }

  #newName(vdisk: VDiskId, wanted: string): string {
    const [container] = wanted.split('/')
    // `file-N` is a file's, and no file names it.
    const isTaken = this.#names.has(wanted) || /\/file-\d+$/.test(wanted)
    const name = isTaken ? `${container}/recovered-${vdisk}` : wanted
    this.#names.add(name)
    return name
  }

  /** Ids go on above all that were seen. */
  #count(highest: number): void {
    this.#database
      .prepare(
        "INSERT INTO zeus_counters (name, number) VALUES ('vdisk', ?) ON CONFLICT (name) DO UPDATE SET number = excluded.number",
      )
      .run(highest)
  }

  #versionOf(partition: PartitionName): number {
    const asked = this.#run('medusa.get', { partition, rowKeys: [] })
    return decodeControl<{ static: { version: number } }>(asked).static.version
  }

  #change(partition: PartitionName, epoch: Epoch, version: number, put: readonly Row[]): void {
    const expected = { epoch: version === 0 ? (0 as Epoch) : epoch, version }
    const change = { id: newChangeId(this.#platform.chance), expected, epoch, put }
    const { outcome } = decodeControl<{ outcome: string }>(this.#run('medusa.change', { partition, change }))
    if (outcome !== 'applied')
      throw new NdfsError('DAMAGED_METADATA', `Cannot write ${partition.table} ${partition.key} twice`, {
        ...partition,
      })
  }

  #zeus(kind: 'zeus.set' | 'zeus.claim', asks: object): void {
    this.#run(kind, asks)
  }

  #run(kind: string, asks: object): Uint8Array {
    const [outcome] = this.#store.run([{ kind, body: encodeControl(asks) }], {
      wallTime: this.#platform.clock.wallTime(),
    })
    if (outcome instanceof NdfsError) throw outcome
    return outcome
  }
}

/** Directories begin anew with their versions, which an entry's stamp is compared with. */
function unstamped({ key, value }: Row): Row {
  if (key <= entriesBegin || key >= entriesEnd) return { key, value }
  return { key, value: encodeEntry({ ...decodeEntry(value), stamp: 0 }) }
}

const renamed = ({ key, value }: Row, name: string): Row => ({
  key,
  value: encodeVDiskState({ ...decodeVDiskState(value), name }),
})

function joined(logs: LogsOnDisks | undefined, log: LogOfVDisk, disk: DiskRef): LogsOnDisks {
  const episodes = [...log.episodes].map(([id, episode]) => ({ id, disk, ...episode }))
  return {
    epoch: Math.max(logs?.epoch ?? 0, log.epoch) as Epoch,
    freed: Math.max(logs?.freed ?? 0, log.freed) as Sequence,
    episodes: [...(logs?.episodes ?? []), ...episodes],
    endBytes: Math.max(logs?.endBytes ?? 0, log.endBytes),
    resized: Math.max(logs?.resized ?? 0, log.resized) as Sequence,
    ofFreedGroups: [...(logs?.ofFreedGroups ?? []), ...log.ofFreedGroups],
  }
}
