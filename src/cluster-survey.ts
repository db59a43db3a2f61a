/**
 * Surveys of all vDisks by all nodes: what status and metrics say of what the cluster survives (docs/decisions/0005).
 *
 *  1. One picture of the cluster, read from Zeus at the question, is what all nodes weigh by.
 *  2. Each vDisk is surveyed by its owner, who knows what its log holds; one that has none by the node that its number points at. What
 *     a node that should doesn't answer for, the one that was asked surveys from the rows.
 *  3. Every vDisk asked for is in the answer, or is said to be unknown, with the reason.
 */
import { atOnce } from './base/at-once.ts'
import { decodeControl, encodeControl } from './base/control.ts'
import { messageOf, NdfsError } from './base/errors.ts'
import type { DiskId, DiskRef, Incarnation, NodeId, VDiskId } from './base/ids.ts'
import type { ClusterView } from './cluster-view.ts'
import type { Peers } from './peer/peer.ts'
import type { Clock } from './platform/platform.ts'
import type { CopySurvey, DiskPicture } from './stargate/vdisk-controller/vdisk-controller.ts'
import type { VDiskHost } from './stargate/vdisk-controller/vdisk-host.ts'
import { questionOf, type SurveyQuestion } from './stargate/vdisk-controller/vdisk-survey.ts'
import type { SessionValue, SettingValue, Zeus } from './zeus/zeus.ts'

export interface ClusterSurveyOptions {
  readonly clock: Clock
  readonly node: NodeId
  readonly view: ClusterView
  readonly zeus: Zeus
  readonly peers: Peers
  readonly controller: VDiskHost
}

/** A vDisk's survey, or why there is none. */
export type Surveyed =
  | CopySurvey
  | {
      readonly unknown: string
      /** There is no such vDisk. */
      readonly isGone?: boolean
    }

export interface ClusterPicture extends DiskPicture {
  /** Nodes that live. */
  readonly nodes: readonly NodeId[]
  /** Of them, those that may hold logs. */
  readonly flashNodes: readonly NodeId[]
}

interface Question {
  readonly picture: DiskPicture
  readonly vdisks: readonly VDiskId[]
}
type Answer = readonly (readonly [VDiskId, Surveyed])[]

/** What a node may take for its part. A status that takes longer than the next node's patience is none. */
const surveyMs = 1500
const askTimeoutMs = 2000
const surveysAtOnce = 8

export class ClusterSurvey {
  readonly #options: ClusterSurveyOptions

