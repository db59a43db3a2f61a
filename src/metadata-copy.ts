/** How the copy of the metadata stands, as the store tells it. A store that can't be asked, or keeps none, has none that counts. */
import { decodeControl } from './base/control.ts'
import { NdfsError } from './base/errors.ts'
import { storeNode } from './local/store/store-process.ts'
import type { MetadataCopy } from './management/survival.ts'
import type { Peers } from './peer/peer.ts'

const askTimeoutMs = 1000

export async function metadataCopy(peers: Peers): Promise<MetadataCopy> {
  try {
    const options = { timeoutMs: askTimeoutMs }
    return decodeControl<MetadataCopy>(await peers.call(storeNode, 'store.copy', [], options))
  } catch (error) {
    if (!(error instanceof NdfsError)) throw error
    return { state: 'none' }
  }
}
