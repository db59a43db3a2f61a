/**
 * Backups of the metadata on the nodes' disks: what no trailer and no log says (docs/decisions/0014). From them, and from trailers and logs,
 * `ndfs rebuild-metadata` makes all of it anew.
 *
 *  1. One holds containers, names and settings, the row of every vDisk (deleted ones, too), and all directories, small files, links and
 *     attributes. Not maps and extent groups: disks say more of them; not locks.
 *  2. It is taken by one node, the first of those that live, and lies on a disk each of up to three nodes. The one before goes when it is
 *     on stable media.
 *  3. Every ten minutes where something has changed; each node says whether it has changed something. At once where that is asked for.
 *  4. It is no picture of one moment: files are read first and names after them, so that whatever a file names is named.
 */
import { atOnce } from './base/at-once.ts'
import { decodeControl, encodeControl } from './base/control.ts'
import { messageOf, NdfsError } from './base/errors.ts'
import type { NodeId, VDiskId } from './base/ids.ts'
import { MiB } from './base/units.ts'
import { backupName, backupsOn, type BackupEntry, encodeEntry, fileVersion } from './backup-file.ts'
import type { Disk, DiskFile } from './disk/disk.ts'
import type { Medusa, PartitionName } from './medusa/medusa.ts'
import type { Peers } from './peer/peer.ts'
import type { Clock, Log, Timer } from './platform/platform.ts'
import type { InodeId } from './stargate/namespace/namespace.ts'
import { partitionsOfTree } from './stargate/namespace/partitions.ts'
import { vdiskPartition } from './stargate/vdisk-controller/rows.ts'
import type { ContainerValue, VDiskNameValue, Zeus } from './zeus/zeus.ts'

export interface MetadataBackupOptions {
  readonly clock: Clock
  readonly log: Log
  readonly node: NodeId
  readonly cluster: string
  readonly zeus: Zeus
  readonly medusa: Medusa
  readonly peers: Peers
  readonly disks: readonly Disk[]
  readonly liveNodes: () => readonly NodeId[]
  /** Changes of what a backup holds that this node has made. */
  readonly changes: () => number
}

/** A backup, and where it lies. */
export interface TakenBackup {
  readonly takenAt: number
  readonly bytes: number
  readonly places: readonly string[]
}

const everyMs = 10 * 60_000
const placesMax = 3
/** What is written, and sent, at once. */
const pieceBytes = 1 * MiB
const rowsAtOnce = 64
const vDisksAtOnce = 16
const askTimeoutMs = 5000
const sendTimeoutMs = 30_000
/** Keys of Zeus that are of the moment, not of the cluster. */
const passing = ['session/', 'owner/', 'scrub/', 'slow-disk']

/** All that a backup holds, in pieces of bounded size. */
export async function* entriesOf(zeus: Zeus, medusa: Medusa): AsyncGenerator<BackupEntry> {
  for (const { value } of await zeus.list('container/')) {
    const { root } = value as ContainerValue
    if (root === undefined) continue
    for await (const partition of partitionsOfTree(medusa, root as InodeId)) yield* rowsOf(medusa, partition)
  }
  const keys = await zeus.list('')
  const ids = new Set<VDiskId>()
  for (const { key, value } of keys) {
    if (key.startsWith('vdisk/')) ids.add((value as VDiskNameValue).id)
    // Also of those that were deleted: their rows stay, and say so.
    if (key.startsWith('owner/')) ids.add(Number(key.slice('owner/'.length)) as VDiskId)
    if (!passing.some((prefix) => key.startsWith(prefix))) yield { kind: 'key', key, value }
  }
  const all = [...ids]
  for (let at = 0; at < all.length; at += vDisksAtOnce) {
    const found: BackupEntry[] = []
    await atOnce(all.slice(at, at + vDisksAtOnce), vDisksAtOnce, async (vdisk) => {
      const partition = vdiskPartition(vdisk)
      const { static: now, rows } = await medusa.get(partition, ['state'])
      if (rows.length > 0) found.push({ kind: 'rows', partition, epoch: now.epoch, rows })
    })
    yield* found
  }
}

async function* rowsOf(medusa: Medusa, partition: PartitionName): AsyncGenerator<BackupEntry> {
  for (let after = ''; ;) {
    const { static: now, rows } = await medusa.scan(partition, { after, limit: rowsAtOnce })
    if (rows.length > 0) yield { kind: 'rows', partition, epoch: now.epoch, rows }
    if (rows.length < rowsAtOnce) return
    after = rows[rows.length - 1].key
  }
}

