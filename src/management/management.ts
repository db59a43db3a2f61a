/**
 * Management is what a person or a program asks of a cluster: any node answers, whoever's matter it is.
 *
 *  1. One schema of each thing gives its type here, its check and its page in the OpenAPI document at the door.
 *  2. A target's method that resolves has done what it says, durably; one that rejects with an NdfsError tells what
 *     could not be done, how things stand and what a person can do. PEER_UNREACHABLE and TIMED_OUT leave open what it did.
 *  3. Names and numbers that come in were checked at the door (http-api.ts); a target decides what is only known
 *     inside (does it exist, is it in use).
 *
 * Not here: the data path, and who may ask (http-api.ts holds the door).
 */
import Type, { type Static } from 'typebox'
import type { CassandraInfo } from './cassandra.ts'
import type { CheckInfo, NewCheck } from './check.ts'
import { exportChangeSchema, exportRulesSchema, nbdRulesSchema } from './export.ts'
import { leavingSchema, modeSchema } from './leaving.ts'
import type { MetadataBackupInfo } from './backup.ts'
import { type ScrubChange, type ScrubInfo, scrubSumSchema } from './scrub.ts'
import { survivalSchema } from './survival.ts'
import { releaseSchema, type UpgradeInfo } from './upgrade.ts'

export type { CassandraInfo, CassandraServerInfo } from './cassandra.ts'
export type { CheckFinding, CheckInfo, NewCheck } from './check.ts'
export type { ExportChange, ExportRulesInfo } from './export.ts'
export type { Leaving, Mode } from './leaving.ts'
export type { ScrubChange, ScrubInfo } from './scrub.ts'
export type { MetadataBackupInfo } from './backup.ts'
export type { Survival } from './survival.ts'
export type { UpgradeInfo } from './upgrade.ts'

/** A container's name, and the part of a vDisk's name after the `/`. */
export const namePattern = '^[a-z0-9][a-z0-9._-]{0,62}$'
export const nodeIdPattern = '^[a-z0-9][a-z0-9-]{0,31}$'

/** The largest vDisk: what a safe integer of bytes, and the map, comfortably name. */
export const vDiskBytesMax = 64 * 1024 ** 4
/** A vDisk is whole sectors: what every guest's driver counts in. */
export const vDiskBytesStep = 512

const closed = { additionalProperties: false } as const
const name = (description: string) => Type.String({ pattern: namePattern, description })
const bytes = (description: string, least = 0) =>
  Type.Integer({ minimum: least, maximum: Number.MAX_SAFE_INTEGER, description })
const nodeId = Type.String({ pattern: nodeIdPattern, description: 'A node: `n1`.' })
const tier = Type.Union([Type.Literal('flash'), Type.Literal('hdd')])
const copies = Type.Union([Type.Literal(1), Type.Literal(2), Type.Literal(3)], {
  description: 'On how many distinct nodes each byte is kept.',
})

export const containerInfoSchema = Type.Object(
  {
    name: name('The name of the container.'),
    copies,
    createdAt: Type.Integer({ description: 'Milliseconds since 1970.' }),
    vdisks: Type.Integer({ minimum: 0, description: 'How many vDisks it holds.' }),
    sizeBytes: Type.Optional(
      bytes('The sizes of its vDisks, as guests see them; absent while that of one is not known here.'),
    ),
    nfs: exportRulesSchema,
    nbd: nbdRulesSchema,
  },
  closed,
)
export type ContainerInfo = Static<typeof containerInfoSchema>

export const vDiskInfoSchema = Type.Object(
  {
    name: Type.String({ description: '`container/vdisk`.' }),
    id: Type.Integer({ minimum: 1 }),
    sizeBytes: Type.Optional(
      bytes('As the guest sees it; absent in lists while only an owner that does not answer knows it.'),
    ),
    copies,
    createdAt: Type.Integer({ description: 'Milliseconds since 1970.' }),
    owner: Type.Optional(
      Type.String({
        description: 'The node that serves it now; absent while none does: the next that is asked will.',
      }),
    ),
    epoch: Type.Integer({ minimum: 0, description: 'Grows with each ownership; 0 before the first.' }),
    episodes: Type.Integer({
      minimum: 0,
      description: 'Stretches of its log that are not drained and freed yet.',
    }),
    undrainedBytes: Type.Optional(bytes('What only its log holds; absent where no owner can tell.')),
    state: Type.Union([Type.Literal('serving'), Type.Literal('unowned'), Type.Literal('offline')]),
    reason: Type.Optional(Type.String({ description: 'Why it is offline, or what is wrong with it.' })),
  },
  closed,
)
export type VDiskInfo = Static<typeof vDiskInfoSchema>

