/** Where a node's Zeus and Medusa come from: the one seam between the parts of a node and what holds its metadata. */
import { NdfsError } from './base/errors.ts'
import type { CassandraConfig, StoresConfig, ZooKeeperConfig } from './local/node-config.ts'
import { storeNode } from './local/store/store-process.ts'
import type { MetadataCopy } from './management/survival.ts'
import type { CassandraServer } from './medusa/cassandra-client.ts'
import { CassandraRounds } from './medusa/cassandra-gossip.ts'
import type { Medusa } from './medusa/medusa.ts'
import { StoreMedusa } from './medusa/store-medusa.ts'
import { metadataCopy } from './metadata-copy.ts'
import type { Peers } from './peer/peer.ts'
import type { Files, Platform } from './platform/platform.ts'
import { StoreZeus } from './zeus/store-zeus.ts'
import type { Zeus } from './zeus/zeus.ts'

export interface Stores {
  readonly zeus: Zeus
  readonly medusa: Medusa
  /** How the metadata's other copies stand, as the cluster's state tells it. */
  readonly copy: () => Promise<MetadataCopy>
  /** What Cassandra's servers tell one another, where they hold Medusa. */
  readonly gossip?: CassandraRounds
}

/** `peers`: a store is asked through them; they outlive what is opened. Rejects where an engine can't be used. */
export type OpenStores = (config: StoresConfig, platform: Platform, peers: Peers) => Promise<Stores>

/** Between attempts to reach an engine. */
const retryMs = 1000

/** For who needs no metadata. */
export async function openZeus(config: StoresConfig, platform: Platform, peers: Peers): Promise<Zeus> {
  if (config.kind === 'engines') return openZooKeeper(config.zookeeper, platform)
  peers.setAddress(storeNode, config.address)
  return new StoreZeus(peers, storeNode, platform)
}

export const openStores: OpenStores = async (config, platform, peers) => {
  const zeus = await openZeus(config, platform, peers)
  try {
    return { zeus, ...(await openMedusa(config, platform, peers)) }
  } catch (error) {
    await zeus.close()
    throw error
  }
}

/** After openZeus, which says where a store is. Cassandra gets the tables that it lacks. */
export async function openMedusa(
  config: StoresConfig,
  platform: Platform,
  peers: Peers,
): Promise<Omit<Stores, 'zeus'>> {
  switch (config.kind) {
    case 'store':
      return {
        medusa: new StoreMedusa(peers, storeNode),
        copy: () => metadataCopy(peers),
      }
    case 'engines': {
      const medusa = await openCassandra(config.cassandra, platform)
      return {
        medusa,
        copy: () => Promise.resolve(copiesIn(medusa.client.servers())),
        gossip: new CassandraRounds(medusa.client, platform.clock),
      }
    }
    default:
      return config satisfies never
  }
}

/** Every row has its copies on several servers: what is to be told is which of them are not there. */
function copiesIn(servers: readonly CassandraServer[]): MetadataCopy {
  const down = servers.filter(({ up }) => !up).map(({ address }) => address)
  if (down.length === 0) return { state: 'in step' }
  return { state: 'servers down', reason: `${down.join(', ')} of ${servers.length} servers of Cassandra` }
}

/** Their clients are loaded where there are engines, and nowhere else. */
async function openZooKeeper(config: ZooKeeperConfig, platform: Platform): Promise<Zeus> {
  const { servers, chroot, user, passwordFile } = config
  const { zooKeeperZeus } = await import('./zeus/zookeeper-zeus.ts')
  const password = await passwordIn(passwordFile, platform.files)
  const access = { ...(user === undefined ? {} : { user }), ...(password === undefined ? {} : { password }) }
  return zooKeeperZeus({ servers, chroot, platform, ...access })
}

/** Waits for Cassandra, however long it can't be reached; what a person has to mend rejects. */
async function openCassandra(config: CassandraConfig, { files, clock, log }: Platform) {
  const { passwordFile, caFile, ...access } = config
  const { cassandraMedusa } = await import('./medusa/cassandra-medusa.ts')
  const password = await passwordIn(passwordFile, files)
  const ca = caFile === undefined ? undefined : await contentOf(caFile, files)
  for (;;)
    try {
      return await cassandraMedusa({
        ...access,
        ...{ clock, log },
        ...(password === undefined ? {} : { password }),
        ...(ca === undefined ? {} : { tls: { ca } }),
      })
    } catch (error) {
      if (!(error instanceof NdfsError) || error.code === 'REFUSED' || error.code === 'UNAUTHORIZED')
        throw error
      log.warn('Cassandra cannot be reached yet', { reason: error.message })
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
