/** `ndfs cassandra config`: where the Cassandra beside a node stands, by what the cluster knows of its nodes. */
import { join } from 'node:path'
import { NdfsError } from '../base/errors.ts'
import { hostAndPort } from '../base/networks.ts'
import type { ClusterStatus, NodeInfo } from '../management/management.ts'
import { type CassandraPlace, cassandraRack, cassandraYaml } from '../medusa/cassandra-config.ts'
import type { Files } from '../platform/platform.ts'

export type ClusterNodes = Pick<ClusterStatus, 'cluster'> & {
  readonly nodes: readonly Pick<NodeInfo, 'id' | 'block' | 'addresses'>[]
}

export interface PlaceWishes {
  readonly datacenter: string
  /** Everything it keeps. Absolute. */
  readonly folder: string
  /** It is one of the first servers, which have nobody to take rows over from. */
  readonly first: boolean
}

const seedsMax = 3

/**
 * Seeds are nodes of distinct blocks, as far as there are. A server never takes its share of rows over where it is a seed itself: so it is one
 * only where it is one of the first.
 * @throws {NdfsError} NOT_FOUND: there is no such node. REFUSED: nodes share a machine.
 */
export function cassandraPlaceOf(
  { cluster, nodes }: ClusterNodes,
  node: string,
  { datacenter, folder, first }: PlaceWishes,
): CassandraPlace {
  const own = nodes.find(({ id }) => id === node)
  if (own === undefined)
    throw new NdfsError('NOT_FOUND', `There is no node ${node}. \`ndfs node list\` shows those that are`, {
      node,
    })
  for (const [index, one] of nodes.entries()) {
    const other = nodes.slice(0, index).find((before) => hostOf(before) === hostOf(one))
    if (other !== undefined)
      throw new NdfsError(
        'REFUSED',
        `Cannot place a Cassandra beside ${node}: ${other.id} and ${one.id} share the address ${hostOf(one)}, and each server needs a machine of its own`,
        { nodes: [other.id, one.id], address: hostOf(one) },
      )
  }
  const seeds = inDistinctBlocks(nodes)
    .filter(({ id }) => first || id !== node)
    .slice(0, seedsMax)
  return {
    cluster: `ndfs-${cluster}`,
    address: hostOf(own),
    seeds: seeds.map(hostOf).map((host) => (host.includes(':') ? `[${host}]` : host)),
    datacenter,
    rack: own.block,
    folder,
    joins: !first,
  }
}

/** The first of each block, then the second of each, …; the same for whoever asks. */
function inDistinctBlocks(nodes: ClusterNodes['nodes']): ClusterNodes['nodes'] {
  const sorted = nodes.toSorted((a, b) => (a.id < b.id ? -1 : 1))
  const turnOf = (at: number): number =>
    sorted.slice(0, at).filter(({ block }) => block === sorted[at].block).length
  return sorted
    .map((node, at) => ({ node, turn: turnOf(at) }))
    .sort((a, b) => a.turn - b.turn)
    .map(({ node }) => node)
}

const hostOf = ({ addresses }: Pick<NodeInfo, 'addresses'>): string => hostAndPort(addresses.peer).host

/** Writes both files in `out`, which it makes; resolves to their paths. @throws As `cassandraPlaceOf`. */
export async function writeCassandraConfig(
  cluster: ClusterNodes,
  node: string,
  wishes: PlaceWishes,
  out: string,
  files: Files,
): Promise<readonly string[]> {
  const place = cassandraPlaceOf(cluster, node, wishes)
  const contents = {
    'cassandra.yaml': cassandraYaml(place),
    'cassandra-rackdc.properties': cassandraRack(place),
  }
  await files.makeDirectory(out)
  for (const [name, content] of Object.entries(contents))
    await files.replaceWhole(join(out, name), Buffer.from(content))
  return Object.keys(contents).map((name) => join(out, name))
}