const certificateEnd = Type.Object(
  { expiresAt: Type.Integer({ description: 'Milliseconds since 1970.' }) },
  closed,
)

export const nodeInfoSchema = Type.Object(
  {
    id: nodeId,
    block: Type.String({ description: 'The chassis that it is in: its failure domain.' }),
    state: Type.Union([Type.Literal('up'), Type.Literal('down')]),
    mode: modeSchema,
    addresses: Type.Object(
      {
        http: Type.String(),
        peer: Type.String(),
        nbd: Type.Object({ address: Type.String(), socket: Type.String() }, closed),
        nfs: Type.Optional(
          Type.String({ description: 'NFS, MOUNT and what belongs to them; absent where it is not served.' }),
        ),
      },
      closed,
    ),
    portMapper: Type.Optional(
      Type.Object(
        {
          by: Type.Union([Type.Literal('ndfs'), Type.Literal('rpcbind'), Type.Literal('nobody')]),
          reason: Type.Optional(Type.String({ description: 'Why not, or what of it is missing.' })),
        },
        { ...closed, description: 'Who tells clients the ports of NFS; absent where nobody asked for it.' },
      ),
    ),
    cache: Type.Optional(
      Type.Object(
        { limitBytes: bytes('What it may take.'), usedBytes: bytes('What it holds now.') },
        { ...closed, description: 'The extent cache; absent while the node is down.' },
      ),
    ),
    vdisks: Type.Integer({ minimum: 0, description: 'How many vDisks it owns.' }),
    certificates: Type.Optional(
      Type.Object(
        { peers: Type.Optional(certificateEnd), nbd: Type.Optional(certificateEnd) },
        {
          ...closed,
          description: 'What it proves itself by, to peers and to clients of NBD on other machines.',
        },
      ),
    ),
    startedAt: Type.Optional(
      Type.Integer({ description: 'Milliseconds since 1970; absent while it is down.' }),
    ),
    release: Type.Optional(releaseSchema),
  },
  closed,
)
export type NodeInfo = Static<typeof nodeInfoSchema>

export const diskInfoSchema = Type.Object(
  {
    id: Type.String({ description: 'A physical disk: `n1-flash-0`.' }),
    node: nodeId,
    tier,
    capacityBytes: bytes('What NDFS may use of it.'),
    usedBytes: Type.Optional(bytes('What its files were given; absent while its node is down.')),
    state: Type.Union(
      [
        Type.Literal('online'),
        Type.Literal('slow'),
        Type.Literal('failed'),
        Type.Literal('missing'),
        Type.Literal('unreachable'),
      ],
      {
        description:
          '`slow`, `failed`: out of service; what it holds is copied elsewhere, and can still be read. `missing`: not there since its node was started.',
      },
    ),
    mode: modeSchema,
    reason: Type.Optional(Type.String({ description: 'Why it is out of service.' })),
  },
  closed,
)
export type DiskInfo = Static<typeof diskInfoSchema>

export const repairStatusSchema = Type.Object(
  {
    endangered: Type.Array(
      Type.Object(
        {
          copies: Type.Integer({ minimum: 1, description: 'As many as are asked for.' }),
          left: Type.Integer({ minimum: 0, description: 'As many as are there.' }),
          groups: Type.Integer({ minimum: 1, description: 'Extent groups.' }),
          bytes: bytes('Of the copies that are to be made.'),
        },
        closed,
      ),
      { description: 'Extent groups with fewer copies than asked for, the most endangered first.' },
    ),
    bytesLeft: bytes('Of all copies that are to be made, about.'),
    bytesPerSecond: bytes('Of copies made in the last seconds.'),
    secondsLeft: Type.Optional(Type.Integer({ minimum: 0, description: 'At this rate.' })),
    waitsFor: Type.Optional(Type.String({ description: 'Why some of it does not go on.' })),
    vDisksToLookAt: Type.Integer({
      minimum: 0,
      description: 'vDisks that no node owns, yet to be looked through for copies that are gone.',
    }),
  },
  closed,
)
export type RepairStatus = Static<typeof repairStatusSchema>

