/**
 * One node: makes the parts and joins them. No logic of its own; what happens here is only who is told what.
 *
 *   guest ─▶ nbd ─▶ admission ─▶ router ─▶ vDisk controller ─┬─▶ oplogs ──┬─▶ a log disk here
 *                                  └─▶ (another node)        ├─▶ extents ─┴─▶ peers
 *                                                            └─▶ Medusa, Zeus ─▶ the store
 */
import { thisRelease } from './base/formats.ts'
import { collectGarbage } from './base/garbage.ts'
import { dropKept } from './base/large-buffers.ts'
import { messageOf, NdfsError } from './base/errors.ts'
import type { DiskId, DiskRef, Incarnation, NodeId, VDiskId } from './base/ids.ts'
import { MiB } from './base/units.ts'
import { BlocksThere } from './blocks-there.ts'
import { CheckWork } from './check-work.ts'
import { ClusterChecks } from './cluster-check.ts'
import { ClusterFormat } from './cluster-format.ts'
import { ClusterSurvey } from './cluster-survey.ts'
import { ClusterView } from './cluster-view.ts'
import { Curator } from './curator/curator.ts'
import { ForsakenVDisks } from './curator/forsaken-vdisks.ts'
import type { WatchedDisk } from './disk/disk.ts'
import { type MissingDisk, openDisks } from './disk/open-disks.ts'
import { GoneDisks } from './gone-disks.ts'
import { HandOver } from './hand-over.ts'
import { admitMember } from './joining.ts'
import { LeavingDisks, leavesMore } from './leaving-disks.ts'
import { NodeSession } from './node-session.ts'
import { removedNode, Retirement, whyNotToStart } from './retirement.ts'
import type { NodeConfig, StoresConfig } from './local/node-config.ts'
import { readClusterKey } from './local/node-config.ts'
import { TlsFiles } from './local/tls-files.ts'
import { NbdClients } from './nbd-clients.ts'
import { countingChanges, MetadataBackups } from './metadata-backup.ts'
import { NodeManagement } from './node-management.ts'
import { NodeScrub } from './node-scrub.ts'
import { serveHttpApi } from './management/http-api.ts'
import { openMedusa, openZeus } from './open-stores.ts'
import { PeerNetwork } from './peer/peer-network.ts'
import type { Address, Platform } from './platform/platform.ts'
import { createAdmissionControl } from './stargate/admission-control/weighted-admission.ts'
import { createExtentCache } from './stargate/extent-cache/page-cache.ts'
import type { ExtentStore } from './stargate/extent-store/extent-store.ts'
import { createExtentStore } from './stargate/extent-store/replicated-extent-store.ts'
import { createSpaceView, type KnownDisk } from './stargate/extent-store/space-view.ts'
import { createFileLocks } from './stargate/file-locks/medusa-file-locks.ts'
import { createNbdServer } from './stargate/front-end-adapter/nbd/nbd.ts'
import { createNfsServer } from './stargate/front-end-adapter/nfs/nfs.ts'
import { VDiskRouter } from './stargate/front-end-adapter/vdisk-router.ts'
import type { OplogReplica } from './stargate/oplog/oplog.ts'
import { createOplogs } from './stargate/oplog/remote-oplog.ts'
import { openOplogReplica } from './stargate/oplog/replica-log.ts'
import type { LogCandidate } from './stargate/vdisk-controller/group-place.ts'
import { misplacedAmong } from './stargate/vdisk-controller/misplaced.ts'
import { type Pace, usualPace } from './stargate/vdisk-controller/pace.ts'
import { VDiskHost } from './stargate/vdisk-controller/vdisk-host.ts'
import { neededDisk, SlowDisks } from './slow-disks.ts'
import { WrongCopies } from './wrong-copies.ts'
import { MemoryAtRest } from './memory-at-rest.ts'
import { NodeShares, secretFor } from './node-shares.ts'
import type { NodeValue, SessionValue } from './zeus/zeus.ts'

