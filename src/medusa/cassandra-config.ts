/**
 * The configuration of the Cassandra that stands beside a node: `ndfs cassandra config` writes it, and what tests start is started with it. The
 * settings that durability and order rest on are named here once; `cassandra-medusa` reads them off each server, and refuses to serve without
 * (DESIGN section 8, C3).
 */

export interface CassandraPlace {
  /** All servers of one cluster have it. */
  readonly cluster: string
  /** Where the others and the clients reach it. */
  readonly address: string
  /** For clients (9042). */
  readonly port?: number
  /** Between servers (7000). */
  readonly storagePort?: number
  /** Some addresses of servers that are asked first. */
  readonly seeds: readonly string[]
  readonly datacenter: string
  /** The block: copies of a row lie in different ones. */
  readonly rack: string
  /** Everything it keeps. Absolute. */
  readonly folder: string
  /** Clients prove who they are. */
  readonly password?: boolean
  /** Clients speak TLS: a file with the server's certificate and its key (PKCS #8), and one with whom it trusts, both PEM, absolute. */
  readonly tls?: { readonly certificate: string; readonly ca: string }
  /** Of a server that joins others with rows it takes its share from them. */
  readonly joins?: boolean
}

/** What must be so, as `system_views.settings` names it; several values: any of them. */
export const requiredSettings: Readonly<Record<string, readonly string[]>> = {
  // A change is on disk before it is acknowledged (C3).
  commitlog_sync: ['batch', 'group'],
  // Conditional changes and serial reads that keep one order, also while servers come and go (M10).
  paxos_variant: ['v2'],
  paxos_repair_enabled: ['true'],
  skip_paxos_repair_on_topology_change: ['false'],
  // What was agreed on is forgotten when a majority is known to have it, or as late as what was deleted; never by a time of its own.
  paxos_state_purging: ['repaired', 'gc_grace'],
  // A disk that fails ends the server's service, instead of leaving it half there (I6).
  commit_failure_policy: ['stop', 'die'],
  disk_failure_policy: ['stop', 'stop_paranoid', 'die'],
}

/** `cassandra.yaml`. JSON strings are YAML: names may hold anything. */
export function cassandraYaml(place: CassandraPlace): string {
  const {
    cluster,
    address,
    port = 9042,
    storagePort = 7000,
    seeds,
    folder,
    password,
    tls,
    joins = true,
  } = place
  const text = (value: string): string => JSON.stringify(value)
  const servers = seeds.map((seed) => `${seed}:${storagePort}`).join(',')
  return `# Written by \`ndfs cassandra config\`.
cluster_name: ${text(cluster)}
listen_address: ${text(address)}
rpc_address: ${text(address)}
storage_port: ${storagePort}
native_transport_port: ${port}
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters:
      - seeds: ${text(servers)}
# dc and rack: cassandra-rackdc.properties. Racks are blocks.
endpoint_snitch: GossipingPropertyFileSnitch
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
# Few: when a server joins, what is under way is finished in each range of each table (docs/decisions/0018).
num_tokens: 4
# Not 3: where servers of two racks are there, a further one of them would not start.
allocate_tokens_for_local_replication_factor: 1
auto_bootstrap: ${joins}

data_file_directories: [${text(`${folder}/data`)}]
commitlog_directory: ${text(`${folder}/commitlog`)}
saved_caches_directory: ${text(`${folder}/saved_caches`)}
hints_directory: ${text(`${folder}/hints`)}
cdc_raw_directory: ${text(`${folder}/cdc_raw`)}

# On disk before it is acknowledged; NDFS refuses to serve without.
commitlog_sync: batch
disk_failure_policy: stop
commit_failure_policy: stop
# One order of conditional changes; NDFS refuses to serve without. What was agreed on is forgotten after \`nodetool repair\` of the keyspace,
# which has to run each day.
paxos_variant: v2
paxos_repair_enabled: true
skip_paxos_repair_on_topology_change: false
paxos_state_purging: repaired

# A read past more that was deleted is slow, not wrong: it must not fail for two days (docs/decisions/0018).
tombstone_warn_threshold: 20000
tombstone_failure_threshold: 20000000
storage_compatibility_mode: NONE

authenticator: ${password === true ? 'PasswordAuthenticator' : 'AllowAllAuthenticator'}
authorizer: ${password === true ? 'CassandraAuthorizer' : 'AllowAllAuthorizer'}
${tls === undefined ? '' : clientsEncrypted(tls)}
# What NDFS waits for is bounded by NDFS; a server gives up before that.
read_request_timeout: 2s
write_request_timeout: 2s
cas_contention_timeout: 2s
request_timeout: 5s
`
}

const clientsEncrypted = ({
  certificate,
  ca,
}: {
  certificate: string
  ca: string
}): string => `client_encryption_options:
  enabled: true
  optional: false
  ssl_context_factory:
    class_name: org.apache.cassandra.security.PEMBasedSslContextFactory
  keystore: ${JSON.stringify(certificate)}
  truststore: ${JSON.stringify(ca)}
`

/** `cassandra-rackdc.properties`. */
export const cassandraRack = ({ datacenter, rack }: Pick<CassandraPlace, 'datacenter' | 'rack'>): string =>
  `dc=${datacenter}\nrack=${rack}\n`
