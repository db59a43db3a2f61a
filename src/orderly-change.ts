/**
 * Drains of nodes and disks, and maintenance, as an operator asks for them: checked against what they would break, set in Zeus, and counted
 * (docs/vdisk-protocol.md, "Orderly change").
 *
 *  1. What is refused names the reason and what can be done; what is not refused is durable, and goes on by itself wherever it is
 *     interrupted.
 *  2. Asking for what is the case already changes nothing.
 *  3. Nothing is said to be done that was not counted: where a vDisk could not be surveyed, that is said.
 *
 * Not here: moving anything. Each owner moves its vDisks' copies and logs, each node gives up what it owns.
 */
import { hasCode, NdfsError } from './base/errors.ts'
import {
  type DiskId,
  type DiskRef,
  type Incarnation,
  isThatDisk,
  type NodeId,
  type VDiskId,
} from './base/ids.ts'
import { formatSize } from './base/units.ts'
import { type ClusterSurvey, isUnknown } from './cluster-survey.ts'
import { copiesAskedFor } from './cluster-survival.ts'
import { settingOf } from './leaving-disks.ts'
import type { Candidate } from './stargate/extent-store/extent-store.ts'
import type { Clock } from './platform/platform.ts'
import { roomForCopies } from './stargate/extent-store/placement.ts'
import { type HeldByDisk, SurveySum } from './stargate/vdisk-controller/vdisk-controller.ts'
import type { DiskSetting, NodeValue, SessionValue, SettingValue, VDiskNameValue, Zeus } from './zeus/zeus.ts'

export interface OrderlyChangeOptions {
  readonly clock: Clock
  readonly zeus: Zeus
  readonly survey: ClusterSurvey
  /** Disks of nodes that live, with their room. */
  readonly candidates: () => Promise<readonly Candidate[]>
}

export interface Forced {
  readonly force: boolean
}

/** What disks hold that are being left. */
export interface Held {
  readonly disks: readonly HeldByDisk[]
  /** vDisks that could not be surveyed: nobody knows whether they hold something there. */
  readonly unknown: readonly { readonly vdisk: VDiskId; readonly reason: string }[]
}

/** The cluster's configuration as Zeus has it at one time or another of the call. */
export interface Configuration {
  readonly nodes: ReadonlyMap<NodeId, NodeValue>
  readonly sessions: ReadonlyMap<NodeId, SessionValue>
  readonly settings: ReadonlyMap<NodeId, SettingValue>
  /** The most copies that a vDisk asks for. */
  readonly copiesMax: number
}

export class OrderlyChange {
  readonly #clock: Clock
  readonly #zeus: Zeus
  readonly #survey: ClusterSurvey
  readonly #candidates: () => Promise<readonly Candidate[]>

  constructor({ clock, zeus, survey, candidates }: OrderlyChangeOptions) {
    this.#clock = clock
    this.#zeus = zeus
    this.#survey = survey
    this.#candidates = candidates
  }

