/** A target that keeps a cluster's names in memory: what the tests of the HTTP API, and of the CLI, talk to. */
import type { MetadataBackupInfo } from './backup.ts'
import { NdfsError } from '../base/errors.ts'
import { cassandraInfoOf } from './cassandra.ts'
import { GiB, MiB } from '../base/units.ts'
import type {
  CassandraInfo,
  CheckInfo,
  ClusterStatus,
  ContainerChange,
  ContainerInfo,
  DiskChange,
  DiskInfo,
  ExportChange,
  ExportRulesInfo,
  Health,
  ManagementTarget,
  NewCheck,
  NewContainer,
  NewVDisk,
  NodeChange,
  NodeInfo,
  Sample,
  ScrubChange,
  ScrubInfo,
  UpgradeInfo,
  VDiskChange,
  VDiskInfo,
  VDiskName,
} from './management.ts'
import { scrubInfoOf } from './scrub.ts'

const usualRules: ExportRulesInfo = {
  networks: ['127.0.0.0/8', '::1/128'],
  readOnly: false,
  squash: 'none',
  anonymousUid: 65534,
  anonymousGid: 65534,
  privilegedPorts: false,
}
const changedRules = (rules: ExportRulesInfo, { networks, ...more }: ExportChange = {}): ExportRulesInfo => ({
  ...rules,
  ...more,
  networks: networks === null ? usualRules.networks : (networks ?? rules.networks),
})

const sumOf = ({ nodes: _, ...sum }: ScrubInfo): ClusterStatus['scrub'] => sum