/** What a node is made of; paths and addresses as the platform knows them. */
export interface NodeOptions {
  readonly platform: Platform
  readonly clusterId: string
  readonly key: Buffer
  readonly node: NodeId
  /** Where no operator has put it in another since. */
  readonly block: string
  /** Where Zeus and Medusa are. */
  readonly stores: StoresConfig
  readonly listen: {
    readonly http: Address
    readonly peer: Address
    readonly nbd: Address
    readonly nbdSocket: string
    /** Where clients are told that NFS is. */
    readonly nfs?: Address
    /** Where it is, if not there alone. */
    readonly nfsEverywhere?: Address
    readonly portMapper?: Address
  }
  /** For peers, and for clients of NBD, on other machines. */
  readonly tls?: { readonly peers?: Certificate; readonly nbd?: Certificate }
  readonly disks: readonly { readonly id: string; readonly path: string }[]
  readonly cacheBytes: number
  readonly writeWaitMaxMs: number
  readonly oplogShare?: number
  /** Of a new log; left out, what its disk's size suggests. */
  readonly oplogSegmentBytes?: number
  /** Left out, what suits a real cluster. */
  readonly pace?: NodePace
  /** An operator has removed the node: its process is to end. */
  readonly onRemoved?: () => void
}

/** As it is now; a new one may take its place at any time. */
type Certificate = Pick<TlsFiles, 'side' | 'expiresAt'>

/** When background work is done. */
export interface NodePace extends Pace {
  /** Between two looks for vDisks that nobody serves, and still have a log. */
  readonly sweepMs: number
  /** A node without a session for so long is gone: what it held is made anew elsewhere. */
  readonly goneGraceMs: number
  /** Every copy is read and verified once in so long, where nobody has set another time; 0: none is. */
  readonly scrubEveryMs: number
}

/** A copy that rots beside another one that is good: the two weeks that peers take. */
const scrubEveryMs = 14 * 24 * 3600 * 1000
/** DESIGN section 7: "at start, and every minute". */
export const usualNodePace: NodePace = { ...usualPace, sweepMs: 60_000, goneGraceMs: 800, scrubEveryMs }

export interface NodeAddresses {
  readonly http: Address
  readonly peer: Address
  readonly nbd: { readonly address: Address; readonly socket: string }
  readonly nfs?: Address
}

export type Node = Awaited<ReturnType<typeof startNode>>

/** Undrained bytes in a node's memory; less where its logs are small. */
const undrainedBytesMax = 512 * MiB
/**
 * The part of a log that they may be: a disk holds the records of as many nodes as there are copies, up to three; all of them
 * twice, while another episode is tried; and of a small log half is kept back for what empties it. A log that is full of records
 * that nobody has acknowledged can't be emptied.
 */
const undrainedShareMax = 1 / 12
/** Guests' and maintenance's work under way at once. */
const admissionBounds = { outstandingBytesMax: 256 * MiB, outstandingMax: 4096, waitingMax: 8192 }
/** A request may wait for its copies as long as writes may, and for a takeover before and after that. */
const takeoverWaitMs = 30_000

const fillOf = (replica: OplogReplica): number => {
  const { usedBytes, capacityBytes } = replica.statistics()
  return usedBytes / capacityBytes
}