/** The disk of a node that its backups lie on: the one that holds one, else the first that is in service. */
async function diskFor(disks: readonly Disk[]): Promise<Disk> {
  const online = disks.filter(({ state }) => state === 'online')
  for (const disk of online) if ((await backupsOn(disk)).length > 0) return disk
  if (online.length === 0) throw new NdfsError('UNAVAILABLE', 'Cannot keep a backup: no disk is in service')
  return online[0]
}

/** One that is being written on a disk of this node. */
class ArrivingBackup {
  readonly #disk: Disk
  readonly #file: DiskFile
  readonly name: string
  bytes = 0

  private constructor(disk: Disk, file: DiskFile, name: string) {
    this.#disk = disk
    this.#file = file
    this.name = name
  }

  static async begin(disks: readonly Disk[], takenAt: number): Promise<ArrivingBackup> {
    const disk = await diskFor(disks)
    const name = backupName(takenAt)
    return new ArrivingBackup(disk, await disk.create(name, 0, 'guest'), name)
  }

  async add(buffers: readonly Buffer[]): Promise<void> {
    await this.#file.write(buffers, this.bytes)
    for (const buffer of buffers) this.bytes += buffer.length
  }

  /** On stable media, name and all; only then those before it go. */
  async end(): Promise<string> {
    await this.#file.sync()
    await this.#file.close()
    await this.#disk.syncNames('metadata')
    // Also those of a clock that was ahead: this one is the newest.
    for (const other of await backupsOn(this.#disk)) if (other !== this.name) await this.#disk.remove(other)
    return `${this.#disk.path}/${this.name}`
  }

  async giveUp(): Promise<void> {
    await this.#file.close().catch(() => undefined)
    await this.#disk.remove(this.name).catch(() => undefined)
  }
}

interface PieceHead {
  readonly takenAt: number
  readonly at: number
  readonly last: boolean
}

export class MetadataBackups {
  readonly #options: MetadataBackupOptions
  #timer: Timer | undefined
  #taking: Promise<TakenBackup> | undefined
  /** What comes from another node. */
  #arriving: { readonly takenAt: number; readonly backup: ArrivingBackup } | undefined
  /** The changes of each node when the last backup here began. */
  #seen = ''
  #newestAt: number | undefined
  #stopped = false

  constructor(options: MetadataBackupOptions) {
    this.#options = options
    const { peers, changes } = options
    peers.handle('backup.changes', 'terminal', () => [encodeControl({ changes: changes() })])
    peers.handle('backup.piece', 'terminal', async ({ body }) => [encodeControl(await this.#takeIn(body))])
  }

  start(): void {
    void this.#lookForNewest()
    this.#plan()
  }

  #plan(): void {
    const { clock } = this.#options
    this.#timer = clock.after(everyMs, () => {
      void this.#takeIfChanged().finally(() => {
        if (!this.#stopped) this.#plan()
      })
    })
  }

  stop(): void {
    this.#stopped = true
    this.#timer?.cancel()
  }

  /** Takes one now, and lays it on disks of up to three nodes; at least on one of this node's. */
  take(): Promise<TakenBackup> {
    this.#taking ??= this.#take().finally(() => (this.#taking = undefined))
    return this.#taking
  }

  /** When the newest of this node's backups was taken, milliseconds since 1970. */
  get newestAt(): number | undefined {
    return this.#newestAt
  }

  async #lookForNewest(): Promise<void> {
    for (const disk of this.#options.disks)
      for (const name of await backupsOn(disk)) this.#remember(Number(name.slice(name.lastIndexOf('-') + 1)))
  }

  #remember(takenAt: number): void {
    this.#newestAt = Math.max(takenAt, this.#newestAt ?? 0)
  }

  async #takeIfChanged(): Promise<void> {
    const { node, liveNodes, log } = this.#options
    if ([...liveNodes()].sort()[0] !== node) return
    const changed = await this.#changes()
    if (changed === this.#seen) return
    try {
      await this.take()
      this.#seen = changed
    } catch (error) {
      if (!(error instanceof NdfsError)) throw error
      log.warn('the metadata was not backed up', { reason: messageOf(error) })
    }
  }