  /** From now on everything leaves the node. */
  drainNode(node: NodeId, { force }: Forced): Promise<void> {
    return this.#change(node, async (setting, cluster) => {
      if (setting.mode === 'draining') return undefined
      await this.#assertMayLeave(node, disksOfNode(cluster, node), cluster, force)
      const { repairWaitsUntil: _, ...rest } = setting
      return { ...rest, mode: 'draining' }
    })
  }

  /**
   * From now on the node owns nothing, and gets nothing new; for so long its absence is no reason to make anew what lies on it. Asked again
   * it is given that time anew.
   */
  maintainNode(node: NodeId, repairWaitsMs: number): Promise<void> {
    return this.#change(node, async (setting, cluster) => {
      await this.#assertMayRest(node, cluster)
      const repairWaitsUntil = Math.round(this.#clock.wallTime()) + repairWaitsMs
      return { ...setting, mode: 'maintenance', repairWaitsUntil }
    })
  }

  /** The node is one like all others again. */
  activateNode(node: NodeId): Promise<void> {
    return this.#change(node, async (setting) => {
      if (setting.mode === undefined) return undefined
      const { mode: _, repairWaitsUntil: __, ...rest } = setting
      return rest
    })
  }

  /** From now on everything leaves the disk. */
  async drainDisk(disk: string, { force }: Forced): Promise<void> {
    const node = await this.#nodeOf(disk)
    await this.#change(node, async (setting, cluster) => {
      const ref = refOf(cluster, node, disk)
      if (settingOf(setting, ref)?.mode === 'draining') return undefined
      const flash = disksOfNode(cluster, node, 'flash')
      const others = flash.filter((one) => one.disk !== ref.disk && settingOf(setting, one) === undefined)
      if (flash.some((one) => one.disk === ref.disk) && others.length === 0)
        throw new NdfsError(
          'REFUSED',
          `Cannot drain disk ${disk}: it is the last flash disk of ${node} that stays, and the oplog lies on flash. Drain the node: \`ndfs node drain ${node}\``,
          { disk, node },
        )
      await this.#assertMayLeave(disk, [ref], cluster, force)
      return withDisk(setting, { id: ref.disk, incarnation: ref.incarnation, mode: 'draining' })
    })
  }

  async activateDisk(disk: string): Promise<void> {
    const node = await this.#nodeOf(disk)
    await this.#change(node, async (setting, cluster) => {
      const ref = refOf(cluster, node, disk)
      if (settingOf(setting, ref) === undefined) return undefined
      return { ...setting, disks: setting.disks?.filter((one) => !isThatDisk(one, ref)) ?? [] }
    })
  }

  /** What is still on these disks, counted now. */
  async held(disks: readonly DiskRef[]): Promise<Held> {
    const zeus = this.#zeus
    const [picture, names, owners] = await Promise.all([
      this.#survey.picture(disks),
      zeus.list('vdisk/'),
      zeus.list('owner/'),
    ])
    // Also one whose name is gone, or not there yet, may hold something: whatever does had an owner once.
    const named = new Set<VDiskId>(names.map(({ value }) => (value as VDiskNameValue).id))
    const ids = new Set(named)
    for (const { key } of owners) ids.add(Number(key.slice('owner/'.length)) as VDiskId)
    const sum = new SurveySum()
    const unknown: { vdisk: VDiskId; reason: string }[] = []
    for (const [vdisk, surveyed] of await this.#survey.survey(picture, [...ids]))
      if (!isUnknown(surveyed)) sum.addSurvey(surveyed)
      else if (surveyed.isGone !== true || named.has(vdisk)) unknown.push({ vdisk, reason: surveyed.unknown })
    return { disks: sum.survey.held ?? [], unknown }
  }

  async configuration(): Promise<Configuration> {
    const zeus = this.#zeus
    const [nodes, sessions, settings, containers, names] = await Promise.all([
      zeus.list('node/'),
      zeus.list('session/'),
      zeus.list('setting/'),
      zeus.list('container/'),
      zeus.list('vdisk/'),
    ])
    const byNode = <T>(entries: readonly { key: string; value: unknown }[]): Map<NodeId, T> =>
      new Map(entries.map(({ key, value }) => [key.slice(key.indexOf('/') + 1) as NodeId, value as T]))
    return {
      nodes: byNode<NodeValue>(nodes),
      sessions: byNode<SessionValue>(sessions),
      settings: byNode<SettingValue>(settings),
      copiesMax: Math.max(0, ...copiesAskedFor(containers, names)),
    }
  }

  /** Tries again where somebody else sets something at the same time; `change` tells undefined where there is nothing to set. */
  async #change(
    node: NodeId,
    change: (setting: SettingValue, cluster: Configuration) => Promise<SettingValue | undefined>,
  ): Promise<void> {
    for (;;) {
      const before = await this.#zeus.get(`setting/${node}`)
      const cluster = await this.configuration()
      const setting = (before?.value ?? {}) as SettingValue
      if (!cluster.nodes.has(node))
        throw new NdfsError(
          'NOT_FOUND',
          `There is no node ${node}. \`ndfs node list\` shows those that are`,
          { node },
        )
      const now = await change(setting, cluster)
      if (now === undefined) return
      try {
        await this.#zeus.set(`setting/${node}`, now, before?.version ?? 0)
        return
      } catch (error) {
        if (!hasCode(error, 'CONFLICT')) throw error
      }
    }
  }

  async #nodeOf(disk: string): Promise<NodeId> {
    for (const { key, value } of await this.#zeus.list('node/'))
      if ((value as NodeValue).disks.some(({ id }) => id === disk)) return key.slice('node/'.length) as NodeId
    throw new NdfsError('NOT_FOUND', `There is no disk ${disk}. \`ndfs disk list\` shows those that are`, {
      disk,
    })
  }

  /** Refuses what would make writes wait, or something unreadable, while the node is away. */
  async #assertMayRest(node: NodeId, cluster: Configuration): Promise<void> {
    assertEnoughLogs(
      `put ${node} into maintenance`,
      stayingDisks(cluster, disksOfNode(cluster, node)),
      cluster,
    )
    const [picture, names] = await Promise.all([this.#survey.picture(), this.#zeus.list('vdisk/')])
    const without = { ...picture, live: picture.live.filter((disk) => disk.node !== node), failed: [] }
    const surveyed = await this.#survey.survey(
      without,
      names.map(({ value }) => (value as VDiskNameValue).id),
    )
    for (const { key, value } of names) {
      const vdisk = key.slice('vdisk/'.length)
      const found = surveyed.get((value as VDiskNameValue).id)!
      if (isUnknown(found))
        throw new NdfsError(
          'UNAVAILABLE',
          `Cannot put ${node} into maintenance now: it is not known what of ${vdisk} would be left (${found.unknown}). Ask again in a moment`,
          { vdisk },
        )
      if (found.bytes.unreadable > 0)
        throw new NdfsError(
          'REFUSED',
          `Cannot put ${node} into maintenance: without it ${formatSize(found.bytes.unreadable)} of ${vdisk} at most could not be read. Wait for repair, or drain it instead: \`ndfs node drain ${node}\``,
          { vdisk, bytes: found.bytes.unreadable },
        )
    }
  }

  /** Refuses what would make writes wait, what has no room elsewhere, and what only `force` may do. */
  async #assertMayLeave(
    what: string,
    leave: readonly DiskRef[],
    cluster: Configuration,
    force: boolean,
  ): Promise<void> {
    const before = stayingDisks(cluster, [])
    const after = stayingDisks(cluster, leave)
    assertEnoughLogs(`drain ${what}`, after, cluster)
    const [blocksBefore, blocksAfter] = [blocksOf(before), blocksOf(after)]
    if (!force && blocksAfter.length < Math.min(blocksBefore.length, cluster.copiesMax))
      throw new NdfsError(
        'REFUSED',
        `Cannot drain ${what}: copies lie in ${blocksBefore.length} blocks, and only ${blocksAfter.join(', ')} would be left: the loss of a block would not be survived any more. Add a node in another block first, or use --force`,
        { blocks: blocksAfter },
      )
    const candidates = await this.#candidates()
    const { disks: held } = await this.held(leave)
    const needBytes = leave.reduce((sum, disk) => {
      const used = candidates.find(({ ref }) => isSame(ref, disk))?.space.usedBytes ?? 0
      return sum + Math.min(used, held.find((one) => isSame(one.disk, disk))?.bytes ?? 0)
    }, 0)
    const roomBytes = candidates
      .filter(({ ref, live }) => live && after.some((disk) => isSame(disk, ref)))
      .reduce((sum, { space }) => sum + Math.max(0, roomForCopies(space)), 0)
    if (needBytes > roomBytes)
      throw new NdfsError(
        'REFUSED',
        `Cannot drain ${what}: it holds ${formatSize(needBytes)}, and other disks have room for ${formatSize(roomBytes)}. Delete vDisks or add disks first`,
        { needBytes, roomBytes },
      )
  }
}

