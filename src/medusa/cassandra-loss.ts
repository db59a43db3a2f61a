/**
 * Which loss of servers Cassandra outlives so that every row can still be read and changed: for what the cluster says that it survives. Pure.
 *
 * NetworkTopologyStrategy puts a row's copies into as many racks as there are, one into each, and what is left of them anywhere: with three copies
 * in two racks each rack has two copies of some rows. Which rows those are is a matter of tokens, and with many tokens there are some; so
 * the worst row that there can be is what counts. A serial read, and a change, needs more than half of a row's copies.
 */
import type { CassandraServer } from './cassandra-client.ts'

export interface CassandraLoss {
  /** What may be lost: all servers of a rack, which is a block; any one, with its disk or its node; nothing. */
  readonly survives: 'block' | 'node' | 'nothing'
  /** A sentence: what stands against more; absent with `block`. */
  readonly limit?: string
}

/** `copies`: of each row, as the keyspace has it. */
export function lossOf(servers: readonly CassandraServer[], copies: number): CassandraLoss {
  const racks = [...new Set(servers.map(({ rack }) => rack))].sort()
  const away = servers.filter(({ up }) => !up)
  const standsWithout = (lost: readonly CassandraServer[]): boolean =>
    Math.min(copies, servers.length) - worstRow(new Set([...away, ...lost]), racks.length, copies) >=
    quorumOf(copies)
  const weakRacks = racks.filter((rack) => !standsWithout(servers.filter((server) => server.rack === rack)))
  if (standsWithout([]) && weakRacks.length === 0) return { survives: 'block' }
  const facts = `${numbered(copies, 'copy', 'copies')} of each row of the metadata on ${numbered(servers.length, 'server', 'servers')} of Cassandra in ${numbered(racks.length, 'rack', 'racks')}`
  const limit =
    away.length === 0
      ? facts
      : `${facts}, of which ${away.map(({ address }) => address).join(', ')} ${away.length === 1 ? 'is' : 'are'} down`
  const isEachSpare = servers.every((server) => standsWithout([server]))
  return { survives: standsWithout([]) && isEachSpare ? 'node' : 'nothing', limit }
}

/** Of a row that has as many of its copies as there can be on these. */
function worstRow(lost: ReadonlySet<CassandraServer>, racks: number, copies: number): number {
  const hit = new Set([...lost].map(({ rack }) => rack)).size
  const besidesOneInEach = Math.min(Math.max(0, copies - racks), lost.size - hit)
  return Math.min(copies, hit + besidesOneInEach)
}

const quorumOf = (copies: number): number => Math.floor(copies / 2) + 1
const numbered = (count: number, one: string, many: string): string => `${count} ${count === 1 ? one : many}`
