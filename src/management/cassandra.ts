/** How Cassandra's servers see one another, as API, command line and `status` show it. */
import Type, { type Static } from 'typebox'

const closed = { additionalProperties: false } as const

export const cassandraServerSchema = Type.Object(
  {
    address: Type.String({ description: 'Where the other servers reach it: `host:port`.' }),
    clients: Type.String({ description: 'Where clients reach it: `host:port`.' }),
    hostId: Type.String(),
    rack: Type.String({ description: 'Its block.' }),
    status: Type.String({
      description: 'As the servers tell one another: `NORMAL`, `LEAVING`, `LEFT`, `BOOT`, `shutdown`, …',
    }),
    startedAt: Type.Integer({ description: 'Milliseconds since 1970.' }),
    heartbeat: Type.Integer({ minimum: 0, description: 'Since it was started; grows each second.' }),
    heartbeatsPerSecond: Type.Optional(
      Type.Number({
        description: 'About 1; absent until another round of views is read: ask again 3 s later.',
      }),
    ),
    beats: Type.Optional(
      Type.Boolean({ description: 'Its heartbeat moves; absent where that is not known.' }),
    ),
    seenBy: Type.Integer({ minimum: 0, description: 'As many views have it.' }),
    repairedAt: Type.Optional(
      Type.Integer({
        description:
          'Milliseconds since 1970: all rows of the token ranges that end at it were repaired then or later; absent where some never were in the last 30 days, or that is not known.',
      }),
    ),
    schema: Type.String({ description: "Its schema's version." }),
    release: Type.String(),
  },
  closed,
)
export type CassandraServerInfo = Static<typeof cassandraServerSchema>

export const cassandraInfoSchema = Type.Object(
  {
    node: Type.String({ description: 'The node that asked the servers.' }),
    views: Type.Integer({ minimum: 0, description: 'As many servers gave their view.' }),
    servers: Type.Array(cassandraServerSchema, { description: 'All that any view has.' }),
    silent: Type.Array(Type.Object({ server: Type.String(), reason: Type.String() }, closed), {
      description: 'Servers that gave the node no view, by where clients reach them.',
    }),
    problems: Type.Array(Type.String(), {
      description:
        'One sentence for each server that is silent, or whose heartbeat stands still, or that was not repaired in time.',
    }),
    repairsUnknown: Type.Optional(
      Type.String({ description: 'Why it is not known when servers were repaired.' }),
    ),
    disagreements: Type.Array(Type.String(), { description: 'One sentence each: where views differ.' }),
  },
  closed,
)
export type CassandraInfo = Static<typeof cassandraInfoSchema>

/** What Medusa knows of it. */
export interface CassandraTold extends Pick<CassandraInfo, 'views'> {
  readonly servers: readonly (Omit<
    CassandraServerInfo,
    'startedAt' | 'heartbeatsPerSecond' | 'beats' | 'repairedAt'
  > & {
    /** Seconds since 1970. */
    readonly generation: number
    readonly heartbeatsPerSecond: number | undefined
    readonly beats: boolean | undefined
  })[]
  readonly silent: readonly { readonly server: string; readonly reason: string }[]
  readonly disagreements: readonly string[]
}

/** When servers were repaired, by where clients reach them. */
export interface RepairsTold {
  readonly servers: readonly {
    readonly server: string
    readonly repairedAt?: number
    readonly overdue: boolean
  }[]
  readonly unknown?: string
}

export function cassandraInfoOf(node: string, told: CassandraTold, repairs: RepairsTold): CassandraInfo {
  const repairedAt = (clients: string): number | undefined =>
    repairs.servers.find(({ server }) => server === clients)?.repairedAt
  return {
    node,
    views: told.views,
    servers: told.servers.map(({ generation, heartbeatsPerSecond, beats, ...server }) => ({
      ...server,
      startedAt: generation * 1000,
      ...(heartbeatsPerSecond === undefined ? {} : { heartbeatsPerSecond }),
      ...(beats === undefined ? {} : { beats }),
      ...(repairedAt(server.clients) === undefined ? {} : { repairedAt: repairedAt(server.clients)! }),
    })),
    silent: [...told.silent],
    problems: [...problemsOf(node, told), ...repairs.servers.flatMap(overdueSentence)],
    ...(repairs.unknown === undefined ? {} : { repairsUnknown: repairs.unknown }),
    disagreements: [...told.disagreements],
  }
}

function problemsOf(node: string, { servers, silent }: CassandraTold): string[] {
  const still = servers.filter(({ beats }) => beats === false)
  return [
    ...silent.map(({ server, reason }) => {
      const said = `the Cassandra at ${server} does not answer ${node} (${reason})`
      const known = servers.find(({ clients }) => clients === server)
      if (known?.beats === false)
        return `${said}, and its heartbeat stands still for the others: its process has ended, or stands still, or is cut off`
      if (known?.beats === true)
        return `${said}, and the others hear it: look at the way between ${node} and it`
      return `${said}: look at whether it runs`
    }),
    ...still
      .filter(({ clients }) => !silent.some(({ server }) => server === clients))
      .map(
        ({ clients, address }) =>
          `the heartbeat of the Cassandra at ${clients || address} stands still: the others take it for dead. Look at its process, and \`nodetool statusgossip\``,
      ),
  ]
}

const overdueSentence = ({ server, repairedAt, overdue }: RepairsTold['servers'][number]): string[] => {
  if (!overdue) return []
  const when =
    repairedAt === undefined
      ? 'were not repaired in the last 30 days'
      : `were repaired last at ${new Date(repairedAt).toISOString()}`
  return [
    `the Cassandra at ${server} has rows that ${when}, longer ago than deleted ones are remembered: run \`nodetool repair -pr\` there each day`,
  ]
}
