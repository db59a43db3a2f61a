/**
 * What this node answers to the HTTP API: its own matters at once, the cluster's from Zeus and Medusa, other nodes' by asking
 * them. Any node can answer for all (R9).
 */
import { decodeControl, encodeControl } from './base/control.ts'
import { hasCode, messageOf, NdfsError } from './base/errors.ts'
import { otherFormat, servesFormat } from './base/formats.ts'
import type { NodeId, VDiskId } from './base/ids.ts'
import { Networks } from './base/networks.ts'
import { formatSize } from './base/units.ts'
import {
  type CertificateEnds,
  certificateProblems,
  certificateSamples,
  certificatesOf,
} from './certificate-status.ts'
import { survivalOfCluster, survivalSamples } from './cluster-survival.ts'
import type { ClusterChecks } from './cluster-check.ts'
import type { ClusterSurvey } from './cluster-survey.ts'
import type { ClusterView } from './cluster-view.ts'
import { finishUpgrade, planOfFinish, readFormat, upgradeState } from './cluster-format.ts'
import type { WatchedDisk } from './disk/disk.ts'
import type { MissingDisk } from './disk/open-disks.ts'
import type { LeavingDisks } from './leaving-disks.ts'
import { leavingStatus } from './leaving-status.ts'
import { type CassandraInfo, cassandraInfoOf } from './management/cassandra.ts'
import type { CheckInfo, NewCheck } from './management/check.ts'
import { clockProblems, type ClockTold } from './management/clocks.ts'
import type {
  ClusterStatus,
  ContainerChange,
  ContainerInfo,
  DiskChange,
  DiskInfo,
  ExportChange,
  Health,
  ManagementTarget,
  NewContainer,
  NewVDisk,
  NodeChange,
  NodeInfo,
  Sample,
  UpgradeInfo,
  VDiskChange,
  VDiskInfo,
  VDiskName,
} from './management/management.ts'
import { repairProblems, repairStatus, type RepairTold } from './management/repair-status.ts'
import {
  type ScrubChange,
  type ScrubInfo,
  scrubInfoOf,
  type ScrubNode,
  scrubProblems,
} from './management/scrub.ts'
import type { MetadataBackupInfo } from './management/backup.ts'
import type { MetadataBackups } from './metadata-backup.ts'
import type { NodeScrub } from './node-scrub.ts'
import { OrderlyChange } from './orderly-change.ts'
import type { Stores } from './open-stores.ts'
import type { Peers } from './peer/peer.ts'
import { Removal } from './removal.ts'
import type { Platform } from './platform/platform.ts'
import type { AdmissionControl } from './stargate/admission-control/admission-control.ts'
import type { ExtentCache } from './stargate/extent-cache/extent-cache.ts'
import type { Candidate, ExtentStore } from './stargate/extent-store/extent-store.ts'
import type { NbdServer } from './stargate/front-end-adapter/nbd/nbd.ts'
import {
  defaultExportRules,
  differencesOf,
  Export,
  rulesOf,
} from './stargate/front-end-adapter/nfs/export-rules.ts'
import type { NfsServer } from './stargate/front-end-adapter/nfs/nfs.ts'
import { createNamedVDisk, deleteName } from './named-vdisks.ts'
import { isNameOfFileVDisk, type NodeShares } from './node-shares.ts'
import { encodeAsk } from './stargate/front-end-adapter/forwarding.ts'
import type { InodeId } from './stargate/namespace/namespace.ts'
import type { VDiskRouter } from './stargate/front-end-adapter/vdisk-router.ts'
import type { OplogReplica } from './stargate/oplog/oplog.ts'
import type { HostedDescription, RepairList } from './stargate/vdisk-controller/vdisk-controller.ts'
import type { VDiskHost } from './stargate/vdisk-controller/vdisk-host.ts'
import {
  type ContainerValue,
  type ExportValue,
  fileScrubKey,
  type NodeValue,
  type Owner,
  type SettingValue,
  type VDiskNameValue,
  type Versioned,
  type Zeus,
} from './zeus/zeus.ts'

export interface NodeManagementOptions {
  readonly platform: Platform
  readonly clusterId: string
  readonly node: NodeId
  readonly version: string
  readonly view: ClusterView
  readonly leaving: LeavingDisks
  readonly zeus: Zeus
  readonly metadata: Omit<Stores, 'zeus' | 'medusa'>
  readonly peers: Peers
  readonly controller: VDiskHost
  readonly router: VDiskRouter
  readonly extents: ExtentStore
  readonly cache: ExtentCache
  readonly admission: AdmissionControl
  readonly replicas: readonly OplogReplica[]
  readonly disks: readonly WatchedDisk[]
  readonly missing: readonly MissingDisk[]
  readonly nbd: NbdServer
  readonly shares: Pick<NodeShares, 'hasFiles' | 'clear'>
  readonly nfs: NfsServer
  /** Asks the other nodes what room their disks have. */
  readonly refreshSpaces: () => Promise<void>
  readonly survey: ClusterSurvey
  readonly checks: ClusterChecks
  readonly scrub: NodeScrub
  readonly backups: Pick<MetadataBackups, 'take' | 'newestAt'>
  /** vDisks that nobody owns, which this node has yet to look through for copies that are gone. */
  readonly vDisksToLookAt: () => number
  readonly certificates: () => CertificateEnds
}

/** What a node tells another of itself. */
interface NodeAnswer {
  readonly cache: { readonly limitBytes: number; readonly usedBytes: number }
  readonly vdisks: number
  readonly undrainedBytes: number
  /** Milliseconds since 1970, by its clock; absent where it runs an NDFS that does not tell. */
  readonly wallTime?: number
  readonly repair: RepairTold
  readonly scrub?: Omit<ScrubNode, 'node'>
  readonly certificates: CertificateEnds
  /** When the newest backup of the metadata on its disks was taken. */
  readonly backupAt?: number
  readonly disks: readonly {
    readonly id: string
    readonly usedBytes: number
    readonly state: 'online' | 'slow' | 'failed' | 'missing'
    readonly reason?: string
  }[]
}

