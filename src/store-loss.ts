/** Which loss the metadata outlives that one store has: it runs on one machine, and so does its copy. Pure. */
import { isIP } from 'node:net'
import type { MetadataLoss } from './management/survival.ts'
import { placeOf } from './platform/address.ts'

/** `nodes`: all of the cluster, with where their peers reach them. */
export function lossOfStore(
  address: string,
  nodes: readonly { readonly id: string; readonly peer: string }[],
): MetadataLoss {
  const store = hostOf(address)
  // All that there is may be on the store's machine: there the nodes are processes, and the store is none of theirs.
  if (store === undefined || nodes.every(({ peer }) => hostOf(peer) === hostOf(nodes[0].peer)))
    return { survives: 'block' }
  const beside = nodes.filter(({ peer }) => hostOf(peer) === store).map(({ id }) => id)
  // A name and a number may be one machine.
  const isElsewhere =
    beside.length === 0 && nodes.every(({ peer }) => isIP(hostOf(peer) ?? '') === isIP(store))
  if (isElsewhere) return { survives: 'block' }
  const where = beside.length === 0 ? 'one machine' : `the machine of ${beside.join(' and ')}`
  return { survives: 'disk', limit: `the metadata is in one store, on ${where}` }
}

function hostOf(address: string): string | undefined {
  const place = placeOf(address)
  return place.kind === 'tcp' ? place.host : undefined
}