/** Resolves when reads and writes are served. REFUSED, before anything but Zeus was touched, where this release can't serve the cluster's format. */
export async function startNode(options: NodeOptions) {
  const { platform, clusterId, key, node, block, listen, cacheBytes, writeWaitMaxMs } = options
  const { pace = usualNodePace } = options
  const { clock, chance } = platform
  const { log } = platform
  const here = platform
  const incarnation = chance.bytes(8).toString('hex') as Incarnation
  const startedAt = clock.wallTime()

  const tls = options.tls ?? {}
  const sideOf = (certificate: Certificate | undefined) =>
    certificate === undefined ? {} : { tls: () => certificate.side }
  let format: ClusterFormat | undefined = undefined
  const formats = { release: thisRelease, now: () => format?.now ?? 0 }
  const peers = new PeerNetwork({
    ...{ platform: here, node, incarnation, clusterId, key, formats },
    ...sideOf(tls.peers),
  })
  const zeus = await openZeus(options.stores, here, peers, clusterId)
  format = await ClusterFormat.join({ zeus, node, release: thisRelease, clock, log })
  const { medusa: opened, ...metadata } = await openMedusa(options.stores, here, peers, clusterId)

  const { disks, missing } = await openDisks(
    here,
    options.disks.map(({ id, path }) => ({ path, node, cluster: clusterId, disk: id as DiskId })),
  )
  const replicas: OplogReplica[] = []
  for (const disk of disks.filter(({ tier }) => tier === 'flash'))
    replicas.push(
      await openOplogReplica({
        platform: here,
        disk,
        ...(options.oplogShare === undefined ? {} : { share: options.oplogShare }),
        ...(options.oplogSegmentBytes === undefined ? {} : { segmentBytes: options.oplogSegmentBytes }),
      }),
    )
  if (replicas.length === 0) throw withoutLog(node, missing)

  const { medusa, changes } = countingChanges(opened)
  const view = new ClusterView(zeus)
  view.onFormat = (now) => format.heard(now)
  const leaving = new LeavingDisks(view.settings)

  const ownBlock = (): string => view.settings.get(node)?.block ?? block
  const otherDisks = (): KnownDisk[] =>
    [...view.nodes].flatMap(([name, value]) => {
      if (name === node) return []
      const session = view.sessions.get(name)
      return value.disks.map((disk) => ({
        ref: { node: name, disk: disk.id as DiskId, incarnation: disk.incarnation as Incarnation },
        block: view.blockOf(name) ?? value.block,
        tier: disk.tier,
        live:
          session?.disks.some(
            (one) => one.id === disk.id && one.incarnation === disk.incarnation && one.state === 'online',
          ) === true,
      }))
    })
  const blocks = new BlocksThere(
    () => [
      ...disks.flatMap(({ ref, state }) =>
        state === 'online' && !leaving.isPassedOver(ref) ? [{ block: ownBlock() }] : [],
      ),
      ...otherDisks().filter(({ ref, live }) => live && !leaving.isPassedOver(ref)),
    ],
    () => Math.max(1, ...[...view.containers.values()].map(({ copies }) => copies)),
  )
  const spaces = createSpaceView({ platform: here, peers, known: otherDisks })
  const oplogs = createOplogs({ platform: here, peers, node, replicas })
  const extents = createExtentStore({
    platform: here,
    peers,
    node,
    get block() {
      return ownBlock()
    },
    clusterId,
    disks,
    isPassedOver: leaving.isPassedOver,
    isRemoved: leaving.isRemoved,
    epochOf: (vdisk) => controller.epochOf(vdisk),
    remoteCandidates: () => spaces.candidates(),
    hearOfSpace: () => spaces.refresh(),
    hearAgain: (node) => spaces.ask(node),
    remoteTier: (disk) => view.nodes.get(disk.node)?.disks.find(({ id }) => id === disk.disk)?.tier,
    readLast: (disk) => gone.isGone(disk),
  })
  const cache = createExtentCache({ limitBytes: cacheBytes })
  const admission = createAdmissionControl(admissionBounds)
  const logBytes = replicas.reduce((sum, replica) => sum + replica.statistics().capacityBytes, 0)
  const admitMaintenance = async (work: 'drain' | 'repair' | 'scrub', bytes: number): Promise<() => void> => {
    admission.logFill = Math.max(...replicas.map(fillOf))
    await admission.enter(work, bytes)
    return () => admission.leave(work, bytes)
  }
  const controller = new VDiskHost({
    platform: here,
    node,
    incarnation,
    zeus,
    medusa,
    oplogs,
    replicas,
    extents,
    cache,
    writeWaitMaxMs,
    pace,
    undrainedBytesMax: Math.min(undrainedBytesMax, Math.floor(logBytes * undrainedShareMax)),
    logCandidates: () => [
      ...replicas.flatMap((replica) => (replica.inService ? [logCandidate(replica.ref, ownBlock())] : [])),
      ...otherDisks().flatMap((disk) =>
        disk.live && disk.tier === 'flash' && !leaving.isRemoved(disk.ref)
          ? [logCandidate(disk.ref, disk.block)]
          : [],
      ),
    ],
    admitMaintenance,
    guests: () => {
      const { outstanding, admitted } = admission.statistics().guest
      return { underWay: outstanding, begun: admitted }
    },
    isGone: (disk) => gone.isGone(disk),
    mayBeRead: (disk) => gone.mayBeRead(disk),
    leaving: {
      isLeaving: leaving.isLeaving,
      isPassedOver: leaving.isPassedOver,
      isRemoved: leaving.isRemoved,
      misplacedAmong: (copies) => misplacedAmong(copies, (name) => view.blockOf(name), blocks.now),
    },
    isAnyGone: () => gone.isAnyGone() || leaving.isAny || blocks.mayBeMisplaced,
    served: () => handOver.look(),
  })
  const logCandidate = (ref: DiskRef, inBlock: string): LogCandidate => ({
    ref,
    block: inBlock,
    leaving: leaving.isPassedOver(ref),
  })
  const handOver = new HandOver({
    clock,
    log,
    node,
    peers,
    controller,
    liveNodes: () => view.liveNodes(),
    mayOwn: leaving.mayOwn,
  })
  /** Those that may own vDisks; all, where none shall. */
  const homes = (): readonly NodeId[] => {
    const staying = view.liveNodes().filter(leaving.mayOwn)
    return staying.length > 0 ? staying : view.liveNodes()
  }
  const router = new VDiskRouter({
    platform: here,
    node,
    peers,
    controller,
    locations: view,
    requestWaitMaxMs: writeWaitMaxMs + takeoverWaitMs,
    sendHome: (vdisk) => handOver.sendHome(vdisk),
    mayOwn: leaving.mayOwn,
  })
  const curator = new Curator({
    clock,
    log,
    node,
    sweepMs: pace.sweepMs,
    view: {
      owners: view.owners,
      liveNodes: homes,
      lives: (name, process) => view.lives(name, process),
    },
    holds: (vdisk) => controller.holds(vdisk),
    claim: async (vdisk) => {
      await controller.claim(vdisk, 'free')
    },
    tidy: async () => {
      await Promise.all(disks.map((disk) => disk.confirm()))
      await controller.freeDrained()
    },
    needsRepair: (vdisk, losses) => controller.needsRepair(vdisk, losses),
  })
  const gone = new GoneDisks({
    clock,
    node,
    disks,
    graceMs: pace.goneGraceMs,
    nodes: view.nodes,
    sessions: view.sessions,
    settings: view.settings,
    changed: (losses) => {
      const misplaced = blocks.changed()
      controller.disksChanged()
      curator.disksChanged(losses || misplaced)
    },
  })

  for (const replica of replicas) {
    replica.onFenced = (vdisk, epoch) => controller.fenced(vdisk, epoch)
    replica.onPressure = (vdisks) => relieve(vdisks)
  }
  peers.handle('vdisk.drain', 'terminal', (request) => {
    controller.drainNow([request.body.readDoubleLE(0) as VDiskId])
    return []
  })
  /** Whoever owns the vDisks whose records fill a log here is asked to drain them. */
  function relieve(vdisks: readonly VDiskId[]): void {
    controller.drainNow(vdisks)
    controller.freeDrained().catch(() => undefined) // pressure is told again
    for (const vdisk of vdisks) {
      const owner = view.owner(vdisk)
      if (owner === undefined || owner.node === node) continue
      const body = Buffer.alloc(8)
      body.writeDoubleLE(vdisk)
      peers.call(owner.node, 'vdisk.drain', [body]).catch(() => undefined) // pressure is told again
    }
  }

  view.onSession = (name, now, before) => {
    if ((now === undefined) !== (before === undefined)) {
      forsaken.nodesChanged()
      scrub.nodesChanged()
    }
    if (name === node) return
    if (before === undefined && begun) curator.nodeCame()
    peers.setAddress(name, now?.peer)
    gone.sessionChanged(name, now, before)
    for (const { id, incarnation: of } of disksThatLeft(before, now))
      controller.replicasLost(
        (ref) => ref.disk === id && ref.incarnation === of,
        new NdfsError('DISK_FAILED', `The disk ${id} of ${name} left service`, { node: name, disk: id }),
      )
    // Another process of the node, or none: what the one before had under way is over.
    if (before !== undefined && now?.incarnation !== before.incarnation) {
      controller.replicasLost(
        ({ node: of }) => of === name,
        new NdfsError('PEER_UNREACHABLE', `${name} is gone`, { node: name }),
      )
      curator.sweep()
      forsaken.lookSoon()
    }
  }

  /** It takes part: before that it is refused, where it shall not. */
  let begun = false
  view.onSetting = (name, now, before) => {
    if (name === node) {
      management.applySettings()
      if (begun) retirement.look()
    }
    const isMoved = now?.block !== before?.block
    const isSame = !isMoved && JSON.stringify(now?.disks) === JSON.stringify(before?.disks)
    if (isSame && now?.mode === before?.mode && now?.repairWaitsUntil === before?.repairWaitsUntil) return
    gone.settingChanged(name)
    const misplaced = blocks.changed(isMoved)
    controller.disksChanged()
    // A node that is away, and is in maintenance no longer, is gone.
    curator.disksChanged(leavesMore(now, before) || before?.mode === 'maintenance' || misplaced)
    if (now?.mode !== before?.mode) {
      curator.sweep()
      if (name === node) handOver.look()
    }
  }

  const nbd = createNbdServer({
    ...{ platform: here, exports: router, admission, plain: new NbdClients(view) },
    ...sideOf(tls.nbd),
  })
  const shares = new NodeShares({
    ...{ platform: here, key, view, zeus, medusa, router, controller },
    space: (copies) => spaceOf(extents.candidates(), copies),
  })
  const forsaken = new ForsakenVDisks({
    ...{ clock, log, node, names: () => view.vdisks, liveNodes: () => view.liveNodes() },
    clear: (vdisk) => shares.clearForsaken(vdisk),
  })
  const locks = createFileLocks({
    ...{ medusa, platform: here, node },
    // Whoever waits looks by itself, too.
    tell: (to, file) =>
      void peers.call(to as NodeId, 'locks.freed', [Buffer.from(file)]).catch(() => undefined),
  })
  peers.handle('locks.freed', 'terminal', ({ body }) => {
    locks.freed(body.toString())
    return []
  })
  const handlesKey = secretFor(key, 'handles of files')
  const nfs = createNfsServer({ platform: here, shares, locks, key: handlesKey, admission })
  const memory = new MemoryAtRest(clock, admission, () => {
    nbd.rest()
    dropKept()
    collectGarbage()
  })
  const survey = new ClusterSurvey({ clock, node, view, zeus, peers, controller })
  const wrongCopies = new WrongCopies({ node, view, peers, medusa, controller })
  const checkWork = new CheckWork({
    ...{ clock, log, view, peers, medusa, extents, disks, controller, wrongCopies, shares },
    admit: admitMaintenance,
  })
  const scrub = new NodeScrub({
    ...{ clock, log, node, zeus, medusa, view, extents, disks, wrongCopies, shares },
    admit: admitMaintenance,
    usualPeriodMs: pace.scrubEveryMs,
  })
  const backups = new MetadataBackups({
    ...{ clock, log, node, cluster: clusterId, zeus, medusa, peers, disks, changes },
    liveNodes: () => view.liveNodes(),
  })
  const checks = new ClusterChecks({ clock, chance, node, view, zeus, peers, survey })
  const management = new NodeManagement({
    platform: here,
    clusterId,
    node,
    version: thisRelease.version,
    view,
    leaving,
    zeus,
    metadata,
    peers,
    controller,
    router,
    extents,
    cache,
    admission,
    replicas,
    disks,
    missing,
    nbd,
    shares,
    nfs,
    refreshSpaces: () => spaces.refresh(),
    survey,
    checks,
    scrub,
    backups,
    vDisksToLookAt: () => curator.vDisksToLookAt,
    certificates: () => ({ peers: tls.peers?.expiresAt, nbd: tls.nbd?.expiresAt }),
  })

  // All that peers may ask for is there before they can.
  const peerAddress = await peers.listen(listen.peer)
  const nbdAddress = await nbd.listen(listen.nbd)
  await nbd.listen(`unix:${listen.nbdSocket}`)
  const nfsBound = listen.nfs === undefined ? undefined : await nfs.listen(listen.nfsEverywhere ?? listen.nfs)
  const nfsAddress = listen.nfsEverywhere === undefined ? nfsBound : listen.nfs
  const portMapper =
    nfsBound === undefined || listen.portMapper === undefined
      ? undefined
      : await nfs.announce(listen.portMapper)
  const addresses = {
    http: listen.http,
    peer: peerAddress,
    nbd: { address: nbdAddress, socket: listen.nbdSocket },
    ...(nfsAddress === undefined ? {} : { nfs: nfsAddress }),
  }

  const value = (): NodeValue => ({
    block,
    peer: peerAddress,
    http: addresses.http,
    nbd: addresses.nbd,
    ...(nfsAddress === undefined ? {} : { nfs: nfsAddress }),
    ...(portMapper === undefined ? {} : { portMapper }),
    disks: disks.map((disk) => ({
      id: disk.ref.disk,
      incarnation: disk.ref.incarnation,
      tier: disk.tier,
      capacityBytes: disk.space().capacityBytes,
      state: disk.state,
      ...(disk.reason === undefined ? {} : { reason: disk.reason }),
    })),
  })
  let closing = false
  const retirement = new Retirement({
    node,
    disks,
    leaving,
    view,
    removed: () => {
      if (closing) return
      closing = true
      log.warn('this node was removed from the cluster, and ends')
      void session.end().then(() => options.onRemoved?.())
    },
  })
  const session = new NodeSession({
    clock,
    log,
    zeus,
    node,
    incarnation,
    value: () => ({ ...value(), incarnation, startedAt }),
    prepare: async () => {
      const refusal = await whyNotToStart(zeus, node)
      if (refusal !== undefined) throw refusal
      await slow.begin()
      const before = missing.length === 0 ? undefined : (await zeus.get(`node/${node}`))?.value
      await zeus.set(`node/${node}`, withMissing(value(), missing, before as NodeValue | undefined))
    },
    refused: () => options.onRemoved?.(),
  })
  function diskChanged(disk: WatchedDisk, error: Error): void {
    if (disk.state !== 'online') controller.replicasLost((ref) => ref.disk === disk.ref.disk, error)
    gone.ownFailed()
    session.changed()
  }
  for (const disk of disks)
    disk.onFailed = (error) => {
      log.error(`disk ${disk.ref.disk} left service`, { reason: messageOf(error) })
      diskChanged(disk, error)
      void slow.failed(disk, messageOf(error))
    }
  const slow = new SlowDisks({
    clock,
    log,
    node,
    incarnation,
    disks,
    zeus,
    peers,
    liveNodes: () => view.liveNodes(),
    lives: (name, process) => view.lives(name, process),
    neededFor: (disk) => {
      const { sessions, containers } = view
      return neededDisk(disk, { sessions, containers, isAnyGone: gone.isAnyGone() })
    },
    changed: (disk) => diskChanged(disk, new Error(disk.reason ?? 'it is back in service')),
  })
  await session.open()
  await view.caughtUp()
  management.applySettings()
  begun = true
  retirement.look()
  await spaces.refresh()
  gone.begin()
  blocks.begin()
  curator.start()
  forsaken.start()
  scrub.start()
  backups.start()

  return {
    node,
    incarnation,
    addresses,
    management,
    router,
    controller,
    replicas,
    zeus,
    /** Ends in order: no new request, what is under way answered, vDisks sealed and given up. */
    async close(): Promise<void> {
      closing = true
      handOver.stop()
      memory.stop()
      curator.stop()
      forsaken.stop()
      gone.stop()
      slow.stop()
      scrub.stop()
      backups.stop()
      checks.close()
      checkWork.stop()
      await Promise.all([nbd.close(), nfs.close()])
      shares.close()
      await controller.close()
      await session.end()
      view.close()
      oplogs.close()
      await extents.close()
      await zeus.close()
      await medusa.close()
      await peers.close()
      for (const replica of replicas) await replica.close()
      for (const disk of disks) await disk.close()
    },
  }
}