/** Disks in service of nodes that live and stay, those left out that shall go as well. */
export function stayingDisks(
  { sessions, settings }: Configuration,
  leave: readonly DiskRef[],
): (DiskRef & { readonly block: string; readonly tier: 'flash' | 'hdd' })[] {
  return [...sessions].flatMap(([node, session]) => {
    const setting = settings.get(node)
    if (setting?.mode !== undefined) return []
    return session.disks.flatMap(({ id, incarnation, tier, state }) => {
      const ref = { node, disk: id as DiskId, incarnation: incarnation as Incarnation }
      const stays =
        state === 'online' &&
        settingOf(setting ?? {}, ref) === undefined &&
        !leave.some((one) => isSame(one, ref))
      return stays ? [{ ...ref, tier, block: setting?.block ?? session.block }] : []
    })
  })
}

/** Logs lie on as many nodes as there are copies. */
export function assertEnoughLogs(
  what: string,
  after: ReturnType<typeof stayingDisks>,
  { copiesMax }: Configuration,
): void {
  const logNodes = new Set(after.flatMap(({ node, tier }) => (tier === 'flash' ? [node] : [])))
  if (logNodes.size >= copiesMax && logNodes.size > 0) return
  throw new NdfsError(
    'REFUSED',
    `Cannot ${what}: ${logNodes.size === 0 ? 'no active node' : [...logNodes].sort().join(', ')} with flash would be left, and vDisks ask for ${copiesMax} copies: their writes would wait. Start nodes that are down, or add one`,
    { nodes: [...logNodes], copies: copiesMax },
  )
}

export function disksOfNode(cluster: Configuration, node: NodeId, tier?: 'flash' | 'hdd'): DiskRef[] {
  const disks = [...(cluster.sessions.get(node)?.disks ?? []), ...(cluster.nodes.get(node)?.disks ?? [])]
  const refs: DiskRef[] = []
  for (const { id, incarnation, tier: its } of disks) {
    const ref = { node, disk: id as DiskId, incarnation: incarnation as Incarnation }
    if ((tier === undefined || its === tier) && !refs.some((one) => isSame(one, ref))) refs.push(ref)
  }
  return refs
}

/** All that are being left, or in maintenance, or gone for good. */
export const leavingDisksOf = (cluster: Configuration): DiskRef[] =>
  [...cluster.settings].flatMap(([node, setting]) =>
    disksOfNode(cluster, node).filter(
      (disk) => setting.mode !== undefined || settingOf(setting, disk) !== undefined,
    ),
  )

function refOf(cluster: Configuration, node: NodeId, disk: string): DiskRef {
  const ref = disksOfNode(cluster, node).find((one) => one.disk === disk)
  if (ref !== undefined) return ref
  throw new NdfsError('NOT_FOUND', `${node} has no disk ${disk} any more`, { disk, node })
}

export const withDisk = (setting: SettingValue, disk: DiskSetting): SettingValue => ({
  ...setting,
  disks: [
    ...(setting.disks?.filter((one) => one.id !== disk.id || one.incarnation !== disk.incarnation) ?? []),
    disk,
  ],
})

const blocksOf = (disks: readonly { readonly block: string }[]): string[] =>
  [...new Set(disks.map(({ block }) => block))].sort()

const isSame = (a: DiskRef, b: DiskRef): boolean =>
  a.node === b.node && a.disk === b.disk && a.incarnation === b.incarnation
