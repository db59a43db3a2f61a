/**
 * The cluster's format (base/formats.ts), and who can serve it: the key `format` in Zeus.
 *
 *   start of a node   announces its release, and is refused where that does not serve the format   [ClusterFormat.join]
 *   upgrade finish    raises the format to the newest that all nodes' releases serve               [finishUpgrade]
 *
 * No node serves under a format that is not in its range. Both are conditional changes of the one key, so they have an order, and:
 *
 *  - *start before finish*: finish sees what was announced, and does not raise the format beyond it;
 *  - *finish before start*: what the start has changed is the raised format, and it is refused by that;
 *  - *at once*: one of the two meets CONFLICT, and begins anew.
 *
 * A start changes the key also where it announces what is there already: a read alone may come from a server of ZooKeeper that is cut off, and
 * show the format of before. What is announced is true until the node's next process announces, which can't be before this one has ended: it holds
 * the lock of its folder. Nodes that are down count as they were started last, and removed ones no more: nothing starts those again.
 *
 * Decided in docs/decisions/0021.
 */
import { assert } from './base/assert.ts'
import { hasCode, messageOf, NdfsError } from './base/errors.ts'
import { otherFormat, type Release, releaseText, servesFormat } from './base/formats.ts'
import type { NodeId } from './base/ids.ts'
import type { Clock, Log } from './platform/platform.ts'
import type { FormatValue, SettingValue, Zeus } from './zeus/zeus.ts'

export const formatKey = 'format'
/** Of clusters that were made before there was the key. */
export const firstFormat = 1
/** Between attempts to reach Zeus. */
const retryMs = 500

export interface JoinFormatOptions {
  readonly zeus: Zeus
  readonly node: NodeId
  readonly release: Release
  readonly clock: Clock
  readonly log: Log
}

/** What a running node knows of the format. Code that writes differently from a format on asks `now` for each thing that it writes. */
export class ClusterFormat {
  readonly #release: Release
  #now: number

  private constructor(release: Release, now: number) {
    this.#release = release
    this.#now = now
  }

  /** Resolves when the node may serve, however long Zeus can't be reached. REFUSED, as `otherFormat`, where its release is too old or too new. */
  static async join(options: JoinFormatOptions): Promise<ClusterFormat> {
    const { node, release, clock, log } = options
    for (;;)
      try {
        const format = await announce(options)
        if (!servesFormat(release, format)) throw otherFormat(`start ${node}`, release, format)
        return new ClusterFormat(release, format)
      } catch (error) {
        if (!hasCode(error, 'PEER_UNREACHABLE', 'TIMED_OUT', 'UNAVAILABLE')) throw error
        log.warn('Zeus cannot be reached yet', { reason: messageOf(error) })
        await clock.sleep(retryMs)
      }
  }

  get now(): number {
    return this.#now
  }

