/**
 * Checks of the whole cluster, `ndfs check`: every node checks a part, and the node that was asked leads them and sums up.
 *
 *  1. One picture of the cluster, read from Zeus at the beginning, is what all nodes check by.
 *  2. Each vDisk is checked by its owner, who knows what is on its way; one that has none by the node that its number points at. Each node
 *     looks through the files on its own disks besides. Copies are read where they lie. A container's files and directories are checked by
 *     the node that the number of its root points at.
 *  3. Nothing is left out in silence: a node that dies, or doesn't answer, leaves its part unfinished, and that is said.
 *  4. A check changes nothing, but that with `repair` wrong copies are given to their owners.
 *
 * What came of a check is kept by the node that led it, until that leads another one or ends.
 */
import { encodeControl, decodeControl } from './base/control.ts'
import { hasCode, messageOf, NdfsError } from './base/errors.ts'
import type { NodeId, VDiskId } from './base/ids.ts'
import type { CheckOrder, CheckReport } from './check-work.ts'
import type { ClusterPicture, ClusterSurvey } from './cluster-survey.ts'
import type { ClusterView } from './cluster-view.ts'
import {
  type CheckInfo,
  checkInfoOf,
  findingsMax,
  leftOverToldMax,
  type NewCheck,
  type WrongKind,
} from './management/check.ts'
import type { Peers } from './peer/peer.ts'
import type { Chance, Clock } from './platform/platform.ts'
import type { InodeId } from './stargate/namespace/namespace.ts'
import type { ContainerValue, VDiskNameValue, Zeus } from './zeus/zeus.ts'

export interface ClusterCheckOptions {
  readonly clock: Clock
  readonly chance: Chance
  readonly node: NodeId
  readonly view: ClusterView
  readonly zeus: Zeus
  readonly peers: Peers
  readonly survey: ClusterSurvey
}

const lookEveryMs = 500
const askTimeoutMs = 5000
/** A node that has a session and doesn't answer for so long leaves its part unfinished. */
const silentMsMax = 30_000

export class ClusterChecks {
  readonly #options: ClusterCheckOptions
  #check: Check | undefined

  constructor(options: ClusterCheckOptions) {
    this.#options = options
  }

  /** IN_USE where one is under way here. */
  async begin({ repair = false }: NewCheck): Promise<CheckInfo> {
    const { chance, survey, zeus } = this.#options
    const running = this.#check?.show()
    if (running?.state === 'running')
      throw new NdfsError(
        'IN_USE',
        `Cannot begin a check: ${running.id} is under way on this node, ${running.summary}. Wait for it, or stop it`,
        { check: running.id },
      )
    const id = chance.bytes(6).toString('hex')
    const check = new Check(this.#options, id, repair)
    this.#check = check
    try {
      const [picture, names, containers] = await Promise.all([
        survey.picture(),
        zeus.list('vdisk/'),
        zeus.list('container/'),
      ])
      const vdisks = names.map(({ key, value }) => ({
        id: (value as VDiskNameValue).id,
        name: key.slice('vdisk/'.length),
      }))
      const withFiles = containers.flatMap(({ key, value }) => {
        const { root, deleting } = value as ContainerValue
        return root === undefined || deleting
          ? []
          : [{ name: key.slice('container/'.length), root: root as InodeId }]
      })
      void check.run(picture, vdisks, withFiles)
    } catch (error) {
      this.#check = undefined
      throw error
    }
    return check.show()
  }

  show(id: string): CheckInfo {
    return this.#checkOf(id).show()
  }

  stop(id: string): void {
    this.#checkOf(id).stop()
  }

  /** Nothing is waited for any more. */
  close(): void {
    this.#check?.stop()
  }

  #checkOf(id: string): Check {
    if (this.#check?.id === id) return this.#check
    const { node } = this.#options
    throw new NdfsError(
      'NOT_FOUND',
      `There is no check ${id} on ${node}: the node that led it knows of it, until it ends or leads another. Begin a new one with \`ndfs check\``,
      { check: id },
    )
  }
}

interface Named {
  readonly id: VDiskId
  readonly name: string
}

/** What a node has told last. */
interface PartSeen {
  report: CheckReport | undefined
  readonly findings: CheckReport['findings'][number][]
}

class Check {
  readonly id: string
  readonly #options: ClusterCheckOptions
  readonly #repair: boolean
  readonly #startedAt: number
  readonly #parts = new Map<NodeId, PartSeen>()
  readonly #unfinished: string[] = []
  #vdisks = 0
  #endedAt: number | undefined
  #stopped = false

  constructor(options: ClusterCheckOptions, id: string, repair: boolean) {
    this.id = id
    this.#options = options
    this.#repair = repair
    this.#startedAt = Math.round(options.clock.wallTime())
  }

