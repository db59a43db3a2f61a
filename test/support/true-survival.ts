/**
 * What of a real cluster's data would be left after which losses, as it truly is: counted from the rows in the machine's store, asked for
 * past all nodes, and from the files in the folders of nodes that run. What status says is held against it.
 *
 * Of the code that is judged it uses the shapes of rows and the names of files, and nothing else.
 */
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { DiskRef, GroupId, Incarnation, NodeId, VDiskId } from '../../src/base/ids.ts'
import { readClusterKey, readStoreConfig } from '../../src/local/node-config.ts'
import { storeNode } from '../../src/local/store/store-process.ts'
import { cassandraMedusa, type CassandraMedusa } from '../../src/medusa/cassandra-medusa.ts'
import type { Medusa } from '../../src/medusa/medusa.ts'
import { StoreMedusa } from '../../src/medusa/store-medusa.ts'
import { PeerNetwork } from '../../src/peer/peer-network.ts'
import { nodePlatform } from '../../src/platform/node-platform.ts'
import { groupFileName } from '../../src/stargate/extent-store/group-file.ts'
import { readGroupRow } from '../../src/stargate/vdisk-controller/group-rows.ts'
import { PartitionRows } from '../../src/stargate/vdisk-controller/partition-rows.ts'
import {
  decodeVDiskState,
  mapPartition,
  stateRowKey,
  vdiskPartition,
} from '../../src/stargate/vdisk-controller/rows.ts'
import type { Engines } from '../../scripts/engines/engines.ts'
import type { Cluster } from './cluster.ts'

/** From the worst to the best, as in the first line of status. */
export const trueLevels = ['unreadable', 'one copy', 'disk', 'node', 'block'] as const
export type TrueLevel = (typeof trueLevels)[number]

const groupsAtOnce = 16

export interface Truth {
  /** Of the weakest; undefined where there is nothing to lose. */
  readonly level: TrueLevel | undefined
  /** Extent groups that the map names. */
  readonly groups: number
  /** Where it is weakest. */
  readonly where: string
}

export class TrueSurvival {
  readonly #cluster: Cluster
  readonly #blockOf: ReadonlyMap<string, string>
  readonly #medusa: Medusa
  readonly #close: () => Promise<void>

  /** `blockOf`: where nodes are, as whoever asks knows it. `engines`: they hold the rows, in place of the machine's store. */
  static async open(
    cluster: Cluster,
    blockOf: ReadonlyMap<string, string>,
    engines?: Engines,
  ): Promise<TrueSurvival> {
    if (engines !== undefined) {
      const medusa = await engineMedusa(cluster, engines)
      return new TrueSurvival(cluster, blockOf, medusa, () => medusa.close())
    }
    const platform = nodePlatform({ level: 'silent' })
    const config = await readStoreConfig(platform.files, join(cluster.dir, 'store/store.json'))
    const peers = new PeerNetwork({
      platform,
      node: 'observer' as NodeId,
      incarnation: randomBytes(8).toString('hex') as Incarnation,
      clusterId: config.cluster.id,
      key: await readClusterKey(platform.files, config.cluster.keyFile),
    })
    peers.setAddress(storeNode, `unix:${config.socket}`)
    const medusa = new StoreMedusa(peers, storeNode)
    return new TrueSurvival(cluster, blockOf, medusa, async () => {
      await medusa.close()
      await peers.close()
    })
  }

  private constructor(
    cluster: Cluster,
    blockOf: ReadonlyMap<string, string>,
    medusa: Medusa,
    close: () => Promise<void>,
  ) {
    this.#cluster = cluster
    this.#blockOf = blockOf
    this.#medusa = medusa
    this.#close = close
  }

  close(): Promise<void> {
    return this.#close()
  }

  /** `busy`: guests write, so that the open episode holds something. */
  async now(vdisks: readonly number[], alive: ReadonlySet<string>, busy: boolean): Promise<Truth> {
    let weakest: { level: TrueLevel; where: string } | undefined
    let groups = 0
    const found = (copies: readonly DiskRef[], where: string): void => {
      const level = this.#levelOf(copies)
      if (weakest === undefined || trueLevels.indexOf(level) < trueLevels.indexOf(weakest.level))
        weakest = { level, where: `${where} on ${copies.map(({ disk }) => disk).join(', ') || 'nothing'}` }
    }
    for (const vdisk of vdisks as readonly VDiskId[]) {
      const { rows } = await this.#medusa.get(vdiskPartition(vdisk), [stateRowKey])
      const state = decodeVDiskState(rows[0].value)
      for (const { id, end, replicas } of state.episodes)
        if (end === undefined ? busy : end > state.drained)
          found(
            replicas.filter(({ node }) => alive.has(node)),
            `episode ${id} of vDisk ${vdisk}`,
          )
      const named = await this.#groupsNamed(vdisk, state.layer, state.sizeBytes)
      groups += named.length
      for (let at = 0; at < named.length; at += groupsAtOnce)
        for (const { group, copies } of await Promise.all(
          named.slice(at, at + groupsAtOnce).map((id) => this.#copiesOf(id, alive)),
        ))
          found(copies, `group ${group}`)
    }
    return { level: weakest?.level, groups, where: weakest?.where ?? 'nothing' }
  }

  async #groupsNamed(
    vdisk: VDiskId,
    layer: Parameters<typeof mapPartition>[1],
    bytes: number,
  ): Promise<GroupId[]> {
    const named = new Set<GroupId>()
    for (let gib = 0; gib <= Math.floor((bytes - 1) / 1024 ** 3); gib++) {
      const { rows } = await this.#medusa.get(mapPartition(vdisk, layer, gib))
      for (const group of new PartitionRows(rows).groupsNamed()) named.add(group)
    }
    return [...named]
  }

  async #copiesOf(
    group: GroupId,
    alive: ReadonlySet<string>,
  ): Promise<{ group: GroupId; copies: DiskRef[] }> {
    const copies = (await readGroupRow(this.#medusa, group))?.copies ?? []
    return {
      group,
      copies: copies.filter(
        ({ node, disk, number }) =>
          alive.has(node) &&
          existsSync(join(this.#cluster.dir, 'nodes', node, 'disks', disk, groupFileName(group, number))),
      ),
    }
  }

  #levelOf(copies: readonly DiskRef[]): TrueLevel {
    const distinct = (what: (copy: DiskRef) => string | undefined): number => new Set(copies.map(what)).size
    if (distinct(({ node }) => this.#blockOf.get(node)) > 1) return 'block'
    if (distinct(({ node }) => node) > 1) return 'node'
    if (distinct(({ disk }) => disk) > 1) return 'disk'
    return copies.length > 0 ? 'one copy' : 'unreadable'
  }
}

/** A client of its own of the rows that the cluster has in engines. */
function engineMedusa(
  cluster: Cluster,
  { cassandraAddresses, cassandraPort }: Engines,
): Promise<CassandraMedusa> {
  const { clock, log } = nodePlatform({ level: 'silent' })
  return cassandraMedusa({
    ...{ contactPoints: cassandraAddresses, port: cassandraPort, datacenter: 'dc1' },
    ...{ keyspace: cluster.keyspace(), clock, log },
  })
}
