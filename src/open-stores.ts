/** Where a node's Zeus and Medusa come from: the one seam between the parts of a node and what holds its metadata. */
import { NdfsError } from './base/errors.ts'
import type { CassandraConfig, StoresConfig, ZooKeeperConfig } from './local/node-config.ts'
import { storeNode } from './local/store/store-process.ts'
import type { MetadataCopy, MetadataLoss } from './management/survival.ts'
import type { CassandraServer } from './medusa/cassandra-client.ts'
import { CassandraRounds } from './medusa/cassandra-gossip.ts'
import type { CassandraMedusa } from './medusa/cassandra-medusa.ts'
import { CassandraRepairs } from './medusa/cassandra-repairs.ts'
import type { Medusa } from './medusa/medusa.ts'
import { StoreMedusa } from './medusa/store-medusa.ts'
import { metadataCopy } from './metadata-copy.ts'
import type { Peers } from './peer/peer.ts'
import type { Clock, Files, Log, Platform } from './platform/platform.ts'
import { lossOfStore } from './store-loss.ts'
import { StoreZeus } from './zeus/store-zeus.ts'
import { clusterKey, type ClusterValue, type Zeus } from './zeus/zeus.ts'
import type { ZooKeeperZeus } from './zeus/zookeeper-zeus.ts'

export interface Stores {
  readonly zeus: Zeus
  readonly medusa: Medusa
  /** How the metadata's other copies stand, as the cluster's state tells it. */
  readonly copy: () => Promise<MetadataCopy>
  /** Which loss the metadata outlives now, in a cluster of these nodes. */
  readonly loss: (nodes: readonly { readonly id: string; readonly peer: string }[]) => MetadataLoss
  /** What Cassandra's servers tell one another, where they hold Medusa. */
  readonly gossip?: CassandraRounds
  /** When their rows were last repaired. */
  readonly repairs?: CassandraRepairs
}

/**
 * `peers`: a store is asked through them; they outlive what is opened. Rejects where an engine can't be used, and where engines don't hold all
 * metadata of `cluster`; left out: the cluster is being made, and its keyspace with it.
 */
export type OpenStores = (
  config: StoresConfig,
  platform: Platform,
  peers: Peers,
  cluster?: string,
) => Promise<Stores>

export type EnginesPlaces = Omit<Extract<StoresConfig, { kind: 'engines' }>, 'kind'>

/** The engines of a cluster, without what lies between them and a node. */
export interface Engines {
  readonly zeus: ZooKeeperZeus
  readonly medusa: CassandraMedusa
}

/** Between attempts to reach an engine. */
const retryMs = 1000

/** For who needs no metadata. `cluster` as with `openStores`. */
export async function openZeus(
  config: StoresConfig,
  platform: Platform,
  peers: Peers,
  cluster?: string,
): Promise<Zeus> {
  if (config.kind === 'engines') return openZooKeeper(config.zookeeper, platform, cluster)
  peers.setAddress(storeNode, config.address)
  return new StoreZeus(peers, storeNode, platform)
}

export const openStores: OpenStores = async (config, platform, peers, cluster) => {
  const zeus = await openZeus(config, platform, peers, cluster)
  return { zeus, ...(await orClosed(zeus, openMedusa(config, platform, peers, cluster))) }
}

/** After openZeus, which says where a store is, and refuses engines that hold another cluster, or none. */
export async function openMedusa(
  config: StoresConfig,
  platform: Platform,
  peers: Peers,
  cluster?: string,
): Promise<Omit<Stores, 'zeus'>> {
  switch (config.kind) {
    case 'store':
      return {
        medusa: new StoreMedusa(peers, storeNode),
        copy: () => metadataCopy(peers),
        loss: (nodes) => lossOfStore(config.address, nodes),
      }
    case 'engines': {
      const medusa = await openCassandra(config.cassandra, platform, cluster !== undefined)
      return {
        medusa,
        copy: () => Promise.resolve(copiesIn(medusa.client.servers())),
        loss: () => medusa.loss,
        gossip: new CassandraRounds(medusa.client, platform.clock),
        repairs: new CassandraRepairs(medusa.client, config.cassandra.keyspace, platform.clock),
      }
    }
    default:
      return config satisfies never
  }
}

/** As `openStores` does, of a cluster that is being made. `waiting` is called each second for as long as Cassandra can't be reached. */
export async function openEngines(
  { zookeeper, cassandra }: EnginesPlaces,
  platform: Platform,
  waiting?: (reason: string) => void,
): Promise<Engines> {
  const zeus = await openZooKeeper(zookeeper, platform, undefined)
  return { zeus, medusa: await orClosed(zeus, openCassandra(cassandra, platform, false, waiting)) }
}