export const clusterStatusSchema = Type.Object(
  {
    cluster: Type.String({ description: "The cluster's id." }),
    version: Type.String({ description: 'The version of the answering node.' }),
    format: Type.Integer({
      minimum: 1,
      description: 'How all that is durable is written: `ndfs upgrade finish` raises it.',
    }),
    health: Type.Union([Type.Literal('ok'), Type.Literal('degraded'), Type.Literal('critical')], {
      description:
        '`degraded`: all data is served, not all of it as protected as asked for; `critical`: some is not served.',
    }),
    survival: survivalSchema,
    problems: Type.Array(Type.String(), { description: 'One sentence each: what is wrong, and what to do.' }),
    nodes: Type.Array(nodeInfoSchema),
    capacity: Type.Object(
      {
        flash: Type.Object(
          { capacityBytes: bytes('All disks.'), usedBytes: bytes('Of those that answer.') },
          closed,
        ),
        hdd: Type.Object(
          { capacityBytes: bytes('All disks.'), usedBytes: bytes('Of those that answer.') },
          closed,
        ),
      },
      closed,
    ),
    containers: Type.Integer({ minimum: 0 }),
    vdisks: Type.Object(
      { total: Type.Integer({ minimum: 0 }), offline: Type.Integer({ minimum: 0 }) },
      closed,
    ),
    undrainedBytes: bytes('What only the logs hold.'),
    repair: Type.Optional(repairStatusSchema),
    leaving: Type.Optional(
      Type.Array(leavingSchema, { description: 'Nodes and disks that are being left, in order.' }),
    ),
    scrub: scrubSumSchema,
    metadataBackupAt: Type.Optional(
      Type.Integer({
        description:
          'When the newest backup of the metadata was taken, milliseconds since 1970; absent: there is none.',
      }),
    ),
  },
  closed,
)
export type ClusterStatus = Static<typeof clusterStatusSchema>

export const healthSchema = Type.Object(
  {
    node: nodeId,
    serving: Type.Boolean({ description: 'Whether reads and writes are served now.' }),
    reason: Type.Optional(Type.String({ description: 'Why not.' })),
  },
  closed,
)
export type Health = Static<typeof healthSchema>

export const newContainerSchema = Type.Object(
  {
    name: name('Small letters, digits, `.`, `_`, `-`; at most 63.'),
    copies: Type.Optional(copies),
    nfs: Type.Optional(exportChangeSchema),
    nbd: Type.Optional(nbdRulesSchema),
  },
  closed,
)
export type NewContainer = Static<typeof newContainerSchema>

export const containerChangeSchema = Type.Object(
  { nfs: Type.Optional(exportChangeSchema), nbd: Type.Optional(nbdRulesSchema) },
  { ...closed, minProperties: 1 },
)
export type ContainerChange = Static<typeof containerChangeSchema>

const vDiskSize = Type.Integer({
  minimum: vDiskBytesStep,
  maximum: vDiskBytesMax,
  multipleOf: vDiskBytesStep,
  description: 'A multiple of 512, at most 64 TiB.',
})
export const newVDiskSchema = Type.Object(
  {
    container: name('The container that it is made in.'),
    name: name('Small letters, digits, `.`, `_`, `-`; at most 63.'),
    sizeBytes: vDiskSize,
  },
  closed,
)
export type NewVDisk = Static<typeof newVDiskSchema>

export const vDiskChangeSchema = Type.Object(
  {
    sizeBytes: vDiskSize,
    force: Type.Optional(
      Type.Boolean({ description: 'Needed to make it smaller: what is cut off is lost.' }),
    ),
  },
  closed,
)
export type VDiskChange = Static<typeof vDiskChangeSchema>

export const nodeChangeSchema = Type.Object(
  {
    cacheBytes: Type.Optional(bytes('The limit of its extent cache; takes effect at once.')),
    block: Type.Optional(
      Type.String({
        pattern: nodeIdPattern,
        description: 'The chassis that it is in: what is placed from then on goes by it.',
      }),
    ),
    mode: Type.Optional(
      Type.Union([Type.Literal('active'), Type.Literal('draining'), Type.Literal('maintenance')], {
        description:
          '`draining`: vDisks, logs and copies of extent groups move to other nodes; `maintenance`: vDisks and logs do; taken back by `active`.',
      }),
    ),
    repairWaitsSeconds: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 7 * 24 * 3600,
        description:
          'In maintenance: for so long its absence is no reason to repair; an hour where nothing is said.',
      }),
    ),
    force: Type.Optional(
      Type.Boolean({ description: 'Drain it, too, where the loss of a block is then survived no more.' }),
    ),
  },
  { ...closed, minProperties: 1 },
)
export type NodeChange = Static<typeof nodeChangeSchema>

