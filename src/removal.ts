/**
 * Nodes and disks go out of the cluster for good: counted, told, counted again, forgotten (docs/vdisk-protocol.md, "Orderly change").
 *
 *   drained, or gone ──nothing depends on it──▶ removed ──it has left service, and still nothing does──▶ out of the configuration
 *
 * Between the two counts nobody places anything there any more, and what was on its way has failed. Whatever interrupts it, the same
 * request goes on with it; and the mode stays as a tombstone: what comes back is refused.
 */
import { hasCode, NdfsError } from './base/errors.ts'
import { type DiskRef, isThatDisk, type NodeId } from './base/ids.ts'
import { formatSize } from './base/units.ts'
import { settingOf } from './leaving-disks.ts'
import { disksOfNode, type OrderlyChange, withDisk } from './orderly-change.ts'
import type { Clock } from './platform/platform.ts'
import type { NodeValue, Owner, SessionValue, SettingValue, Zeus } from './zeus/zeus.ts'

export interface RemovalContext {
  readonly clock: Clock
  readonly zeus: Zeus
  readonly orderly: OrderlyChange
}

/** A process that hears of it takes its disks out of service at once. */
const heardWithinMs = 5000
const lookEveryMs = 100

export class Removal {
  readonly #context: RemovalContext

  constructor(context: RemovalContext) {
    this.#context = context
  }

  /** Resolves where it is removed already. REFUSED where something depends on it, UNAVAILABLE where it goes on with the next request. */
  async removeNode(node: NodeId): Promise<void> {
    const { zeus, orderly } = this.#context
    const before = await zeus.get(`setting/${node}`)
    const setting = (before?.value ?? {}) as SettingValue
    const cluster = await orderly.configuration()
    if (!cluster.nodes.has(node)) {
      if (setting.mode === 'removed') return
      throw new NdfsError('NOT_FOUND', `There is no node ${node}. \`ndfs node list\` shows those that are`, {
        node,
      })
    }
    const disks = disksOfNode(cluster, node)
    if (setting.mode !== 'removed') {
      if (cluster.sessions.has(node) && setting.mode !== 'draining')
        throw new NdfsError(
          'REFUSED',
          `Cannot remove ${node}: it is in use. Drain it first: \`ndfs node drain ${node} --watch\``,
          { node },
        )
      await this.#assertOwnsNothing(node, cluster.sessions.get(node))
      await this.#assertNothingOn(node, disks)
      const { repairWaitsUntil: _, ...rest } = setting
      await this.#set(node, { ...rest, mode: 'removed' }, before?.version ?? 0)
    }
    await this.#outOfService(node, disks)
    await this.#assertNothingCame(node, disks)
    await zeus.delete(`node/${node}`)
  }

  async removeDisk(disk: string): Promise<void> {
    const { zeus, orderly } = this.#context
    const node = await this.#nodeOf(disk)
    const before = await zeus.get(`setting/${node}`)
    const setting = (before?.value ?? {}) as SettingValue
    const cluster = await orderly.configuration()
    const ref = disksOfNode(cluster, node).find((one) => one.disk === disk)
    if (ref === undefined) throw noSuchDisk(disk)
    const mode = settingOf(setting, ref)?.mode
    if (mode !== 'removed') {
      const isOnline = cluster.sessions
        .get(node)
        ?.disks.some((one) => isThatDisk(one, ref) && one.state !== 'failed')
      if (isOnline === true && mode !== 'draining' && setting.mode !== 'draining')
        throw new NdfsError(
          'REFUSED',
          `Cannot remove disk ${disk}: it is in use. Drain it first: \`ndfs disk drain ${disk} --watch\``,
          { disk, node },
        )
      await this.#assertNothingOn(`disk ${disk}`, [ref])
      const now = withDisk(setting, { id: ref.disk, incarnation: ref.incarnation, mode: 'removed' })
      await this.#set(node, now, before?.version ?? 0)
    }
    await this.#outOfService(node, [ref])
    await this.#assertNothingCame(`disk ${disk}`, [ref])
  }

