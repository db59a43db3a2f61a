/** A question to one certain server of Cassandra, past all nodes. */
import { Client, policies, types } from 'cassandra-driver'

export interface OneCassandra {
  readonly address: string
  readonly port: number
}

/** What that server answers as coordinator. */
export async function askCassandra(
  { address, port }: OneCassandra,
  query: string,
  consistency: types.consistencies = types.consistencies.one,
): Promise<readonly types.Row[]> {
  const client = new Client({
    contactPoints: [address],
    localDataCenter: 'dc1',
    protocolOptions: { port },
    socketOptions: { connectTimeout: 2000, readTimeout: 2500 },
    policies: {
      loadBalancing: new policies.loadBalancing.AllowListPolicy(
        new policies.loadBalancing.DCAwareRoundRobinPolicy('dc1'),
        [`${address}:${port}`],
      ),
    },
  })
  try {
    await client.connect()
    return (await client.execute(query, [], { consistency })).rows
  } finally {
    await client.shutdown()
  }
}

/** Every server has a copy of this row, were there one: a server that takes one of them for down refuses to ask them all. */
const ofAllCopies =
  "SELECT status FROM system_distributed.view_build_status WHERE keyspace_name = 'none' AND view_name = 'none'"

export const takesAllForUp = (server: OneCassandra): Promise<boolean> =>
  askCassandra(server, ofAllCopies, types.consistencies.all).then(
    () => true,
    () => false,
  )