const withoutLog = (node: NodeId, missing: readonly MissingDisk[]): NdfsError =>
  new NdfsError(
    'REFUSED',
    missing.length === 0
      ? `Cannot start ${node}: it has no flash disk, and the oplog lies on flash. Add one`
      : `Cannot start ${node}: no flash disk is left, and the oplog lies on flash. ${missing.map(({ reason }) => reason).join(' ')}`,
    { node },
  )

/** As it is configured: those that are missing are the disks that they were, and hold what they held. */
const withMissing = (
  value: NodeValue,
  missing: readonly MissingDisk[],
  before: NodeValue | undefined,
): NodeValue => ({
  ...value,
  disks: [
    ...value.disks,
    ...missing.flatMap(({ id, reason }) => {
      const known = before?.disks.find((disk) => disk.id === id)
      return known === undefined ? [] : [{ ...known, state: 'failed' as const, reason }]
    }),
  ],
})

/** What guests may have of the disks, where each byte is there so many times. */
function spaceOf(
  candidates: ReturnType<ExtentStore['candidates']>,
  copies: number,
): { readonly totalBytes: number; readonly freeBytes: number } {
  const live = candidates.filter((one) => one.live)
  const sum = (of: (one: (typeof live)[number]) => number): number =>
    Math.floor(live.reduce((total, one) => total + of(one), 0) / copies)
  return {
    totalBytes: sum(({ space }) => space.capacityBytes),
    freeBytes: sum(({ space }) => Math.max(0, space.guestFreeBytes)),
  }
}