  /** What the key holds now; news may come late, and tell of older values than this node has seen. */
  heard({ format }: FormatValue): void {
    if (format <= this.#now) return
    assert(servesFormat(this.#release, format), 'the format was raised beyond what this node had announced')
    this.#now = format
  }
}

/** Resolves to the format of the moment in which the node's release stands beside it. */
async function announce({ zeus, node, release }: JoinFormatOptions): Promise<number> {
  for (;;) {
    const found = await zeus.get(formatKey)
    const before = (found?.value as FormatValue | undefined) ?? (await formatWithoutKey(zeus, release))
    // What a newer release keeps there besides stays.
    const value: FormatValue = { ...before, nodes: { ...before.nodes, [node]: release } }
    try {
      await zeus.set(formatKey, value, found?.version ?? 0)
      return value.format
    } catch (error) {
      if (!hasCode(error, 'CONFLICT')) throw error
    }
  }
}

/** A cluster whose first node this is begins with the newest. */
async function formatWithoutKey(zeus: Zeus, { newest }: Release): Promise<FormatValue> {
  const isNew = (await zeus.list('node/')).length === 0
  return { format: isNew ? newest : firstFormat, nodes: {} }
}

/** The key as it is now. */
export async function readFormat(zeus: Zeus): Promise<FormatValue> {
  const value = (await zeus.get(formatKey))?.value as FormatValue | undefined
  return value ?? { format: firstFormat, nodes: {} }
}

/** A node of the cluster; without a release, where none was ever announced. */
export interface Member {
  readonly node: string
  readonly release?: Release
}

export interface UpgradeState {
  readonly format: number
  readonly members: readonly Member[]
}

/** What finish would do: raise the format, or leave it where all have it as their newest; else why not, and because of which nodes. */
export type FinishPlan =
  { readonly to: number } | { readonly refusal: string; readonly nodes: readonly string[] }

export function planOfFinish({ format, members }: UpgradeState): FinishPlan {
  const refused = (nodes: readonly Member[], why: string): FinishPlan => ({
    refusal: `${nodes.map(({ node, release }) => (release ? `${node} is of ${releaseText(release)}` : node)).join('; ')}: ${why}`,
    nodes: nodes.map(({ node }) => node),
  })
  const unknown = members.filter(({ release }) => release === undefined)
  if (unknown.length > 0)
    return refused(unknown, 'not known which formats are served there. Start what is there with this release')
  const releases = members.flatMap(({ release }) => release ?? [])
  const to = Math.min(...releases.map(({ newest }) => newest))
  const newest = Math.max(...releases.map((release) => release.newest))
  const those = (hold: (release: Release) => boolean): readonly Member[] =>
    members.filter(({ release }) => release !== undefined && hold(release))
  if (to < format || (to === format && newest > format))
    return refused(
      those((release) => release.newest === to),
      `no newer format than ${to} is served there. Install the newer release, and start it; what is gone for good is to be removed`,
    )
  const tooNew = those((release) => release.oldest > to)
  if (tooNew.length > 0)
    return refused(tooNew, `format ${to} is the newest that all others serve. Install an older release there`)
  return { to }
}

export async function upgradeState(zeus: Zeus): Promise<UpgradeState> {
  return (await read(zeus)).state
}

/** Resolves to the format that the cluster has then. REFUSED where a node does not serve a newer one; facts `nodes`. */
export async function finishUpgrade(zeus: Zeus): Promise<number> {
  for (;;) {
    const { state, value, version } = await read(zeus)
    const plan = planOfFinish(state)
    if ('refusal' in plan)
      throw new NdfsError('REFUSED', `Cannot finish the upgrade. ${plan.refusal}.`, { nodes: plan.nodes })
    if (plan.to === state.format) return state.format
    assert(plan.to > state.format, 'a format that falls')
    const members = new Set(state.members.map(({ node }) => node))
    const nodes = Object.fromEntries(Object.entries(value.nodes).filter(([node]) => members.has(node)))
    try {
      await zeus.set(formatKey, { ...value, format: plan.to, nodes }, version)
      return plan.to
    } catch (error) {
      if (!hasCode(error, 'CONFLICT')) throw error
    }
  }
}

/** The key first: who is a member is read after it, and whoever announces from then on changes the key. */
async function read(zeus: Zeus) {
  const found = await zeus.get(formatKey)
  const value = (found?.value as FormatValue | undefined) ?? { format: firstFormat, nodes: {} }
  const [nodes, settings] = await Promise.all([zeus.list('node/'), zeus.list('setting/')])
  const there = nodes.map(({ key }) => key.slice('node/'.length))
  const isRemoved = (node: string): boolean =>
    !there.includes(node) &&
    (settings.find(({ key }) => key === `setting/${node}`)?.value as SettingValue | undefined)?.mode ===
      'removed'
  const names = new Set([...there, ...Object.keys(value.nodes).filter((node) => !isRemoved(node))])
  const members = [...names].sort().map((node): Member => {
    const release = value.nodes[node]
    return release === undefined ? { node } : { node, release }
  })
  return {
    state: { format: value.format, members } satisfies UpgradeState,
    value,
    version: found?.version ?? 0,
  }
}