/** What is opened beside Zeus, which is closed where that fails. */
async function orClosed<T>(zeus: Zeus, opening: Promise<T>): Promise<T> {
  try {
    return await opening
  } catch (error) {
    await zeus.close()
    throw error
  }
}

/**
 * Whoever makes a cluster on engines, or moves one there, writes the key `cluster` last of all. Without it a node would begin with nothing, and
 * give ids to new vDisks under which others' bytes lie on the disks.
 */
async function refuseWithout(
  cluster: string,
  zeus: Zeus,
  { servers, chroot }: ZooKeeperConfig,
  { clock, log }: Platform,
): Promise<void> {
  const there = await untilReachable(clock, toLog('ZooKeeper', log), () => zeus.get(clusterKey))
  const found = (there?.value as ClusterValue | undefined)?.id
  if (found === cluster) return
  const where = `${chroot} of the ZooKeeper at ${servers.join(', ')}`
  throw new NdfsError(
    'REFUSED',
    found === undefined
      ? `Cannot serve: ${where} does not hold cluster ${cluster}. Where \`ndfs migrate-metadata\` or \`ndfs rebuild-metadata\` was interrupted, ` +
          'give it again; where that metadata is lost, `ndfs rebuild-metadata` makes it anew'
      : `Cannot serve: ${where} holds cluster ${found}, and this is a node of ${cluster}. Correct the configuration`,
    { cluster, found },
  )
}

/** Every row has its copies on several servers: what is to be told is which of them are not there. */
function copiesIn(servers: readonly CassandraServer[]): MetadataCopy {
  const down = servers.filter(({ up }) => !up).map(({ address }) => address)
  if (down.length === 0) return { state: 'in step' }
  return { state: 'servers down', reason: `${down.join(', ')} of ${servers.length} servers of Cassandra` }
}

/** Their clients are loaded where there are engines, and nowhere else. */
async function openZooKeeper(
  config: ZooKeeperConfig,
  platform: Platform,
  cluster: string | undefined,
): Promise<ZooKeeperZeus> {
  const { servers, chroot, user, passwordFile } = config
  const { zooKeeperZeus } = await import('./zeus/zookeeper-zeus.ts')
  const password = await passwordIn(passwordFile, platform.files)
  const access = { ...(user === undefined ? {} : { user }), ...(password === undefined ? {} : { password }) }
  const zeus = zooKeeperZeus({ servers, chroot, platform, ...access })
  if (cluster !== undefined) await orClosed(zeus, refuseWithout(cluster, zeus, config, platform))
  return zeus
}

async function openCassandra(
  config: CassandraConfig,
  { files, clock, log }: Platform,
  mustExist: boolean,
  waiting = toLog('Cassandra', log),
): Promise<CassandraMedusa> {
  const { passwordFile, caFile, ...access } = config
  const { cassandraMedusa } = await import('./medusa/cassandra-medusa.ts')
  const password = await passwordIn(passwordFile, files)
  const ca = caFile === undefined ? undefined : await contentOf(caFile, files)
  const open = () =>
    cassandraMedusa({
      ...access,
      ...{ mustExist, clock, log },
      ...(password === undefined ? {} : { password }),
      ...(ca === undefined ? {} : { tls: { ca } }),
    })
  return untilReachable(clock, waiting, open)
}

const toLog =
  (engine: string, log: Log) =>
  (reason: string): void =>
    log.warn(`${engine} cannot be reached yet`, { reason })

/** Waits for an engine, however long it can't be reached; what a person has to mend rejects. */
async function untilReachable<T>(
  clock: Clock,
  waiting: (reason: string) => void,
  ask: () => Promise<T>,
): Promise<T> {
  for (;;)
    try {
      return await ask()
    } catch (error) {
      if (!(error instanceof NdfsError) || error.code === 'REFUSED' || error.code === 'UNAUTHORIZED')
        throw error
      waiting(error.message)
      await clock.sleep(retryMs)
    }
}

const passwordIn = async (file: string | undefined, files: Files): Promise<string | undefined> =>
  file === undefined ? undefined : (await contentOf(file, files)).toString().trim()

async function contentOf(file: string, files: Files): Promise<Buffer> {
  const content = await files.readWhole(file)
  if (content === undefined)
    throw new NdfsError(
      'NOT_FOUND',
      `Cannot read ${file}: there is no such file. The configuration names it`,
      { path: file },
    )
  return content
}
