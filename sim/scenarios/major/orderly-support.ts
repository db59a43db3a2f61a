/** A stage for scenarios of orderly change: some groups at rest, an open log, and operators' questions. */
import assert from 'node:assert/strict'
import type { DiskRef, NodeId } from '../../../src/base/ids.ts'
import type { ClusterStatus, Leaving } from '../../../src/management/management.ts'
import type { NodeManagement } from '../../../src/node-management.ts'
import { decodePlannedCopies, leftBehindRowKey } from '../../../src/stargate/vdisk-controller/rows.ts'
import { findOnDisks, owners } from '../../drained.ts'
import { quickPace, Scene, type SceneOptions } from './support.ts'

export const groups = 6
export const sectorsOfGroup = 128
const patienceLooks = 120

export const orderlyPace = { ...quickPace, scrubEveryMs: 14 * 86_400_000 }

/** But for clocks: in this world each node's is wrong. */
export const problemsOf = ({ problems }: ClusterStatus): readonly string[] =>
  problems.filter((problem) => !problem.startsWith('the clock of '))

export interface Staged {
  readonly scene: Scene
  readonly stage: Orderly
  readonly owner: NodeId
  /** The node beside the owner that holds most copies. */
  readonly holder: NodeId
}

export class Orderly {
  readonly #scene: Scene

  static async begin(options: SceneOptions): Promise<Staged> {
    const scene = await Scene.begin({
      sectors: groups * sectorsOfGroup,
      nodes: 5,
      pace: orderlyPace,
      ...options,
    })
    const guest = scene.guest(scene.cluster.names[0])
    for (let group = 0; group < groups; group++) {
      await scene.done(guest.write(group * sectorsOfGroup, sectorsOfGroup))
      await scene.drain()
    }
    await scene.done(guest.write(0, 8))
    const owner = scene.owner()!
    const holder = scene.mainHolder(owner)
    return { scene, stage: new Orderly(scene), owner, holder }
  }

  private constructor(scene: Scene) {
    this.#scene = scene
  }

  /** Asks the first node that serves, beside those. */
  async ask<T>(what: (management: NodeManagement) => Promise<T>, ...beside: NodeId[]): Promise<T> {
    const via = this.#scene.cluster.serving().find((node) => !beside.includes(node))!
    return this.#scene.ask(via, what)
  }

  async drain(node: NodeId, ...beside: NodeId[]): Promise<void> {
    await this.ask((management) => management.changeNode(node, { mode: 'draining' }), ...beside)
  }

  async leaving(): Promise<Leaving[]> {
    return (await this.ask((management) => management.status())).leaving ?? []
  }

  /** Status says of the first that is being left that it is done. */
  async done(): Promise<void> {
    for (let looks = 0; ; looks++) {
      const [told] = await this.leaving()
      if (told?.done === true) return
      assert.ok(looks < patienceLooks, `not in two minutes: ${told?.sentence}`)
      await this.#scene.wait(1_000)
    }
  }

  /** Status says so of the node, and then it is. */
  async drained(node: NodeId): Promise<void> {
    await this.done()
    const { cluster } = this.#scene
    assert.deepEqual(
      findOnDisks(cluster, (disk) => disk.node === node),
      [],
    )
    assert.ok(!owners(cluster).includes(node))
  }

  /** Index rows that have a copy on such disks, whether it counts or not. */
  inIndexes(is: (disk: DiskRef) => boolean): string[] {
    const rows = this.#scene.cluster.database
      .prepare<[string], { key: string; value: Buffer }>(
        `SELECT r.key AS key, r.value AS value FROM medusa_partitions p
         JOIN medusa_rows r ON r.partition = p.id WHERE p.table_name = 'groups-of' AND r.key <> ?`,
      )
      .all(leftBehindRowKey)
    return rows.flatMap(({ key, value }) => (decodePlannedCopies(value).some(is) ? [key] : []))
  }
}