/** That were in service, as the node's session showed them, and are not. */
const disksThatLeft = (before: SessionValue | undefined, now: SessionValue | undefined) =>
  now === undefined || before?.incarnation !== now.incarnation
    ? []
    : before.disks.filter(
        ({ id, state }) =>
          state === 'online' && now.disks.some((one) => one.id === id && one.state !== 'online'),
      )

export interface RunningNode {
  readonly management: NodeManagement
  readonly addresses: NodeAddresses
  /** Called when the node can't go on. */
  onFatal: (error: Error) => void
  close(): Promise<void>
}

/** A node by its configuration file, with its HTTP API. */
export async function runNode(config: NodeConfig, platform: Platform): Promise<RunningNode> {
  const key = await readClusterKey(platform.files, config.cluster.keyFile)
  const token = (await platform.files.readWhole(config.tokenFile))?.toString().trim()
  if (token === undefined || token === '')
    throw new NdfsError(
      'REFUSED',
      `Cannot start: ${config.tokenFile} holds no operator token. \`ndfs up\` writes it`,
      {},
    )
  const tls = {
    ...(config.tls && { peers: await TlsFiles.open(config.tls, 'peers', platform) }),
    ...(config.nbdTls && { nbd: await TlsFiles.open(config.nbdTls, 'NBD', platform) }),
  }
  const node = await startNode({
    platform,
    tls,
    onRemoved: () => running.onFatal(removedNode(config.node as NodeId)),
    clusterId: config.cluster.id,
    key,
    node: config.node as NodeId,
    block: config.block,
    stores: config.stores,
    listen: { ...config.listen, nbdSocket: config.nbdSocket },
    disks: config.disks,
    cacheBytes: config.cacheBytes,
    writeWaitMaxMs: config.writeWaitMaxMs,
    ...(config.oplogShare === undefined ? {} : { oplogShare: config.oplogShare }),
  })
  const api = await serveHttpApi({
    target: node.management,
    node: config.node,
    version: thisRelease.version,
    token,
    listen: config.listen.http,
    platform,
    admit: (request) =>
      admitMember(
        {
          platform,
          zeus: node.zeus,
          clusterId: config.cluster.id,
          secrets: { key: key.toString('hex'), token },
        },
        request,
      ),
  })
  const running: RunningNode = {
    management: node.management,
    addresses: { ...node.addresses, http: api.address },
    onFatal: () => undefined,
    async close() {
      await api.close()
      await node.close()
      for (const files of Object.values(tls)) files.close()
    },
  }
  return running
}
