/** Where a node's Zeus and Medusa come from: the one seam between the parts of a node and what holds its metadata. */
import { NdfsError } from './base/errors.ts'
import type { StoresConfig } from './local/node-config.ts'
import { storeNode } from './local/store/store-process.ts'
import type { Medusa } from './medusa/medusa.ts'
import { StoreMedusa } from './medusa/store-medusa.ts'
import type { Peers } from './peer/peer.ts'
import type { Platform } from './platform/platform.ts'
import { StoreZeus } from './zeus/store-zeus.ts'
import type { Zeus } from './zeus/zeus.ts'

export interface Stores {
  readonly zeus: Zeus
  readonly medusa: Medusa
}

/** `peers`: a store is asked through them; they outlive what is opened. Rejects where an engine can't be used. */
export type OpenStores = (config: StoresConfig, platform: Platform, peers: Peers) => Promise<Stores>

export const openStores: OpenStores = async (config, platform, peers) => {
  switch (config.kind) {
    case 'store':
      peers.setAddress(storeNode, config.address)
      return { zeus: new StoreZeus(peers, storeNode, platform), medusa: new StoreMedusa(peers, storeNode) }
    case 'engines':
      throw new NdfsError(
        'REFUSED',
        'Cannot open Zeus on ZooKeeper and Medusa on Cassandra: this ndfs is built without them. Name a store in their place',
      )
    default:
      return config satisfies never
  }
}
