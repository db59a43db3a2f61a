/**
 * What Cassandra's servers tell one another, made visible (R5): each one's own view of all, read off it, and the views held against each other.
 *
 * A server raises its heartbeat each second, and gossip carries that to the others. One that is dead or frozen, or that nobody hears, is known by a
 * heartbeat that stands still in the views of the others.
 */
import { messageOf } from '../base/errors.ts'
import type { Clock } from '../platform/platform.ts'
import type { CassandraClient, CassandraRow } from './cassandra-client.ts'

/** One server, as another one (or itself) has it. */
export interface GossipEntry {
  /** Where the others reach it: `host:port`. */
  readonly address: string
  readonly hostId: string
  readonly rack: string
  /** NORMAL, LEAVING, LEFT, MOVING, BOOT, …; '' where it has told none. */
  readonly status: string
  /** When its process was started, in seconds since 1970. */
  readonly generation: number
  readonly heartbeat: number
  readonly schema: string
  readonly release: string
}

export interface GossipView {
  /** The server whose view it is, as clients reach it. */
  readonly seenBy: string
  /** Milliseconds, by this node's clock. */
  readonly at: number
  readonly entries: readonly GossipEntry[]
}

export interface GossipRound {
  readonly views: readonly GossipView[]
  /** Servers that gave no view, with the reason. */
  readonly silent: readonly { readonly server: string; readonly reason: string }[]
}

export interface GossipServer extends GossipEntry {
  /** Heartbeats in a second since the round before, by the newest that any view has; undefined without a round before. About 1. */
  readonly heartbeatsPerSecond: number | undefined
  /** Its heartbeat moves; undefined where that isn't known yet. */
  readonly beats: boolean | undefined
}

export interface Gossip {
  /** All that any view knows of, by address. Where views differ, each as the view with its newest heartbeat has it. */
  readonly servers: readonly GossipServer[]
  /** Sentences: where views differ. */
  readonly disagreements: readonly string[]
  readonly silent: GossipRound['silent']
}

/** Less than half of what it should be. */
const beatsPerSecondMin = 0.5
/** Gossip reaches all in a few rounds of a second each; a view that is further behind has not heard of the server for as long. */
const behindMax = 15

/** One round: each server that is up is asked, at once. Silent ones are named, never waited for longer than for any request. */
export async function cassandraGossip(client: CassandraClient, clock: Clock): Promise<GossipRound> {
  const views: GossipView[] = []
  const silent: { server: string; reason: string }[] = []
  await Promise.all(
    client.servers().map(async (server) => {
      try {
        if (!server.up) throw new Error('it takes no connections')
        const rows = await client.look('SELECT * FROM system_views.gossip_info', server)
        views.push({ seenBy: server.address, at: clock.now(), entries: rows.map(entryOf) })
      } catch (error) {
        silent.push({ server: server.address, reason: messageOf(error) })
      }
    }),
  )
  return { views, silent }
}

/** Joins the views of a round. Whether heartbeats move is seen by the round before, of at least some seconds ago. */
export function joinedGossip({ views, silent }: GossipRound, before?: GossipRound): Gossip {
  const newest = newestOf(views)
  const earlier = before && newestOf(before.views)
  const servers = [...newest.values()]
    .map(({ entry, at }): GossipServer => {
      const then = earlier?.get(entry.address)
      const restarted = then !== undefined && then.entry.generation !== entry.generation
      const perSecond =
        then === undefined || at <= then.at
          ? undefined
          : ((restarted ? entry.heartbeat : entry.heartbeat - then.entry.heartbeat) * 1000) / (at - then.at)
      return {
        ...entry,
        heartbeatsPerSecond: perSecond,
        beats: perSecond === undefined ? undefined : restarted || perSecond >= beatsPerSecondMin,
      }
    })
    .sort((a, b) => (a.address < b.address ? -1 : 1))
  return { servers, disagreements: servers.flatMap((server) => disagreementsOn(server, views)), silent }
}

function disagreementsOn(newest: GossipEntry, views: readonly GossipView[]): readonly string[] {
  const { address } = newest
  return views.flatMap(({ seenBy, entries }) => {
    const seen = entries.find((entry) => entry.address === address)
    if (seen === undefined) return [`${seenBy} does not know ${address}`]
    if (seen.generation !== newest.generation)
      return [`${seenBy} has ${address} as it was before its last start`]
    const different = (['status', 'rack', 'hostId', 'schema'] as const)
      .filter((field) => seen[field] !== newest[field])
      .map(
        (field) =>
          `${seenBy} has ${field} ${seen[field] || 'none'} of ${address}, others ${newest[field] || 'none'}`,
      )
    const behind = newest.heartbeat - seen.heartbeat
    if (behind > behindMax) different.push(`${seenBy} is ${behind} heartbeats behind on ${address}`)
    return different
  })
}

/** Of each server, the entry with its newest heartbeat. */
function newestOf(
  views: readonly GossipView[],
): Map<string, { readonly entry: GossipEntry; readonly at: number }> {
  const newest = new Map<string, { readonly entry: GossipEntry; readonly at: number }>()
  for (const { at, entries } of views)
    for (const entry of entries) {
      const known = newest.get(entry.address)?.entry
      if (known === undefined || isNewer(entry, known)) newest.set(entry.address, { entry, at })
    }
  return newest
}

const isNewer = (a: GossipEntry, b: GossipEntry): boolean =>
  a.generation === b.generation ? a.heartbeat > b.heartbeat : a.generation > b.generation

/** Texts, addresses and UUIDs say what they are. */
const textOf = (value: { toString(): string } | null | undefined): string => value?.toString() ?? ''

function entryOf(row: CassandraRow): GossipEntry {
  const text = (field: string): string => textOf(row[field] as string | null)
  // `NORMAL,-1539667663796579911`: the state, and what belongs to it.
  const [status] = (text('status_with_port') || text('status')).split(',')
  return {
    address: `${text('address')}:${text('port')}`,
    hostId: text('host_id'),
    rack: text('rack'),
    status,
    generation: Number(row.generation),
    heartbeat: Number(row.heartbeat),
    schema: text('schema'),
    release: text('release_version'),
  }
}