  constructor(options: ClusterSurveyOptions) {
    this.#options = options
    options.peers.handle('management.survey', 'forward', async (request) => {
      const { picture, vdisks } = decodeControl<Question>(request.body)
      return [encodeControl(await this.#surveyHere(picture, vdisks))]
    })
  }

  /** As Zeus has it now; surveys tell what these disks hold, too. */
  async picture(asked: readonly DiskRef[] = []): Promise<ClusterPicture> {
    const { zeus } = this.#options
    const [sessions, settings] = await Promise.all([zeus.list('session/'), zeus.list('setting/')])
    const live: (DiskRef & { block: string })[] = []
    const failed: DiskRef[] = []
    const nodes: NodeId[] = []
    const flashNodes: NodeId[] = []
    for (const { key, value } of sessions) {
      const node = key.slice('session/'.length) as NodeId
      const session = value as SessionValue
      const setting = settings.find((one) => one.key === `setting/${node}`)?.value as SettingValue | undefined
      nodes.push(node)
      if (session.disks.some(({ tier, state }) => tier === 'flash' && state === 'online'))
        flashNodes.push(node)
      for (const { id, incarnation, state } of session.disks) {
        const own = setting?.disks?.find((one) => one.id === id && one.incarnation === incarnation)
        if (setting?.mode === 'removed' || own?.mode === 'removed') continue
        const ref = { node, disk: id as DiskId, incarnation: incarnation as Incarnation }
        if (state === 'online') live.push({ ...ref, block: setting?.block ?? session.block })
        else failed.push(ref)
      }
    }
    return { live, failed, nodes, flashNodes, asked }
  }

  /** Of all these vDisks. */
  async survey(picture: ClusterPicture, vdisks: readonly VDiskId[]): Promise<ReadonlyMap<VDiskId, Surveyed>> {
    const surveyed = new Map<VDiskId, Surveyed>()
    await Promise.all(
      [...this.partsOf(picture.nodes, vdisks)].map(async ([node, part]) => {
        for (const [vdisk, answer] of await this.#ask(node, picture, part)) surveyed.set(vdisk, answer)
      }),
    )
    for (const vdisk of vdisks)
      if (!surveyed.has(vdisk)) surveyed.set(vdisk, { unknown: 'it was left out of the answer' })
    return surveyed
  }

  /** Of those that this node surveys for everybody: all nodes' parts together are all vDisks. */
  async surveyOwnPart(
    picture: ClusterPicture,
    vdisks: readonly VDiskId[],
  ): Promise<ReadonlyMap<VDiskId, Surveyed>> {
    const own = this.partsOf(picture.nodes, vdisks).get(this.#options.node) ?? []
    return new Map(await this.#surveyHere(picture, own))
  }

  /** Which node looks at which vDisks, of these nodes. */
  partsOf(nodes: readonly NodeId[], vdisks: readonly VDiskId[]): Map<NodeId, VDiskId[]> {
    const { view, node: here } = this.#options
    const parts = new Map<NodeId, VDiskId[]>()
    for (const vdisk of vdisks) {
      const owner = view.owner(vdisk)
      const isOwned = owner !== undefined && owner.released !== true && nodes.includes(owner.node)
      const node = isOwned ? owner.node : (nodes[vdisk % nodes.length] ?? here)
      const part = parts.get(node)
      if (part === undefined) parts.set(node, [vdisk])
      else part.push(vdisk)
    }
    return parts
  }

  async #ask(node: NodeId, picture: DiskPicture, vdisks: readonly VDiskId[]): Promise<Answer> {
    const { peers, node: here } = this.#options
    if (node === here) return this.#surveyHere(picture, vdisks)
    const { live, failed, asked = [] } = picture
    const question: Question = { picture: { live, failed, asked }, vdisks }
    try {
      const body = [encodeControl(question)]
      return decodeControl<Answer>(
        await peers.call(node, 'management.survey', body, { lane: 'forward', timeoutMs: askTimeoutMs }),
      )
    } catch (error) {
      if (!(error instanceof NdfsError)) throw error
      return this.#surveyHere(picture, vdisks)
    }
  }

  async #surveyHere(picture: DiskPicture, vdisks: readonly VDiskId[]): Promise<Answer> {
    const { clock, node } = this.#options
    const answer: (readonly [VDiskId, Surveyed])[] = []
    const question = questionOf(picture)
    const late = { unknown: `${node} has not read all of its index of groups yet; ask again` }
    let isLate = false
    const { promise: lateness, resolve: beLate } = Promise.withResolvers<typeof late>()
    const timer = clock.after(surveyMs, () => {
      isLate = true
      beLate(late)
    })
    await atOnce(vdisks, surveysAtOnce, async (vdisk) => {
      answer.push([vdisk, isLate ? late : await Promise.race([this.#surveyOne(vdisk, question), lateness])])
    })
    timer.cancel()
    return answer
  }

  async #surveyOne(vdisk: VDiskId, question: SurveyQuestion): Promise<Surveyed> {
    try {
      return await this.#options.controller.survey(vdisk, question)
    } catch (error) {
      if (!(error instanceof NdfsError)) throw error
      return { unknown: messageOf(error), ...(error.code === 'NOT_FOUND' ? { isGone: true } : {}) }
    }
  }
}

export const isUnknown = (surveyed: Surveyed): surveyed is Exclude<Surveyed, CopySurvey> =>
  'unknown' in surveyed