/** A node as Zeus has it, and what it tells of itself where it answers. */
interface KnownNode {
  readonly info: NodeInfo
  readonly value: NodeValue
  readonly setting: SettingValue | undefined
  readonly answer: NodeAnswer | undefined
  /** It is no peer of the node that asked, or that is none of its peers. */
  readonly refusal: string | undefined
  readonly clock: ClockTold | undefined
}

/** A node that doesn't answer by then is shown without what only it knows. */
const askTimeoutMs = 2000

/** Looks at a container that is being deleted and doesn't get empty, as its rows are damaged. */
const clearLooksMax = 3

/** In maintenance, where nothing else is asked for: an hour. */
const repairWaitsSecondsUsual = 3600

const nameOf = ({ container, name }: VDiskName): string => `${container}/${name}`

export class NodeManagement implements ManagementTarget {
  readonly #options: NodeManagementOptions
  readonly #survey: ClusterSurvey
  readonly #orderly: OrderlyChange
  readonly #removal: Removal

  constructor(options: NodeManagementOptions) {
    this.#options = options
    const { platform, zeus, peers, router, survey } = options
    this.#survey = survey
    // As they are now: who has placed nothing yet has not asked.
    const candidates = async (): Promise<readonly Candidate[]> => {
      await options.refreshSpaces()
      return options.extents.candidates()
    }
    this.#orderly = new OrderlyChange({ clock: platform.clock, zeus, survey, candidates })
    this.#removal = new Removal({ clock: platform.clock, zeus, orderly: this.#orderly })
    peers.handle('management.node', 'terminal', () => [encodeControl(this.#answer())])
    peers.handle('management.opens', 'terminal', (request) => [
      encodeControl(router.opens(decodeControl<{ vdisk: VDiskId }>(request.body).vdisk)),
    ])
  }

  /** Takes up what operators have set for this node, as far as it has heard. */
  applySettings(): void {
    const { view, node, cache } = this.#options
    const cacheBytes = view.settings.get(node)?.cacheBytes
    if (cacheBytes !== undefined) cache.limitBytes = cacheBytes
  }

  async health(): Promise<Health> {
    return { node: this.#options.node, serving: true }
  }

  // --- containers ------------------------------------------------------------------------------------------------

  async listContainers(): Promise<readonly ContainerInfo[]> {
    const [containers, vdisks] = await Promise.all([this.#options.zeus.list('container/'), this.listVDisks()])
    return containers.map(({ key, value }) =>
      containerInfo(key.slice('container/'.length), value as ContainerValue, vdisks),
    )
  }

  async showContainer(name: string): Promise<ContainerInfo> {
    const value = await this.#container(name)
    return containerInfo(name, value, await this.listVDisks())
  }

  async createContainer({ name, copies, nfs, nbd }: NewContainer): Promise<ContainerInfo> {
    const { zeus, platform } = this.#options
    const value: ContainerValue = {
      copies: copies ?? 2,
      createdAt: Math.round(platform.clock.wallTime()),
      ...exportPart({}, nfs),
      ...nbdPart(nbd),
    }
    // Asked now: what is watched may be behind just after a start.
    const { length: nodes } = await zeus.list('node/')
    if (value.copies > nodes)
      throw new NdfsError(
        'REFUSED',
        `Cannot create ${name} with ${value.copies} copies: they lie on distinct nodes, and the cluster has ${nodes}`,
        { copies: value.copies, nodes },
      )
    await zeus.set(`container/${name}`, value, 0).catch((error: unknown) => {
      if (hasCode(error, 'CONFLICT'))
        throw new NdfsError('ALREADY_EXISTS', `There is a container ${name} already`, { name })
      throw error
    })
    return containerInfo(name, value, [])
  }

  /** What is not named stays as somebody else sets it at the same time. */
  async changeContainer(name: string, change: ContainerChange): Promise<ContainerInfo> {
    for (;;) {
      const { key, value, version } = await this.#containerKey(name)
      const { nfs, nbd, ...rest } = value as ContainerValue
      const changed = { ...rest, ...exportPart(nfs, change.nfs), ...nbdPart(change.nbd ?? nbd) }
      try {
        await this.#options.zeus.set(key, changed, version)
        return await this.showContainer(name)
      } catch (error) {
        if (!hasCode(error, 'CONFLICT')) throw error
      }
    }
  }

  async deleteContainer(name: string, { force: asked }: { readonly force: boolean }): Promise<void> {
    const { zeus } = this.#options
    const container = await this.#containerKey(name)
    // What was begun is ended.
    const force = asked || (container.value as ContainerValue).deleting === true
    const vdisks = await zeus.list(`vdisk/${name}/`)
    if ((await this.#containerKey(name)).version !== container.version)
      throw new NdfsError(
        'CONFLICT',
        `Cannot delete ${name}: it was deleted and created again meanwhile. Ask again if it is to go`,
        { name },
      )
    if (vdisks.length > 0 && !force)
      throw new NdfsError(
        'IN_USE',
        `Cannot delete ${name}: it holds ${vdisks.length} vDisks. Delete them first, or use --force`,
        {
          vdisks: vdisks.length,
        },
      )
    if (!force && (await this.#options.shares.hasFiles(name)))
      throw new NdfsError(
        'IN_USE',
        `Cannot delete ${name}: it holds files. Mount it by NFS and delete them first, or use --force`,
        { name },
      )
    const version = force ? await this.#clearContainer(name, container) : container.version
    const { root } = container.value as ContainerValue
    if (root !== undefined) await zeus.delete(fileScrubKey(root))
    await zeus.delete(container.key, version).catch(async (error: unknown) => {
      if (!hasCode(error, 'CONFLICT')) throw error
      // Somebody else has deleted it; or it was changed, and is there still.
      if ((await zeus.get(container.key)) !== undefined)
        throw new NdfsError('CONFLICT', `Cannot delete ${name}: it was changed meanwhile. Ask again`, {
          name,
        })
    })
  }

  /**
   * Everything in it goes, for nobody finds it any more. Whoever is interrupted asks again, and goes on with what is left. Its version
   * in Zeus from then on.
   */
  async #clearContainer(name: string, { key, value, version: seen }: Versioned): Promise<number> {
    const { zeus, shares } = this.#options
    const container = value as ContainerValue
    const version = container.deleting ? seen : await zeus.set(key, { ...container, deleting: true }, seen)
    for (let looks = 1; ; looks++) {
      const vdisks = await zeus.list(`vdisk/${name}/`)
      // Read after them: those are of this container, and not of another that was made under its name since.
      if ((await zeus.get(key))?.version !== version) return version
      for (const vdisk of vdisks) await this.#deleteVDisk(vdisk, true)
      const isEmpty = container.root === undefined || (await shares.clear(name, container.root as InodeId))
      // Who had not heard yet that it goes may have made something in it.
      if (vdisks.length === 0 && (isEmpty || looks >= clearLooksMax)) return version
    }
  }

  // --- vDisks ----------------------------------------------------------------------------------------------------

  async listVDisks(): Promise<readonly VDiskInfo[]> {
    const names = await this.#options.zeus.list('vdisk/')
    return Promise.all(
      names.map(({ key, value }) => this.#vDiskInfo(key.slice('vdisk/'.length), value as VDiskNameValue)),
    )
  }

  async showVDisk(vdisk: VDiskName): Promise<VDiskInfo> {
    const info = await this.#vDiskInfo(nameOf(vdisk), await this.#named(vdisk))
    assertSizeKnown('show', info)
    return info
  }

  async createVDisk({ container, name, sizeBytes }: NewVDisk): Promise<VDiskInfo> {
    const { zeus, controller, platform } = this.#options
    const { copies, deleting } = await this.#container(container)
    const full = nameOf({ container, name })
    if (deleting)
      throw new NdfsError('REFUSED', `Cannot create ${full}: ${container} is being deleted`, { container })
    if (isNameOfFileVDisk(name))
      throw new NdfsError(
        'REFUSED',
        `Cannot create ${full}: such names are those of vDisks that hold files. Choose another`,
        { name: full },
      )
    const exists = (): NdfsError =>
      new NdfsError('ALREADY_EXISTS', `There is a vDisk ${full} already`, { name: full })
    if ((await zeus.get(`vdisk/${full}`)) !== undefined) throw exists()
    const parts = { zeus, controller, clock: platform.clock }
    const value = await createNamedVDisk(parts, () => full, sizeBytes, copies).catch((error: unknown) => {
      throw hasCode(error, 'CONFLICT') ? exists() : error
    })
    return this.#vDiskInfo(full, value)
  }

  async changeVDisk(vdisk: VDiskName, { sizeBytes, force }: VDiskChange): Promise<VDiskInfo> {
    const value = await this.#named(vdisk)
    const before = await this.#vDiskInfo(nameOf(vdisk), value)
    if (force !== true) {
      assertSizeKnown('resize', before)
      if (sizeBytes < before.sizeBytes)
        throw new NdfsError(
          'REFUSED',
          `Cannot make ${before.name} smaller, from ${formatSize(before.sizeBytes)} to ${formatSize(sizeBytes)}, without --force: what is cut off is lost`,
          { sizeBytes: before.sizeBytes },
        )
    }
    await this.#options.router.resize(value.id, sizeBytes)
    // It was done, also where the owner can't be asked again.
    return { sizeBytes, ...(await this.#vDiskInfo(nameOf(vdisk), value)) }
  }

  async deleteVDisk(vdisk: VDiskName, { force }: { readonly force: boolean }): Promise<void> {
    if (isNameOfFileVDisk(vdisk.name) && !force)
      throw new NdfsError(
        'IN_USE',
        `Cannot delete ${nameOf(vdisk)}: it holds a file. Mount the container by NFS and delete that, or use --force`,
        { name: nameOf(vdisk) },
      )
    await this.#deleteVDisk(await this.#nameKey(vdisk), force)
  }

  async #deleteVDisk(name: Versioned, force: boolean): Promise<void> {
    const { id } = name.value as VDiskNameValue
    const opens = force ? 0 : await this.#opens(id)
    if (opens > 0)
      throw new NdfsError(
        'IN_USE',
        `Cannot delete ${name.key.slice('vdisk/'.length)}: ${opens} clients have it open. Disconnect them, or use --force`,
        {
          opens,
        },
      )
    // The vDisk first: a name that is left points to what says that it was deleted, and deleting it again ends it.
    await this.#options.router.delete(id)
    await deleteName(this.#options.zeus, name)
  }

  // --- nodes and disks -------------------------------------------------------------------------------------------

  async listNodes(): Promise<readonly NodeInfo[]> {
    return (await this.#nodes()).map(({ info }) => info)
  }

  async showNode(id: string): Promise<NodeInfo> {
    const info = (await this.listNodes()).find((node) => node.id === id)
    if (info === undefined) throw unknownNode(id)
    return info
  }

  async changeNode(
    id: string,
    { mode, force = false, repairWaitsSeconds = repairWaitsSecondsUsual, ...change }: NodeChange,
  ): Promise<NodeInfo> {
    if ((await this.#options.zeus.get(`node/${id}`)) === undefined) throw unknownNode(id)
    if (mode === 'draining') await this.#orderly.drainNode(id as NodeId, { force })
    if (mode === 'maintenance') await this.#orderly.maintainNode(id as NodeId, repairWaitsSeconds * 1000)
    if (mode === 'active') await this.#orderly.activateNode(id as NodeId)
    if (Object.keys(change).length > 0) await this.#changeSetting(id, change)
    return this.showNode(id)
  }

  /** What is not named stays as somebody else sets it at the same time. */
  async #changeSetting(id: string, change: Pick<SettingValue, 'cacheBytes' | 'block'>): Promise<void> {
    const { zeus } = this.#options
    for (;;) {
      const before = await zeus.get(`setting/${id}`)
      const setting: SettingValue = { ...(before?.value as SettingValue | undefined), ...change }
      try {
        await zeus.set(`setting/${id}`, setting, before?.version ?? 0)
        return
      } catch (error) {
        if (!hasCode(error, 'CONFLICT')) throw error
      }
    }
  }

  removeNode(id: string): Promise<void> {
    return this.#removal.removeNode(id as NodeId)
  }

  removeDisk(id: string): Promise<void> {
    return this.#removal.removeDisk(id)
  }

  async listDisks(): Promise<readonly DiskInfo[]> {
    return this.#disksOf(await this.#nodes())
  }

  async changeDisk(id: string, { mode, force = false }: DiskChange): Promise<DiskInfo> {
    if (mode === 'draining') await this.#orderly.drainDisk(id, { force })
    else await this.#orderly.activateDisk(id)
    const disk = (await this.listDisks()).find((one) => one.id === id)
    if (disk === undefined) throw new NdfsError('NOT_FOUND', `There is no disk ${id} any more`, { disk: id })
    return { ...disk, mode }
  }

  // --- checks ----------------------------------------------------------------------------------------------------

  beginCheck(check: NewCheck): Promise<CheckInfo> {
    return this.#options.checks.begin(check)
  }

  async showCheck(id: string): Promise<CheckInfo> {
    return this.#options.checks.show(id)
  }

  async stopCheck(id: string): Promise<void> {
    this.#options.checks.stop(id)
  }

  // --- scrub -----------------------------------------------------------------------------------------------------

  async showScrub(): Promise<ScrubInfo> {
    return this.#scrubInfo(await this.#nodes())
  }

  async changeScrub({ everySeconds }: ScrubChange): Promise<ScrubInfo> {
    await this.#options.scrub.setPeriod(everySeconds * 1000)
    return this.showScrub()
  }

  #scrubInfo(nodes: readonly { info: NodeInfo; answer: NodeAnswer | undefined }[]): ScrubInfo {
    return scrubInfoOf(
      Math.round(this.#options.scrub.periodMs / 1000),
      nodes.flatMap(({ info, answer }) =>
        answer?.scrub === undefined ? [] : [{ node: info.id, ...answer.scrub }],
      ),
    )
  }

  async backUpMetadata(): Promise<MetadataBackupInfo> {
    const { takenAt, bytes, places } = await this.#options.backups.take()
    return { takenAt, bytes, places: [...places] }
  }

  // --- upgrade ---------------------------------------------------------------------------------------------------

  async showUpgrade(): Promise<UpgradeInfo> {
    const { view, zeus } = this.#options
    const state = await upgradeState(zeus)
    const plan = planOfFinish(state)
    return {
      format: state.format,
      nodes: state.members.map(({ node, ...told }) => ({
        node,
        state: view.sessions.has(node as NodeId) ? 'up' : 'down',
        ...told,
      })),
      finish: 'to' in plan ? plan : { refusal: plan.refusal, nodes: [...plan.nodes] },
    }
  }

  async finishUpgrade(): Promise<UpgradeInfo> {
    const { backups, platform, zeus } = this.#options
    const format = await finishUpgrade(zeus)
    platform.log.info('the upgrade is finished', { format })
    // Metadata that is rebuilt from a backup of before would have a format that was left.
    await backups.take().catch((error: unknown) => {
      if (!(error instanceof NdfsError)) throw error
      platform.log.warn('no backup of the metadata could be taken', { reason: error.message })
    })
    return this.showUpgrade()
  }

  // --- what the metadata is in -----------------------------------------------------------------------------------

  async showCassandra(): Promise<CassandraInfo> {
    const {
      metadata: { gossip, repairs },
      node,
    } = this.#options
    if (gossip === undefined || repairs === undefined)
      throw new NdfsError(
        'NOT_FOUND',
        'There is no Cassandra to show: the metadata of this cluster is in a store of its own. `ndfs status` shows how it stands',
        {},
      )
    const [heard, repaired] = await Promise.all([gossip.now(), repairs.soon()])
    return cassandraInfoOf(node, heard, repaired)
  }

  // --- how things stand ------------------------------------------------------------------------------------------

  async status(): Promise<ClusterStatus> {
    const { clusterId, version, node, metadata } = this.#options
    const [nodes, { format }, containers, vdisks, survival, heard, repaired] = await Promise.all([
      this.#nodes(),
      readFormat(this.#options.zeus),
      this.#options.zeus.list('container/'),
      this.listVDisks(),
      survivalOfCluster(this.#survey, this.#options.zeus, metadata),
      metadata.gossip?.soon(),
      metadata.repairs?.soon(),
    ])
    const cassandra = heard && repaired && cassandraInfoOf(node, heard, repaired)
    const disks = this.#disksOf(nodes)
    const capacity = (tier: DiskInfo['tier']) => {
      const those = disks.filter((disk) => disk.tier === tier)
      return {
        capacityBytes: those.reduce((sum, disk) => sum + disk.capacityBytes, 0),
        usedBytes: those.reduce((sum, disk) => sum + (disk.usedBytes ?? 0), 0),
      }
    }
    const offline = vdisks.filter((vdisk) => vdisk.state === 'offline')
    const told = nodes.flatMap(({ answer }) => answer?.repair ?? [])
    const repair = repairStatus(told)
    const leaving = await leavingStatus(this.#orderly, this.#options.view, told)
    const unreachable = repair?.endangered.some(({ left }) => left === 0) === true
    const { nodes: _, ...scrub } = this.#scrubInfo(nodes)
    const problems = [
      ...nodes.flatMap(({ info }) => (info.state === 'down' ? [downSentence(info, format)] : [])),
      ...nodes.flatMap(({ info, answer, refusal }) =>
        info.state === 'up' && answer === undefined
          ? [refusal ?? `${info.id} lives, and does not answer ${this.#options.node}`]
          : [],
      ),
      ...disks.flatMap((disk) =>
        disk.state === 'online' || disk.state === 'unreachable' || disk.mode === 'removed'
          ? []
          : [troubleOf(disk)],
      ),
      ...nodes.flatMap(unknownDiskSentences),
      ...repairProblems(repair),
      ...scrubProblems(scrub),
      ...(cassandra?.problems ?? []),
      ...vdisks.flatMap((vdisk) => (vdisk.reason === undefined ? [] : [`${vdisk.name}: ${vdisk.reason}`])),
      ...survival.unknown.map(({ vdisk, reason }) => `${vdisk}: what it survives is not known: ${reason}`),
    ]
    // Nothing that is stored is in danger by it.
    const portMapperProblems = nodes.flatMap(({ info }) =>
      info.state === 'up' && info.portMapper?.reason !== undefined ? [portMapperSentence(info)] : [],
    )
    const clocks = clockProblems(nodes.flatMap(({ clock }) => clock ?? []))
    const backupAt = Math.max(0, ...nodes.map(({ answer }) => answer?.backupAt ?? 0))
    const isCritical = offline.length > 0 || unreachable || survival.level === 'unreadable'
    const isDegraded = problems.length > 0 || survival.shortBytes > 0
    return {
      cluster: clusterId,
      version,
      format,
      health: isCritical ? 'critical' : isDegraded ? 'degraded' : 'ok',
      survival,
      problems: [
        ...problems,
        ...portMapperProblems,
        ...clocks,
        ...(cassandra?.disagreements ?? []).map(disagreementSentence),
        ...certificateProblems(
          nodes.map(({ info }) => info),
          this.#options.platform.clock.wallTime(),
        ),
      ],
      nodes: nodes.map(({ info }) => info),
      capacity: { flash: capacity('flash'), hdd: capacity('hdd') },
      containers: containers.length,
      vdisks: { total: vdisks.length, offline: offline.length },
      undrainedBytes: vdisks.reduce((sum, vdisk) => sum + (vdisk.undrainedBytes ?? 0), 0),
      ...(repair === undefined ? {} : { repair }),
      ...(leaving === undefined ? {} : { leaving }),
      scrub,
      ...(backupAt > 0 ? { metadataBackupAt: backupAt } : {}),
    }
  }

  // --- numbers ---------------------------------------------------------------------------------------------------

  async statistics(): Promise<readonly Sample[]> {
    const { cache, controller, extents, replicas, nbd, nfs, admission, disks, leaving, node } = this.#options
    const mode = leaving.modeOf(node)
    const samples: Sample[] = []
    const add = (
      kind: Sample['kind'],
      name: string,
      help: string,
      value: number,
      labels?: Sample['labels'],
    ): void => {
      samples.push({ name, help, kind, value, ...(labels === undefined ? {} : { labels }) })
    }
    const cached = cache.statistics()
    add('gauge', 'extent_cache_limit_bytes', 'What the extent cache may take.', cached.limitBytes)
    add('gauge', 'extent_cache_used_bytes', 'What the extent cache holds.', cached.usedBytes)
    add('gauge', 'extent_cache_lent_bytes', 'What of it is on its way to clients.', cached.lentBytes)
    add('counter', 'extent_cache_hits_total', 'Pages that reads found in the extent cache.', cached.hits)
    add(
      'counter',
      'extent_cache_misses_total',
      'Pages that reads did not find in the extent cache.',
      cached.misses,
    )
    const hosted = controller.statistics()
    add('gauge', 'vdisks_hosted', 'vDisks that this node owns.', hosted.hosted)
    add(
      'gauge',
      'undrained_bytes',
      'Bytes that only logs hold, of vDisks that this node owns.',
      hosted.undrainedBytes,
    )
    add('counter', 'drains_total', 'Prefixes of logs that were drained.', hosted.drains)
    add('counter', 'drained_bytes_total', 'Bytes of log records that were drained.', hosted.drainedBytes)
    add('counter', 'compacted_bytes_total', 'Live bytes that compaction copied.', hosted.compactedBytes)
    add('counter', 'takeovers_total', 'vDisks that this node claimed and served.', hosted.takeovers)
    add('counter', 'writes_total', 'Writes by where they went first.', hosted.logWrites, { home: 'oplog' })
    add('counter', 'writes_total', 'Writes by where they went first.', hosted.streamWrites, {
      home: 'extent-store',
    })
    add(
      'counter',
      'extent_groups_freed_total',
      'Extent groups to which nothing pointed any more.',
      hosted.groupsFreed,
    )
    add(
      'counter',
      'extent_copies_repaired_total',
      'Bad copies of extent groups that were made good.',
      hosted.copiesRepaired,
    )
    add(
      'counter',
      'extent_copies_replaced_total',
      'Copies of extent groups that were gone and have been made anew.',
      hosted.copiesReplaced,
    )
    add(
      'counter',
      'repaired_bytes_total',
      'Bytes of copies made anew, of bad ones and of gone ones.',
      hosted.repairedBytes,
    )
    add(
      'counter',
      'extent_copies_moved_total',
      'Copies of extent groups that were moved off disks which are being left.',
      hosted.copiesMoved,
    )
    add('counter', 'moved_bytes_total', 'Bytes of copies moved.', hosted.movedBytes)
    add('gauge', 'draining', '1 while the node is being drained.', mode === 'draining' ? 1 : 0)
    add('gauge', 'in_maintenance', '1 while the node is in maintenance.', mode === 'maintenance' ? 1 : 0)
    const moving = hosted.repairs.flatMap((list) => list.moving ?? [])
    const sumOf = (of: 'groups' | 'bytes'): number => moving.reduce((sum, one) => sum + one[of], 0)
    add(
      'gauge',
      'extent_groups_to_move',
      'Full extent groups with copies that are to be elsewhere.',
      sumOf('groups'),
    )
    add('gauge', 'move_bytes_left', 'Of those copies, about.', sumOf('bytes'))
    add(
      'gauge',
      'repair_bytes_per_second',
      'Of copies made in the last seconds.',
      hosted.repairBytesPerSecond,
    )
    for (const [left, { groups, bytes }] of byCopiesLeft(hosted.repairs)) {
      const labels = { copies_left: String(left) }
      add('gauge', 'extent_groups_to_repair', 'Extent groups that lack copies.', groups, labels)
      add('gauge', 'repair_bytes_left', 'Of the copies that they lack, about.', bytes, labels)
    }
    const extent = extents.statistics()
    add('counter', 'extent_pages_read_total', 'Pages read from extent groups.', extent.pagesRead)
    add(
      'counter',
      'extent_pages_read_from_peers_total',
      'Of them, from other nodes.',
      extent.pagesReadFromPeers,
    )
    add(
      'counter',
      'extent_pages_written_total',
      'Pages written to extent groups, each copy counted.',
      extent.pagesWritten,
    )
    add(
      'counter',
      'extent_bad_pages_total',
      'Pages whose bytes did not match their checksum, or could not be read.',
      extent.badPages,
    )
    for (const replica of replicas) {
      const labels = { disk: replica.ref.disk }
      const log = replica.statistics()
      add('gauge', 'oplog_capacity_bytes', 'Space of the log on the disk.', log.capacityBytes, labels)
      add('gauge', 'oplog_used_bytes', 'Of it, in segments that hold records.', log.usedBytes, labels)
      add('counter', 'oplog_syncs_total', 'Writes of the log that were made durable.', log.syncs, labels)
      add('counter', 'oplog_written_bytes_total', 'Bytes written to the log.', log.bytesWritten, labels)
    }
    for (const disk of disks) {
      const labels = { disk: disk.ref.disk, tier: disk.tier }
      const space = disk.space()
      add('gauge', 'disk_capacity_bytes', 'What NDFS may use of the disk.', space.capacityBytes, labels)
      add('gauge', 'disk_used_bytes', 'What its files were given.', space.usedBytes, labels)
      add('gauge', 'disk_online', '1 while the disk is in service.', disk.state === 'online' ? 1 : 0, labels)
      add(
        'gauge',
        'disk_slow',
        '1 while it is out of service for being slow.',
        disk.state === 'slow' ? 1 : 0,
        labels,
      )
      const { medianMs } = disk.latency
      if (medianMs !== undefined)
        add(
          'gauge',
          'disk_latency_median_seconds',
          'Of operations in the last half minute.',
          medianMs / 1000,
          labels,
        )
    }
    for (const [work, { outstanding, waiting, admitted }] of Object.entries(admission.statistics())) {
      add('gauge', 'admission_outstanding', 'Requests under way.', outstanding, { class: work })
      add('gauge', 'admission_waiting', 'Requests that wait for their turn.', waiting, { class: work })
      add('counter', 'admission_admitted_total', 'Requests that were let in.', admitted, { class: work })
    }
    const front = nbd.statistics()
    add('gauge', 'nbd_connections', 'NBD clients that are connected.', front.connections)
    add('counter', 'nbd_requests_total', 'NBD requests by kind.', front.reads, { kind: 'read' })
    add('counter', 'nbd_requests_total', 'NBD requests by kind.', front.writes, { kind: 'write' })
    add('counter', 'nbd_read_bytes_total', 'Bytes that NBD clients read.', front.readBytes)
    add('counter', 'nbd_written_bytes_total', 'Bytes that NBD clients wrote.', front.writtenBytes)
    add('counter', 'nbd_errors_total', 'NBD requests that were answered with an error.', front.errors)
    const files = nfs.statistics()
    add('gauge', 'nfs_connections', 'NFS clients that are connected.', files.connections)
    add('gauge', 'nfs_lock_waiters', 'Clients that wait for locks of files at this node.', files.lockWaiters)
    add(
      'counter',
      'nfs_repeated_calls_total',
      'Calls that came again and were answered as before.',
      files.repeated,
    )
    add(
      'counter',
      'nfs_refused_calls_total',
      'Calls that RPC refused, or that had no answer.',
      files.refused + files.failed,
    )
    add('counter', 'nfs_received_bytes_total', 'Bytes of calls.', files.receivedBytes)
    add('counter', 'nfs_sent_bytes_total', 'Bytes of answers.', files.sentBytes)
    for (const [procedure, count] of Object.entries(files.callsByProcedure))
      if (count > 0) add('counter', 'nfs_calls_total', 'Calls by procedure.', count, { procedure })
    return [
      ...samples,
      ...this.#options.scrub.samples(),
      ...certificateSamples(this.#options.certificates()),
      ...(await survivalSamples(
        this.#survey,
        this.#options.view,
        this.#options.zeus,
        this.#options.metadata,
      )),
    ]
  }

  // ---------------------------------------------------------------------------------------------------------------

  #answer(): NodeAnswer {
    const { backups, cache, controller, disks, missing, scrub, vDisksToLookAt, platform } = this.#options
    const scrubbed = scrub.describe()
    const { limitBytes, usedBytes } = cache.statistics()
    const { hosted, undrainedBytes, repairs, repairBytesPerSecond } = controller.statistics()
    return {
      wallTime: platform.clock.wallTime(),
      repair: { lists: repairs, bytesPerSecond: repairBytesPerSecond, toLookAt: vDisksToLookAt() },
      cache: { limitBytes, usedBytes },
      vdisks: hosted,
      undrainedBytes,
      ...(scrubbed === undefined ? {} : { scrub: scrubbed }),
      certificates: this.#options.certificates(),
      ...(backups.newestAt === undefined ? {} : { backupAt: backups.newestAt }),
      disks: [
        ...disks.map((disk) => ({
          id: disk.ref.disk,
          usedBytes: disk.space().usedBytes,
          state: disk.state,
          ...(disk.reason === undefined ? {} : { reason: disk.reason }),
        })),
        ...missing.map(({ id, reason }) => ({ id, usedBytes: 0, state: 'missing' as const, reason })),
      ],
    }
  }

  async #nodes(): Promise<KnownNode[]> {
    const { view, zeus, platform } = this.#options
    const [nodes, settings, { nodes: releases }] = await Promise.all([
      zeus.list('node/'),
      zeus.list('setting/'),
      readFormat(zeus),
    ])
    return Promise.all(
      nodes.map(async ({ key, value: shown }) => {
        const id = key.slice('node/'.length) as NodeId
        const setting = settings.find((one) => one.key === `setting/${id}`)?.value as SettingValue | undefined
        const value = shown as NodeValue
        const session = view.sessions.get(id)
        const { clock } = platform
        const [askedAt, askedAtWall] = [clock.now(), clock.wallTime()]
        const { answer, refusal } = session === undefined ? {} : await this.#ask(id)
        const release = releases[id]
        const tookMs = clock.now() - askedAt
        // It hears of what was set a moment later.
        const limitBytes = setting?.cacheBytes ?? answer?.cache.limitBytes
        const info: NodeInfo = {
          id,
          block: setting?.block ?? value.block,
          state: session === undefined ? 'down' : 'up',
          mode: setting?.mode ?? 'active',
          addresses: {
            ...{ http: value.http, peer: value.peer, nbd: value.nbd },
            ...(value.nfs === undefined ? {} : { nfs: value.nfs }),
          },
          ...(value.portMapper === undefined ? {} : { portMapper: value.portMapper }),
          ...(answer === undefined || limitBytes === undefined
            ? {}
            : { cache: { ...answer.cache, limitBytes } }),
          vdisks: answer?.vdisks ?? 0,
          ...certificatesOf(answer?.certificates ?? {}),
          ...(session === undefined ? {} : { startedAt: Math.round(session.startedAt) }),
          ...(release === undefined ? {} : { release }),
        }
        const told: ClockTold | undefined =
          answer?.wallTime === undefined
            ? undefined
            : { node: id, aheadMs: answer.wallTime - askedAtWall - tookMs / 2, withinMs: tookMs / 2 }
        return { info, value, setting, answer, refusal, clock: told }
      }),
    )
  }

  #disksOf(nodes: readonly KnownNode[]): DiskInfo[] {
    return nodes.flatMap(({ info, value, setting, answer }) =>
      value.disks.flatMap((disk) => {
        const told = answer?.disks.find((one) => one.id === disk.id)
        const own = setting?.disks?.find(
          ({ id, incarnation }) => id === disk.id && incarnation === disk.incarnation,
        )
        if (own?.mode === 'removed' && told?.state !== 'online') return []
        return [
          {
            id: disk.id,
            node: info.id,
            tier: disk.tier,
            capacityBytes: disk.capacityBytes,
            ...(told === undefined ? {} : { usedBytes: told.usedBytes }),
            state: told?.state ?? 'unreachable',
            mode: own?.mode ?? info.mode,
            ...(told?.reason === undefined ? {} : { reason: told.reason }),
          },
        ]
      }),
    )
  }

  async #ask(id: NodeId): Promise<Partial<Pick<KnownNode, 'answer' | 'refusal'>>> {
    try {
      const answer = await this.#options.peers.call(id, 'management.node', [], { timeoutMs: askTimeoutMs })
      return { answer: decodeControl<NodeAnswer>(answer) }
    } catch (error) {
      if (!hasCode(error, 'PEER_UNREACHABLE', 'TIMED_OUT', 'UNAVAILABLE')) throw error
      return error.facts.refused === true ? { refusal: error.message } : {}
    }
  }

  async #opens(vdisk: VDiskId): Promise<number> {
    const { view, peers } = this.#options
    const counts = await Promise.all(
      view.liveNodes().map(async (node) => {
        try {
          return decodeControl<number>(
            await peers.call(node, 'management.opens', [encodeControl({ vdisk })], {
              timeoutMs: askTimeoutMs,
            }),
          )
        } catch {
          return 0 // it does not answer: nor does it serve
        }
      }),
    )
    return counts.reduce((sum, count) => sum + count, 0)
  }

  async #vDiskInfo(name: string, { id, createdAt }: VDiskNameValue): Promise<VDiskInfo> {
    const { zeus, controller } = this.#options
    const owner = await zeus.owner(id)
    const described = owner === undefined ? undefined : await this.#describe(id, owner)
    if (described !== undefined && owner !== undefined)
      return {
        name,
        id,
        sizeBytes: described.sizeBytes,
        copies: described.copies as 1 | 2 | 3,
        createdAt,
        owner: owner.node,
        epoch: owner.epoch,
        episodes: described.sealedEpisodes + (described.episode === undefined ? 0 : 1),
        undrainedBytes: described.undrainedBytes,
        state: 'serving',
        ...(described.waitsFor === undefined ? {} : { reason: `it waits: ${described.waitsFor}` }),
      }
    const row = await controller.peek(id)
    if (row === undefined)
      throw new NdfsError('DAMAGED_METADATA', `Cannot show ${name}: vDisk ${id} has no row`, { vdisk: id })
    const { state, newest } = row
    return {
      name,
      id,
      // A resize that was told done may be in the log alone.
      ...(newest ? { sizeBytes: state.sizeBytes } : {}),
      copies: state.copies,
      createdAt,
      epoch: owner?.epoch ?? 0,
      episodes: state.episodes.length,
      state: 'unowned',
      ...(newest ? {} : { reason: `its size is in its log, and ${ownerNow(owner)}` }),
    }
  }

  async #describe(vdisk: VDiskId, owner: Owner): Promise<HostedDescription | undefined> {
    const { node, controller, peers, view } = this.#options
    if (owner.released === true || !view.lives(owner.node, owner.incarnation)) return undefined
    if (owner.node === node) return controller.hosted(vdisk)?.describe()
    const body = encodeAsk(vdisk, owner.epoch)
    try {
      return decodeControl<HostedDescription>(
        await peers.call(owner.node, 'vdisk.describe', [body], { timeoutMs: askTimeoutMs }),
      )
    } catch (error) {
      this.#options.platform.log.debug(`vDisk ${vdisk} could not be described by ${owner.node}`, {
        reason: messageOf(error),
      })
      return undefined
    }
  }

  async #container(name: string): Promise<ContainerValue> {
    return (await this.#containerKey(name)).value as ContainerValue
  }

  async #containerKey(name: string): Promise<Versioned> {
    const found = await this.#options.zeus.get(`container/${name}`)
    if (found === undefined)
      throw new NdfsError(
        'NOT_FOUND',
        `There is no container ${name}. \`ndfs container create ${name}\` makes it`,
        { name },
      )
    return found
  }

  async #named(vdisk: VDiskName): Promise<VDiskNameValue> {
    return (await this.#nameKey(vdisk)).value as VDiskNameValue
  }

  async #nameKey(vdisk: VDiskName): Promise<Versioned> {
    const name = nameOf(vdisk)
    const found = await this.#options.zeus.get(`vdisk/${name}`)
    if (found === undefined)
      throw new NdfsError(
        'NOT_FOUND',
        `There is no vDisk ${name}. \`ndfs vdisk list\` shows those that are`,
        { name },
      )
    return found
  }
}

/** Also where there are none: a gauge that goes away is no zero. */
function byCopiesLeft(lists: readonly RepairList[]): Map<number, { groups: number; bytes: number }> {
  const sums = new Map([0, 1, 2].map((left) => [left, { groups: 0, bytes: 0 }]))
  for (const { left, groups, bytes } of lists.flatMap(({ endangered }) => endangered)) {
    const sum = sums.get(left)
    sums.set(left, { groups: groups + (sum?.groups ?? 0), bytes: bytes + (sum?.bytes ?? 0) })
  }
  return sums
}

const downSentence = ({ id, mode, release }: NodeInfo, format: number): string =>
  release !== undefined && !servesFormat(release, format)
    ? otherFormat(`start ${id}`, release, format).message
    : mode === 'maintenance'
      ? `${id} is down, in maintenance: what lies there lacks a copy until it is back, or its time is over. \`ndfs node start ${id}\``
      : `${id} is down: what lies there lacks a copy until it is made anew elsewhere. \`ndfs node start ${id}\``

const portMapperSentence = ({ id, portMapper }: NodeInfo): string =>
  `Clients that ask the port mapper of ${id} don't find all of NFS: ${portMapper?.reason}`

const disagreementSentence = (disagreement: string): string =>
  `Cassandra's servers disagree: ${disagreement}. \`ndfs cassandra status\``

function troubleOf({ id, node, state, reason }: Pick<DiskInfo, 'id' | 'node' | 'state' | 'reason'>): string {
  switch (state) {
    case 'slow':
      return `disk ${id} of ${node} is slow and out of service, ${reason}: its copies are made anew elsewhere; it comes back when it is well`
    case 'missing':
      return `disk ${id} of ${node} is missing since ${node} was started. ${reason} Its copies are made anew elsewhere; restart ${node} when it is there, or replace it`
    default:
      return `disk ${id} of ${node} has failed: replace it`
  }
}

/** Configured, missing, and never seen: no disk of the cluster yet. */
const unknownDiskSentences = ({ info, value, answer }: KnownNode): string[] =>
  answer === undefined
    ? []
    : answer.disks.flatMap((disk) =>
        disk.state === 'missing' && !value.disks.some(({ id }) => id === disk.id)
          ? [`disk ${disk.id} of ${info.id} is not in use. ${disk.reason}`]
          : [],
      )

const unknownNode = (id: string): NdfsError =>
  new NdfsError('NOT_FOUND', `There is no node ${id}. \`ndfs node list\` shows those that are`, { node: id })

const ownerNow = (owner: Owner | undefined): string =>
  owner === undefined || owner.released === true
    ? 'no node owns it now'
    : `its owner ${owner.node} can't be asked now`

/** What the row says is the size when the log was last drained: no fact to show, and none to decide by. */
function assertSizeKnown(what: string, info: VDiskInfo): asserts info is VDiskInfo & { sizeBytes: number } {
  if (info.sizeBytes === undefined)
    throw new NdfsError(
      'UNAVAILABLE',
      `Cannot ${what} ${info.name}: ${info.reason}. Ask again in a moment, or another node; \`ndfs status\` shows what is wrong`,
      { vdisk: info.id, epoch: info.epoch },
    )
}

/** The rules of an export after a change, as its container keeps them: only what is not usual. REFUSED where a network is none. */
function exportPart(before: ExportValue | undefined, change: ExportChange = {}): Pick<ContainerValue, 'nfs'> {
  const { networks, ...more } = change
  const named = networks === undefined ? {} : { networks: networks ?? defaultExportRules.networks }
  const { rules } = new Export(rulesOf({ ...before, ...more, ...named }))
  const nfs = differencesOf(rules)
  return nfs === undefined ? {} : { nfs }
}

/** REFUSED where a network is none. */
function nbdPart(
  { networks }: NonNullable<ContainerValue['nbd']> = { networks: [] },
): Pick<ContainerValue, 'nbd'> {
  new Networks(networks)
  return networks.length === 0 ? {} : { nbd: { networks } }
}

function containerInfo(
  name: string,
  { copies, createdAt, nfs, nbd }: ContainerValue,
  vdisks: readonly VDiskInfo[],
): ContainerInfo {
  const rules = rulesOf(nfs)
  const those = vdisks.filter((vdisk) => vdisk.name.startsWith(`${name}/`))
  const sizes = those.flatMap(({ sizeBytes }) => (sizeBytes === undefined ? [] : [sizeBytes]))
  return {
    name,
    copies,
    createdAt,
    vdisks: those.length,
    ...(sizes.length === those.length ? { sizeBytes: sizes.reduce((sum, size) => sum + size, 0) } : {}),
    nfs: { ...rules, networks: [...rules.networks] },
    nbd: { networks: [...(nbd?.networks ?? [])] },
  }
}
