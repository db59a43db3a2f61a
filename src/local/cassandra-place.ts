/**
 * `ndfs cassandra config`: the Cassandra on the machine of a node, by that node's own configuration. The first servers run before there is a cluster that
 * could be asked.
 */
import { isIP } from 'node:net'
import { join } from 'node:path'
import { NdfsError } from '../base/errors.ts'
import { hostAndPort } from '../base/networks.ts'
import { type CassandraPlace, cassandraRack, cassandraYaml } from '../medusa/cassandra-config.ts'
import type { Files } from '../platform/platform.ts'
import { type ConfigFile, readConfigFile } from './config-file/config-file.ts'

export interface PlaceWishes {
  /** Everything it keeps. Absolute. */
  readonly folder: string
  /** It is one of the first servers, which have nobody to take rows over from. */
  readonly first: boolean
}

const seedsMax = 3

/**
 * Its name is the keyspace's, so that all of one cluster have one name; its seeds are the first of `medusa.cassandra.contactPoints`. A server never takes
 * its share of rows over where it is a seed itself: so it is one only where it is one of the first.
 * @throws {NdfsError} REFUSED: the configuration names no Cassandra, or not so that it can be told which of them is this machine's.
 */
export function cassandraPlaceOf(
  { block, listen, medusa: { cassandra } }: Pick<ConfigFile, 'block' | 'listen' | 'medusa'>,
  { folder, first }: PlaceWishes,
): CassandraPlace {
  if (cassandra === undefined)
    throw refused('the configuration has no medusa.cassandra: the metadata lies in a store')
  const { contactPoints, port = 9042, datacenter, keyspace = 'ndfs', user } = cassandra
  const address = hostAndPort(listen.peer).host
  const unclear = [address, ...contactPoints].find((host) => isIP(host) === 0)
  if (unclear !== undefined)
    throw refused(
      `${unclear} may be this machine or another. Write IP addresses in listen.peer and medusa.cassandra.contactPoints`,
    )
  if (first && !contactPoints.includes(address))
    throw refused(
      `medusa.cassandra.contactPoints doesn't name ${address}, and the first servers are among them. Leave --first out where others have rows already`,
    )
  const seeds = contactPoints.filter((host) => first || host !== address).slice(0, seedsMax)
  if (seeds.length === 0)
    throw refused(`medusa.cassandra.contactPoints names no server but ${address}, and it is to join others`)
  return {
    cluster: keyspace,
    ...{ address, port, datacenter, rack: block, folder },
    seeds: seeds.map((host) => (host.includes(':') ? `[${host}]` : host)),
    password: user !== undefined,
    joins: !first,
  }
}

const refused = (reason: string): NdfsError =>
  new NdfsError('REFUSED', `Cannot configure a Cassandra: ${reason}.`)

/** Others may read them: the server runs as a user of its own. */
const mode = 0o644

/** Writes both files in `out`, which it makes; resolves to their paths. @throws As `cassandraPlaceOf`. */
export async function writeCassandraConfig(
  file: string,
  wishes: PlaceWishes,
  out: string,
  files: Files,
): Promise<readonly string[]> {
  const place = cassandraPlaceOf(await readConfigFile(files, file), wishes)
  const contents = {
    'cassandra.yaml': cassandraYaml(place),
    'cassandra-rackdc.properties': cassandraRack(place),
  }
  await files.makeDirectory(out)
  for (const [name, content] of Object.entries(contents))
    await files.replaceWhole(join(out, name), Buffer.from(content), mode)
  return Object.keys(contents).map((name) => join(out, name))
}