export class MemoryTarget implements ManagementTarget {
  serving = true
  /** What the next call meets. */
  nextError: Error | undefined
  format = 1
  readonly #containers = new Map<string, ContainerInfo>()
  readonly #vdisks = new Map<string, VDiskInfo>()
  readonly #open = new Set<string>()
  readonly #nodes = new Map<string, NodeInfo>(
    ['n1', 'n2'].map((id, index) => [
      id,
      {
        id,
        block: `b${index + 1}`,
        state: index === 0 ? 'up' : 'down',
        mode: 'active',
        addresses: {
          http: `127.0.0.1:${9440 + index}`,
          peer: `127.0.0.1:${9540 + index}`,
          nbd: { address: `127.0.0.1:${10809 + index}`, socket: `/run/${id}/nbd.sock` },
        },
        ...(index === 0 ? { cache: { limitBytes: 2 * GiB, usedBytes: 0 } } : {}),
        vdisks: 0,
      },
    ]),
  )
  #nextId = 1

  /** As if a client had it open. */
  use(name: string): void {
    this.#open.add(name)
  }

  async health(): Promise<Health> {
    this.#meet()
    return { node: 'n1', serving: this.serving, ...(this.serving ? {} : { reason: 'n1 is starting' }) }
  }

  async status(): Promise<ClusterStatus> {
    this.#meet()
    return {
      cluster: 'c0ffee',
      version: '0.1.0',
      format: this.format,
      health: 'degraded',
      survival: {
        sentence: 'one copy of 1GiB left: vms/disk1; n2 is down',
        level: 'one copy',
        dataLevel: 'one copy',
        metadataLevel: 'block',
        missing: ['copies of 1GiB, which has fewer than asked for: n2 is gone'],
        bytes: { unreadable: 0, 'one copy': 1 * GiB, disk: 0, node: 0, block: 0 },
        atMost: [],
        shortBytes: 1 * GiB,
        misplacedBytes: 0,
        unknown: [],
        metadata: 'one disk',
        metadataCopy: { state: 'none' },
      },
      problems: ['n2 is down: start it with `ndfs node start n2`.'],
      nodes: [...this.#nodes.values()],
      capacity: {
        flash: { capacityBytes: 20 * GiB, usedBytes: 1 * GiB },
        hdd: { capacityBytes: 80 * GiB, usedBytes: 0 },
      },
      containers: this.#containers.size,
      vdisks: { total: this.#vdisks.size, offline: 0 },
      undrainedBytes: 0,
      scrub: sumOf(this.#scrub),
    }
  }

  async listContainers(): Promise<readonly ContainerInfo[]> {
    this.#meet()
    return [...this.#containers.values()]
  }

  async showContainer(name: string): Promise<ContainerInfo> {
    const container = this.#containers.get(name)
    if (!container)
      throw new NdfsError('NOT_FOUND', `Cannot find the container ${name}.`, { container: name })
    return container
  }

  async createContainer({
    name,
    copies = 2,
    nfs,
    nbd = { networks: [] },
  }: NewContainer): Promise<ContainerInfo> {
    this.#meet()
    if (this.#containers.has(name))
      throw new NdfsError('ALREADY_EXISTS', `Cannot make the container ${name}: there is one.`, {
        container: name,
      })
    const rules = changedRules(usualRules, nfs)
    const container = { name, copies, createdAt: 1, vdisks: 0, sizeBytes: 0, nfs: rules, nbd }
    this.#containers.set(name, container)
    return container
  }

  async changeContainer(name: string, { nfs, nbd }: ContainerChange): Promise<ContainerInfo> {
    const container = await this.showContainer(name)
    const changed = { ...container, nfs: changedRules(container.nfs, nfs), nbd: nbd ?? container.nbd }
    this.#containers.set(name, changed)
    return changed
  }

  async deleteContainer(name: string, { force }: { force: boolean }): Promise<void> {
    await this.showContainer(name)
    const inside = [...this.#vdisks.keys()].filter((vdisk) => vdisk.startsWith(`${name}/`))
    if (inside.length > 0 && !force)
      throw new NdfsError('IN_USE', `Cannot delete the container ${name}: it holds ${inside.length} vDisks.`)
    for (const vdisk of inside) this.#vdisks.delete(vdisk)
    this.#containers.delete(name)
  }

  async listVDisks(): Promise<readonly VDiskInfo[]> {
    this.#meet()
    return [...this.#vdisks.values()]
  }

  async showVDisk({ container, name }: VDiskName): Promise<VDiskInfo> {
    const vdisk = this.#vdisks.get(`${container}/${name}`)
    if (!vdisk) throw new NdfsError('NOT_FOUND', `Cannot find the vDisk ${container}/${name}.`)
    return vdisk
  }

  async createVDisk({ container, name, sizeBytes }: NewVDisk): Promise<VDiskInfo> {
    this.#meet()
    const { copies } = await this.showContainer(container)
    const vdisk: VDiskInfo = {
      name: `${container}/${name}`,
      id: this.#nextId++,
      sizeBytes,
      copies,
      createdAt: 1,
      epoch: 0,
      episodes: 0,
      state: 'unowned',
    }
    this.#vdisks.set(vdisk.name, vdisk)
    return vdisk
  }

  async changeVDisk(name: VDiskName, { sizeBytes, force }: VDiskChange): Promise<VDiskInfo> {
    const vdisk = await this.showVDisk(name)
    if (sizeBytes < (vdisk.sizeBytes ?? 0) && force !== true)
      throw new NdfsError(
        'REFUSED',
        `Cannot shrink ${vdisk.name}: what is cut off is lost. Force it if you mean it.`,
      )
    const changed = { ...vdisk, sizeBytes }
    this.#vdisks.set(vdisk.name, changed)
    return changed
  }

  async deleteVDisk(name: VDiskName, { force }: { force: boolean }): Promise<void> {
    const vdisk = await this.showVDisk(name)
    if (this.#open.has(vdisk.name) && !force)
      throw new NdfsError('IN_USE', `Cannot delete ${vdisk.name}: a client has it open.`)
    this.#vdisks.delete(vdisk.name)
  }

  async listNodes(): Promise<readonly NodeInfo[]> {
    this.#meet()
    return [...this.#nodes.values()]
  }

  async showNode(id: string): Promise<NodeInfo> {
    const node = this.#nodes.get(id)
    if (!node) throw new NdfsError('NOT_FOUND', `Cannot find the node ${id}.`)
    return node
  }

  async removeNode(id: string): Promise<void> {
    await this.showNode(id)
    this.#nodes.delete(id)
  }

  async removeDisk(id: string): Promise<void> {
    await this.changeDisk(id, { mode: 'active' })
  }

  async changeDisk(id: string, { mode }: DiskChange): Promise<DiskInfo> {
    const disk = (await this.listDisks()).find((one) => one.id === id)
    if (disk === undefined) throw new NdfsError('NOT_FOUND', `Cannot find the disk ${id}.`)
    return { ...disk, mode }
  }

  async changeNode(id: string, { cacheBytes, block, mode }: NodeChange): Promise<NodeInfo> {
    const node = await this.showNode(id)
    const changed = {
      ...node,
      ...(cacheBytes === undefined ? {} : { cache: { limitBytes: cacheBytes, usedBytes: 0 } }),
      ...(block === undefined ? {} : { block }),
      ...(mode === undefined ? {} : { mode }),
    }
    this.#nodes.set(id, changed)
    return changed
  }

  /** What comes of the next check. */
  checkEnds: Pick<CheckInfo, 'state' | 'summary' | 'counts' | 'findings' | 'unfinished'> = {
    ...{ state: 'right', summary: 'all is right', counts: [], findings: [], unfinished: [] },
  }
  #check: CheckInfo | undefined

  async beginCheck({ repair = false }: NewCheck): Promise<CheckInfo> {
    this.#meet()
    this.#check = {
      ...this.checkEnds,
      ...{ id: 'c4ec', node: 'n1', repair, startedAt: 1, endedAt: 2 },
      ...{
        vdisks: { total: 1, checked: 1 },
        groups: { total: 1, checked: 1 },
        copies: 2,
        bytes: 8192,
        repaired: 0,
      },
      files: { files: 1, directories: 1, bytes: 5 },
      leftOver: { entries: 0, vdisks: 0, told: [] },
    }
    return { ...this.#check, state: 'running', summary: '0 of 1 vDisk checked' }
  }

  async showCheck(id: string): Promise<CheckInfo> {
    if (this.#check?.id !== id) throw new NdfsError('NOT_FOUND', `There is no check ${id}.`)
    return this.#check
  }

  async stopCheck(id: string): Promise<void> {
    await this.showCheck(id)
  }

  #scrub: ScrubInfo = scrubInfoOf(14 * 24 * 3600, [
    {
      ...{ node: 'n1', progress: 0.43, begunAt: 1, lastCompleteAt: 1_700_000_000_000 },
      ...{ copies: 7, bytes: 28 * MiB, found: 3, repaired: 2, waiting: 1, damagedFiles: 0 },
    },
  ])

  async backUpMetadata(): Promise<MetadataBackupInfo> {
    return {
      takenAt: 1_700_000_000_000,
      bytes: 4096,
      places: ['n1:/disks/n1-flash-0/metadata/backup-001700000000000'],
    }
  }

  /** Each call is one second after the one before; the third of three servers is frozen. */
  #beats = 0

  /** The first node is of a newer release than the second. */
  async showUpgrade(): Promise<UpgradeInfo> {
    return {
      format: this.format,
      nodes: [
        { node: 'n1', state: 'up', release: { version: '0.2.0', oldest: 1, newest: 2 } },
        { node: 'n2', state: 'down', release: { version: '0.1.0', oldest: 1, newest: 1 } },
      ],
      finish: this.format === 1 ? { refusal: 'n2 is of NDFS 0.1.0', nodes: ['n2'] } : { to: this.format },
    }
  }

  async finishUpgrade(): Promise<UpgradeInfo> {
    this.#meet()
    this.format = 2
    return this.showUpgrade()
  }

  async showCassandra(): Promise<CassandraInfo> {
    this.#meet()
    const beats = this.#beats++
    const server = (last: number) => ({
      ...{ address: `10.0.0.${last}:7000`, clients: `10.0.0.${last}:9042`, hostId: `id-${last}` },
      ...{ rack: `b${last}`, status: 'NORMAL', generation: 1_700_000_000, heartbeat: 50 + beats, seenBy: 2 },
      ...{ schema: 's1', release: '5.0.9' },
      heartbeatsPerSecond: beats === 0 ? undefined : last === 3 ? 0 : 1,
      beats: beats === 0 ? undefined : last !== 3,
    })
    const told = {
      views: 2,
      servers: [1, 2, 3].map(server),
      disagreements: ['10.0.0.2:9042 has schema s2 of 10.0.0.1:7000, others s1'],
      silent: [{ server: '10.0.0.3:9042', reason: 'it takes no connections' }],
    }
    const servers = [
      { server: '10.0.0.1:9042', repairedAt: 1_700_000_000_000, overdue: false },
      { server: '10.0.0.2:9042', overdue: true },
    ]
    return cassandraInfoOf('n1', told, { servers })
  }

  async showScrub(): Promise<ScrubInfo> {
    return this.#scrub
  }

  async changeScrub({ everySeconds }: ScrubChange): Promise<ScrubInfo> {
    this.#scrub = { ...this.#scrub, everySeconds }
    return this.#scrub
  }

  async listDisks(): Promise<readonly DiskInfo[]> {
    this.#meet()
    return [
      {
        id: 'n1-flash-0',
        node: 'n1',
        tier: 'flash',
        capacityBytes: 10 * GiB,
        usedBytes: 1 * GiB,
        state: 'online',
        mode: 'active',
      },
      {
        id: 'n2-hdd-0',
        node: 'n2',
        tier: 'hdd',
        capacityBytes: 40 * GiB,
        state: 'unreachable',
        mode: 'active',
      },
    ]
  }

  async statistics(): Promise<readonly Sample[]> {
    const help = 'Requests that guests sent.'
    return [
      { name: 'nbd_requests_total', help, kind: 'counter', labels: { command: 'read' }, value: 7 },
      { name: 'nbd_requests_total', help, kind: 'counter', labels: { command: 'write' }, value: 3 },
      { name: 'extent_cache_used_bytes', help: 'What the cache holds.', kind: 'gauge', value: 4096 },
    ]
  }

  #meet(): void {
    const error = this.nextError
    this.nextError = undefined
    if (error) throw error
  }
}