  async run(
    picture: ClusterPicture,
    vdisks: readonly Named[],
    containers: CheckOrder['containers'],
  ): Promise<void> {
    const { survey, clock } = this.#options
    this.#vdisks = vdisks.length
    const ids = vdisks.map(({ id }) => id)
    const given = survey.partsOf(picture.nodes, ids)
    for (const node of picture.nodes) this.#parts.set(node, { report: undefined, findings: [] })
    await Promise.all(
      picture.nodes.map((node, i) => {
        const mine = new Set(given.get(node))
        return this.#runPart(node, {
          id: this.id,
          vdisks: vdisks.filter(({ id }) => mine.has(id)),
          containers: containers.filter(({ root }) => root % picture.nodes.length === i),
          picture: { live: picture.live, failed: picture.failed },
          repair: this.#repair,
        })
      }),
    )
    this.#endedAt = Math.round(clock.wallTime())
  }

  stop(): void {
    this.#stopped = true
  }

  show(): CheckInfo {
    const { node } = this.#options
    const reports = [...this.#parts.values()].flatMap(({ report }) => report ?? [])
    const sum = (of: (report: CheckReport) => number): number =>
      reports.reduce((total, report) => total + of(report), 0)
    // A part of which nothing was heard yet has groups as well.
    const isCounted =
      reports.length === this.#parts.size && reports.every(({ groups }) => groups.total !== undefined)
    const counts: Partial<Record<WrongKind, number>> = {}
    for (const { counts: more } of reports)
      for (const [kind, count] of Object.entries(more) as [WrongKind, number][])
        counts[kind] = (counts[kind] ?? 0) + count
    return checkInfoOf({
      id: this.id,
      node,
      repair: this.#repair,
      startedAt: this.#startedAt,
      ...(this.#endedAt === undefined ? {} : { endedAt: this.#endedAt }),
      vdisks: { total: this.#vdisks, checked: sum(({ vdisks }) => vdisks) },
      groups: {
        checked: sum(({ groups }) => groups.checked),
        ...(isCounted ? { total: sum(({ groups }) => groups.total ?? 0) } : {}),
      },
      copies: sum(({ copies }) => copies),
      bytes: sum(({ bytes }) => bytes),
      files: {
        files: sum(({ files }) => files.files),
        directories: sum(({ files }) => files.directories),
        bytes: sum(({ files }) => files.bytes),
      },
      leftOver: {
        entries: sum(({ leftOver }) => leftOver.entries),
        vdisks: sum(({ leftOver }) => leftOver.vdisks),
        told: reports.flatMap(({ leftOver }) => leftOver.told).slice(0, leftOverToldMax),
      },
      repaired: sum(({ repaired }) => repaired),
      counts,
      findings: [...this.#parts.values()].flatMap(({ findings }) => findings).slice(0, findingsMax),
      unfinished: [...reports.flatMap(({ unfinished }) => unfinished), ...this.#unfinished],
      stopped: this.#stopped,
    })
  }

  async #runPart(node: NodeId, order: CheckOrder): Promise<void> {
    const { peers, clock, view } = this.#options
    const { vdisks, containers } = order
    const process = view.sessions.get(node)?.incarnation
    const part = this.#parts.get(node)!
    let heardAt = clock.now()
    let begun = false
    while (!this.#stopped) {
      try {
        if (begun) {
          await this.#look(node, part)
          if (part.report?.done === true) break
        } else {
          await peers.call(node, 'check.begin', [encodeControl(order)], { timeoutMs: askTimeoutMs })
          begun = true
        }
        heardAt = clock.now()
      } catch (error) {
        if (!(error instanceof NdfsError)) throw error
        const isOver = hasCode(error, 'NOT_FOUND') || view.sessions.get(node)?.incarnation !== process
        if (isOver || clock.now() - heardAt > silentMsMax) {
          const why = isOver ? `${node} ended while it checked` : messageOf(error)
          this.#unfinished.push(
            `${node} did not finish its part, ${vdisks.length} vDisks, the files of ${containers.length} containers and those on its disks: ${why}`,
          )
          break
        }
      }
      await clock.sleep(lookEveryMs)
    }
    // It ends by itself where it doesn't hear of this.
    const end = [encodeControl({ id: this.id })]
    peers.call(node, 'check.end', end, { timeoutMs: askTimeoutMs }).catch(() => undefined)
  }

  async #look(node: NodeId, part: PartSeen): Promise<void> {
    const from = part.findings.length
    const body = [encodeControl({ id: this.id, from })]
    const answer = await this.#options.peers.call(node, 'check.look', body, { timeoutMs: askTimeoutMs })
    const report = decodeControl<CheckReport>(answer)
    part.report = report
    part.findings.push(...report.findings)
  }
}
