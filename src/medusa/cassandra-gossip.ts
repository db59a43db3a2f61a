/**
 * What Cassandra's servers tell one another, made visible (R5): each one's own view of all, read off it, and the views held against each other.
 *
 * A server raises its heartbeat each second, and gossip carries that to the others. One that is dead or frozen, or that nobody hears, is known by a
 * heartbeat that stands still in the views of the others. Nothing is read while nobody asks.
 */
import { hasCode, messageOf } from '../base/errors.ts'
import type { Clock } from '../platform/platform.ts'
import { answerMs, type CassandraClient, type CassandraRow } from './cassandra-client.ts'

/** One server, as another one (or itself) has it. */
export interface GossipEntry {
  /** Where the others reach it: `host:port`. */
  readonly address: string
  /** Where clients reach it: `host:port`; '' where it has told none. */
  readonly clients: string
  readonly hostId: string
  readonly rack: string
  /** NORMAL, LEAVING, LEFT, MOVING, BOOT, shutdown, …; '' where it has told none. */
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
  /** Views that have it. */
  readonly seenBy: number
  /** Heartbeats in a second since the round before, by the newest that any view has; undefined without a round before. About 1. */
  readonly heartbeatsPerSecond: number | undefined
  /** Its heartbeat moves; undefined where that isn't known yet, or it has left for good. */
  readonly beats: boolean | undefined
}

export interface Gossip {
  /** Servers that gave their view. */
  readonly views: number
  /** All that any view knows of, by address. Where views differ, each as the view with its newest heartbeat has it. */
  readonly servers: readonly GossipServer[]
  /** Sentences: where views differ. */
  readonly disagreements: readonly string[]
  readonly silent: GossipRound['silent']
}

/** Less than half of what it should be. */
const beatsPerSecondMin = 0.5
/** What servers that have left are known by for some days. */
const leftStatuses = ['LEFT', 'removed']
/** Gossip reaches all in a few rounds of a second each; a view that is further behind has not heard of the server for as long. */
const behindMax = 15

/** One round: each server that is up is asked, at once. Silent ones are named, never waited for longer than for any request. */
export async function cassandraGossip(client: CassandraClient, clock: Clock): Promise<GossipRound> {
  const views: GossipView[] = []
  const silent: { server: string; reason: string }[] = []
  await Promise.all(
    client.servers().map(async (server) => {
      try {
        if (!server.up) {
          silent.push(silentServer(server.address))
          return
        }
        const rows = await client.look('SELECT * FROM system_views.gossip_info', server)
        views.push({ seenBy: server.address, at: clock.now(), entries: rows.map(entryOf) })
      } catch (error) {
        const reason = hasCode(error, 'TIMED_OUT') ? `no answer in ${answerMs} ms` : messageOf(error)
        silent.push({ server: server.address, reason })
      }
    }),
  )
  return { views, silent }
}

/** Two rounds lie so far apart that a heartbeat that moves is seen to: who asks earlier is told the last one. */
export const betweenRoundsMs = 3000
/** A round before that is older would hide for too long that a heartbeat stands still: half of that time. */
const keptMs = 30_000
/** A server that answers does in less. */
const waitMs = 500

/** Rounds, as they are asked for, each joined with the one before. */
export class CassandraRounds {
  readonly #client: CassandraClient
  readonly #clock: Clock
  #last: { readonly at: number; readonly round: GossipRound } | undefined
  #before: GossipRound | undefined
  #underWay: Promise<void> | undefined

  constructor(client: CassandraClient, clock: Clock) {
    this.#client = client
    this.#clock = clock
  }

  /** As of less than `betweenRoundsMs` ago. Who wants heartbeats that are not known asks again after that time, and knows them. */
  async now(): Promise<Gossip> {
    await this.#upToDate()
    return this.#joined()
  }

