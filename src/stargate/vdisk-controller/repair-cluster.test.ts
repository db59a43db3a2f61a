/** A vDisk whose extent groups are repaired, or move: what happens to its disks, and what its rows and files are then. */
import assert from 'node:assert/strict'
import type { DiskRef, GroupId, NodeId } from '../../base/ids.ts'
import { KiB, MiB, vDiskOffset } from '../../base/units.ts'
import type { CopyRef } from '../extent-store/extent-store.ts'
import { asVDisk, TestNode, TestWorld } from './fixtures.test.ts'
import { decodeLeftBehind, decodePlannedCopies, leftBehindRowKey } from './rows.ts'
import type { HostedVDisk } from './vdisk-controller.ts'

export const vdisk = asVDisk(1)

/** Some nodes with a disk each, and one vDisk, which one of them serves. */
export class RepairCluster {
  readonly world: TestWorld
  node: TestNode
  served!: HostedVDisk

  constructor(nodes: readonly string[]) {
    this.world = new TestWorld(1, nodes)
    this.node = new TestNode(this.world, 'n1')
  }

  /** Some groups, drained, of as many MiB each. */
  static async begin(
    options: { nodes?: number; copies?: 1 | 2 | 3; groups?: number } = {},
  ): Promise<RepairCluster> {
    const { nodes = 4, copies = 2, groups = 1 } = options
    const cluster = new RepairCluster(Array.from({ length: nodes }, (_, i) => `n${i + 1}`))
    await cluster.run(cluster.node.host.create(vdisk, 'c/v', 64 * MiB, copies))
    cluster.served = await cluster.run(cluster.node.host.claim(vdisk, 'free'))
    for (let i = 0; i < groups; i++) {
      await cluster.write(i * MiB, Buffer.alloc(64 * KiB, `${i}`))
      await cluster.run(cluster.served.drain())
    }
    return cluster
  }

  run<T>(work: Promise<T>): Promise<T> {
    return this.world.clock.run(work)
  }

  pass(ms: number): Promise<void> {
    return this.world.clock.pass(ms)
  }

  write(offset: number, bytes: Buffer): Promise<void> {
    return this.run(this.served.write(vDiskOffset(offset), bytes, []))
  }

  async read(offset: number, length: number): Promise<Buffer> {
    const target = Buffer.alloc(length, 0xee)
    await this.run(Promise.resolve(this.served.read(vDiskOffset(offset), target)))
    return target
  }

  disk(node: string) {
    return this.world.extents.get(node as NodeId)!
  }

  /** Whoever lives hears of it. */
  disks(state: 'up' | 'gone', ...nodes: string[]): void {
    for (const node of nodes) this.disk(node).state = state
    for (const { host } of this.world.alive) host.disksChanged()
  }

  /** Whoever lives hears that these nodes, and no others, are being left. */
  leave(...nodes: string[]): void {
    this.world.left.clear()
    for (const node of nodes) this.world.left.add(node as NodeId)
    for (const { host } of this.world.alive) host.disksChanged()
  }

  /** The process is gone in the middle; another takes the vDisk. */
  async takeOver(node: string): Promise<void> {
    this.node.kill()
    this.node = new TestNode(this.world, node)
    this.served = await this.run(this.node.host.claim(vdisk, 'free'))
  }

  get groups(): GroupId[] {
    return [...this.world.groupRows().keys()]
  }

  row(group: GroupId) {
    return this.world.groupRows().get(group)!
  }

  nodesOf(group: GroupId): string[] {
    return this.row(group)
      .copies.map(({ node }) => node)
      .sort()
  }

  planned(group: GroupId): CopyRef[] {
    return decodePlannedCopies(this.world.table('groups-of').get(String(vdisk))!.get(group)!)
  }

  get leftBehind(): string[] {
    const row = this.world.table('groups-of').get(String(vdisk))?.get(leftBehindRowKey)
    return row === undefined
      ? []
      : decodeLeftBehind(row)
          .map(({ node }: DiskRef) => node)
          .sort()
  }

  /** Each group's copies are there, whole, one on each of as many nodes as asked for, and there is nothing else. */
  assertFull(copies = 2, groups = this.groups.length): void {
    assert.equal(this.groups.length, groups)
    for (const group of this.groups) {
      const row = this.row(group)
      assert.equal(row.state, 'whole')
      assert.equal(new Set(row.copies.map(({ node }) => node)).size, copies, group)
      for (const { node, number } of row.copies) {
        assert.equal(this.disk(node).state, 'up', `${group} has a copy on ${node}, which is gone`)
        assert.equal(this.disk(node).files.get(`${group}.${number}`)?.finished, true)
      }
    }
    const files = [...this.world.extents.values()].flatMap((disk) =>
      disk.state === 'up' ? [...disk.files.keys()] : [],
    )
    assert.equal(files.length, copies * groups, 'a file that no row names')
  }
}