  /** On condition that nobody has set anything since it was counted. */
  async #set(node: NodeId, now: SettingValue, version: number): Promise<void> {
    try {
      await this.#context.zeus.set(`setting/${node}`, now, version)
    } catch (error) {
      if (!hasCode(error, 'CONFLICT')) throw error
      throw new NdfsError(
        'UNAVAILABLE',
        `Cannot remove anything of ${node} now: somebody has set something for it meanwhile. Look at \`ndfs status\`, and ask again`,
        { node },
        { cause: error },
      )
    }
  }

  async #assertOwnsNothing(node: NodeId, session: SessionValue | undefined): Promise<void> {
    const owned = (await this.#context.zeus.list('owner/')).filter(({ value }) => {
      const owner = value as Owner
      return owner.node === node && owner.released !== true && owner.incarnation === session?.incarnation
    })
    if (owned.length > 0)
      throw new NdfsError(
        'REFUSED',
        `Cannot remove ${node}: it owns ${owned.length} vDisks still. \`ndfs node drain ${node} --watch\` waits until it is drained`,
        { vdisks: owned.length },
      )
  }

  async #assertNothingOn(what: string, disks: readonly DiskRef[]): Promise<void> {
    const found = await this.#found(disks)
    if (found === undefined) return
    throw new NdfsError(
      'REFUSED',
      `Cannot remove ${what}: ${found.what} there. Wait until that is elsewhere; \`ndfs status\` shows how far it is`,
      found.facts,
    )
  }

  async #assertNothingCame(what: string, disks: readonly DiskRef[]): Promise<void> {
    const found = await this.#found(disks)
    if (found === undefined) return
    throw new NdfsError(
      'UNAVAILABLE',
      `${what} is out of service, and not removed yet: ${found.what} there, placed by a node that had not heard of it. It is made anew elsewhere; ask again in a moment`,
      found.facts,
    )
  }

  async #found(disks: readonly DiskRef[]) {
    const { disks: held, unknown } = await this.#context.orderly.held(disks)
    const sum = (of: 'groups' | 'bytes' | 'logs'): number => held.reduce((total, one) => total + one[of], 0)
    const [groups, logs] = [sum('groups'), sum('logs')]
    const parts = [
      ...(groups > 0 ? [`${groups} extent groups (at most ${formatSize(sum('bytes'))}) have copies`] : []),
      ...(logs > 0 ? [`${logs} vDisks have their log`] : []),
      ...(unknown.length > 0
        ? [`it is not known what ${unknown.length} vDisks have (${unknown[0].reason})`]
        : []),
    ]
    if (parts.length === 0) return undefined
    return { what: parts.join(', and '), facts: { groups, logs, unknown: unknown.length } }
  }

  /** Resolves when their process shows them out of service, or there is none. */
  async #outOfService(node: NodeId, disks: readonly DiskRef[]): Promise<void> {
    const { clock, zeus } = this.#context
    const giveUpAt = clock.now() + heardWithinMs
    for (;;) {
      const session = (await zeus.get(`session/${node}`))?.value as SessionValue | undefined
      const isOnline = session?.disks.some(
        (one) => one.state !== 'failed' && disks.some((disk) => isThatDisk(one, disk)),
      )
      if (isOnline !== true) return
      if (clock.now() >= giveUpAt)
        throw new NdfsError(
          'UNAVAILABLE',
          `${node} has not heard yet that it is to leave, and is not removed. Ask again in a moment; if it hangs, stop its process`,
          { node },
        )
      await clock.sleep(lookEveryMs)
    }
  }

  async #nodeOf(disk: string): Promise<NodeId> {
    for (const { key, value } of await this.#context.zeus.list('node/'))
      if ((value as NodeValue).disks.some(({ id }) => id === disk)) return key.slice('node/'.length) as NodeId
    throw noSuchDisk(disk)
  }
}

const noSuchDisk = (disk: string): NdfsError =>
  new NdfsError('NOT_FOUND', `There is no disk ${disk}. \`ndfs disk list\` shows those that are`, { disk })