  /** What has been changed, in a word that differs when something was. */
  async #changes(): Promise<string> {
    const { peers, node, liveNodes, changes } = this.#options
    const of = async (name: NodeId): Promise<string> => {
      if (name === node) return `${name} ${changes()}`
      const answer = await peers
        .call(name, 'backup.changes', [], { timeoutMs: askTimeoutMs })
        .catch(() => undefined)
      return `${name} ${answer === undefined ? '?' : decodeControl<{ changes: number }>(answer).changes}`
    }
    return (await Promise.all([...liveNodes()].sort().map(of))).join()
  }

  async #take(): Promise<TakenBackup> {
    const { clock, disks, node, cluster, zeus, medusa, liveNodes, log } = this.#options
    const takenAt = Math.round(clock.wallTime())
    const own = await ArrivingBackup.begin(disks, takenAt)
    const others = new Set(
      [...liveNodes()]
        .filter((name) => name !== node)
        .sort()
        .slice(0, placesMax - 1),
    )
    const places: string[] = []
    let piece: Buffer[] = []
    let bytes = 0
    const send = async (last: boolean): Promise<void> => {
      const head: PieceHead = { takenAt, at: own.bytes, last }
      await Promise.all(
        [...others].map(async (name) => {
          try {
            const place = await this.#send(name, head, piece)
            if (last) places.push(`${name}:${place}`)
          } catch (error) {
            if (!(error instanceof NdfsError)) throw error
            log.warn(`the backup of the metadata is not kept on ${name}`, { reason: messageOf(error) })
            others.delete(name)
          }
        }),
      )
      await own.add(piece)
      piece = []
      bytes = 0
    }
    try {
      let entries = 0
      const add = async (entry: BackupEntry): Promise<void> => {
        const encoded = encodeEntry(entry)
        piece.push(...encoded)
        for (const part of encoded) bytes += part.length
        if (entry.kind !== 'end') entries++
        if (bytes >= pieceBytes) await send(false)
      }
      await add({ kind: 'begin', version: fileVersion, cluster, takenAt })
      for await (const entry of entriesOf(zeus, medusa)) await add(entry)
      piece.push(...encodeEntry({ kind: 'end', entries }))
      await send(true)
      places.unshift(`${node}:${await own.end()}`)
    } catch (error) {
      await own.giveUp()
      throw error
    }
    this.#remember(takenAt)
    log.info('the metadata was backed up', { bytes: own.bytes, places })
    return { takenAt, bytes: own.bytes, places }
  }

  async #send(to: NodeId, head: PieceHead, piece: readonly Buffer[]): Promise<string> {
    const control = encodeControl(head)
    const length = Buffer.alloc(4)
    length.writeUInt32LE(control.length)
    const answer = await this.#options.peers.call(to, 'backup.piece', [length, control, ...piece], {
      timeoutMs: sendTimeoutMs,
    })
    return decodeControl<{ place: string }>(answer).place
  }

  async #takeIn(body: Buffer): Promise<{ place: string }> {
    const headEnd = 4 + body.readUInt32LE()
    const { takenAt, at, last } = decodeControl<PieceHead>(body.subarray(4, headEnd))
    if (at === 0) {
      await this.#arriving?.backup.giveUp()
      this.#arriving = undefined
      this.#arriving = { takenAt, backup: await ArrivingBackup.begin(this.#options.disks, takenAt) }
    }
    const arriving = this.#arriving
    if (arriving?.takenAt !== takenAt || arriving.backup.bytes !== at)
      throw new NdfsError('CONFLICT', 'Cannot go on with a backup: another one has begun here', {
        takenAt,
        at,
      })
    await arriving.backup.add([body.subarray(headEnd)])
    if (!last) return { place: '' }
    this.#arriving = undefined
    const place = await arriving.backup.end()
    this.#remember(takenAt)
    return { place }
  }
}

/** Counts changes of what a backup holds. */
export function countingChanges(medusa: Medusa): { readonly medusa: Medusa; readonly changes: () => number } {
  let changes = 0
  const counted: Medusa = {
    get: (partition, rowKeys) => medusa.get(partition, rowKeys),
    scan: (partition, options) => medusa.scan(partition, options),
    getOfMany: (table, keys, rowKey) => medusa.getOfMany(table, keys, rowKey),
    change: (partition, change) => {
      if (['vdisk', 'inode', 'directory'].includes(partition.table)) changes++
      return medusa.change(partition, change)
    },
    close: () => medusa.close(),
  }
  return { medusa: counted, changes: () => changes }
}