export const diskChangeSchema = Type.Object(
  {
    mode: Type.Union([Type.Literal('active'), Type.Literal('draining')], {
      description:
        '`draining`: logs and copies of extent groups move to other disks; taken back by `active`.',
    }),
    force: Type.Optional(
      Type.Boolean({ description: 'Drain it, too, where the loss of a block is then survived no more.' }),
    ),
  },
  closed,
)
export type DiskChange = Static<typeof diskChangeSchema>

/** A vDisk's full name, in its two parts. */
export interface VDiskName {
  readonly container: string
  readonly name: string
}

/** One number of `GET /metrics`, as a part of the node tells it. Names are without the `ndfs_` before them. */
export interface Sample {
  readonly name: string
  readonly help: string
  /** A counter only grows while the process lives. */
  readonly kind: 'counter' | 'gauge'
  readonly labels?: Readonly<Record<string, string>>
  readonly value: number
}

/** All that the HTTP API asks of a node. What is another node's matter the target asks there. */
export interface ManagementTarget {
  health(): Promise<Health>
  status(): Promise<ClusterStatus>

  listContainers(): Promise<readonly ContainerInfo[]>
  showContainer(name: string): Promise<ContainerInfo>
  /** Two copies where none are named. REFUSED where a network of its rules is none. */
  createContainer(container: NewContainer): Promise<ContainerInfo>
  /** Every node goes by it from when it has heard of it, at the next call of each client. REFUSED where a network is none. */
  changeContainer(name: string, change: ContainerChange): Promise<ContainerInfo>
  /** IN_USE where it holds vDisks; `force` deletes them with it. */
  deleteContainer(name: string, options: { readonly force: boolean }): Promise<void>

  listVDisks(): Promise<readonly VDiskInfo[]>
  /** UNAVAILABLE while nobody who answers knows its size: one from before the last resizes is never shown. */
  showVDisk(name: VDiskName): Promise<VDiskInfo>
  createVDisk(vdisk: NewVDisk): Promise<VDiskInfo>
  /** REFUSED where it would be smaller and `force` is not set; UNAVAILABLE while nobody who answers can tell. */
  changeVDisk(name: VDiskName, change: VDiskChange): Promise<VDiskInfo>
  /** IN_USE where a client has it open; `force` deletes it all the same. */
  deleteVDisk(name: VDiskName, options: { readonly force: boolean }): Promise<void>

  listNodes(): Promise<readonly NodeInfo[]>
  showNode(id: string): Promise<NodeInfo>
  /** REFUSED where a mode would break a promise. */
  changeNode(id: string, change: NodeChange): Promise<NodeInfo>

  /** Out of the cluster for good. REFUSED where something depends on it, UNAVAILABLE where the next request goes on with it. */
  removeNode(id: string): Promise<void>

  listDisks(): Promise<readonly DiskInfo[]>
  removeDisk(id: string): Promise<void>
  /** REFUSED where a mode would break a promise. */
  changeDisk(id: string, change: DiskChange): Promise<DiskInfo>

  /** Begins a check of the whole cluster, which this node leads; IN_USE where it leads one already. */
  beginCheck(check: NewCheck): Promise<CheckInfo>
  /** NOT_FOUND where this node did not lead it, or has led another since. */
  showCheck(id: string): Promise<CheckInfo>
  stopCheck(id: string): Promise<void>

  /** Takes a backup of the metadata, and lays it on the nodes' disks: it is there when it resolves. */
  backUpMetadata(): Promise<MetadataBackupInfo>

  /** How Cassandra's servers see one another. NOT_FOUND where the metadata is not in Cassandra. */
  showCassandra(): Promise<CassandraInfo>

  showUpgrade(): Promise<UpgradeInfo>
  /** Raises the cluster's format, durably, to the newest that every node serves. REFUSED where one serves no newer one than there is. */
  finishUpgrade(): Promise<UpgradeInfo>

  showScrub(): Promise<ScrubInfo>
  /** Takes effect on all nodes at once. */
  changeScrub(change: ScrubChange): Promise<ScrubInfo>

  /** The numbers of this node alone, as they are now: pulled, never pushed. */
  statistics(): Promise<readonly Sample[]>
}

/** What the body of every answer that is not a success holds. */
export interface ErrorBody {
  readonly error: {
    readonly code: string
    readonly message: string
    readonly facts: Readonly<Record<string, unknown>>
  }
}