  /** The same for who can't wait for a server that is silent: then as of the round before, or what the driver knows of its connections. */
  async soon(): Promise<Gossip> {
    await Promise.race([this.#upToDate(), this.#clock.sleep(waitMs)])
    return this.#joined()
  }

  async #upToDate(): Promise<void> {
    if (this.#last !== undefined && this.#clock.now() - this.#last.at < betweenRoundsMs) return
    this.#underWay ??= this.#read().finally(() => (this.#underWay = undefined))
    await this.#underWay
  }

  async #read(): Promise<void> {
    const round = await cassandraGossip(this.#client, this.#clock)
    this.#before = this.#kept()
    this.#last = { at: this.#clock.now(), round }
  }

  #kept(): GossipRound | undefined {
    return this.#last !== undefined && this.#clock.now() - this.#last.at <= keptMs
      ? this.#last.round
      : undefined
  }

  #joined(): Gossip {
    const gossip = joinedGossip(this.#kept() ?? { views: [], silent: [] }, this.#before)
    const isNamed = (address: string): boolean => gossip.silent.some(({ server }) => server === address)
    const down = this.#client.servers().filter(({ address, up }) => !up && !isNamed(address))
    return { ...gossip, silent: [...gossip.silent, ...down.map(({ address }) => silentServer(address))] }
  }
}

const silentServer = (server: string) => ({ server, reason: 'it takes no connections' })

/** Joins the views of a round. Whether heartbeats move is seen by the round before, of at least some seconds ago. */
export function joinedGossip({ views, silent }: GossipRound, before?: GossipRound): Gossip {
  const newest = newestOf(views)
  const earlier = before && newestOf(before.views)
  const servers = [...newest.values()]
    .map(({ entry, at }): GossipServer => {
      const { address } = entry
      const seenBy = views.filter(({ entries }) => entries.some((one) => one.address === address)).length
      return { ...entry, seenBy, ...beatsOf(entry, at, earlier?.get(address)) }
    })
    .sort((a, b) => (a.address < b.address ? -1 : 1))
  return {
    views: views.length,
    servers,
    disagreements: servers.flatMap((server) => disagreementsOn(server, views)),
    silent,
  }
}

function beatsOf(
  entry: GossipEntry,
  at: number,
  then: SeenEntry | undefined,
): Pick<GossipServer, 'heartbeatsPerSecond' | 'beats'> {
  const unknown = { heartbeatsPerSecond: undefined, beats: undefined }
  if (hasLeft(entry)) return unknown
  // Its last heartbeat is the highest that there is, so that nobody takes an older one for newer.
  if (entry.status === 'shutdown') return { ...unknown, beats: false }
  if (then === undefined || at <= then.at) return unknown
  const restarted = then.entry.generation !== entry.generation
  const beats = restarted ? entry.heartbeat : entry.heartbeat - then.entry.heartbeat
  const perSecond = (beats * 1000) / (at - then.at)
  return { heartbeatsPerSecond: perSecond, beats: restarted || perSecond >= beatsPerSecondMin }
}

const hasLeft = ({ status }: GossipEntry): boolean => leftStatuses.includes(status)

function disagreementsOn(newest: GossipEntry, views: readonly GossipView[]): readonly string[] {
  const { address } = newest
  return views.flatMap(({ seenBy, entries }) => {
    const seen = entries.find((entry) => entry.address === address)
    if (seen === undefined) return hasLeft(newest) ? [] : [`${seenBy} does not know ${address}`]
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

interface SeenEntry {
  readonly entry: GossipEntry
  readonly at: number
}

/** Of each server, the entry with its newest heartbeat. */
function newestOf(views: readonly GossipView[]): Map<string, SeenEntry> {
  const newest = new Map<string, SeenEntry>()
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
    clients: text('native_address_and_port'),
    hostId: text('host_id'),
    rack: text('rack'),
    status,
    generation: Number(row.generation),
    heartbeat: Number(row.heartbeat),
    schema: text('schema'),
    release: text('release_version'),
  }
}
