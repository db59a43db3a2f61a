/**
 * What one process is told at its start, in a JSON file: `ndfs node --config FILE` and `ndfs store --config FILE`.
 * All paths are absolute.
 */
import Type, { type Static } from 'typebox'
import { NdfsError } from '../base/errors.ts'
import { GiB } from '../base/units.ts'
import type { Address, Files } from '../platform/platform.ts'
import { nodeIdPattern } from '../management/management.ts'
import { readVersioned } from './versioned-file.ts'

export const configVersion = 1
export const cacheBytesUsual = 2 * GiB
export const writeWaitMaxMsUsual = 60_000

const closed = { additionalProperties: false } as const
const path = Type.String({ pattern: '^/', description: 'An absolute path.' })
const bytes = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })
const cluster = Type.Object({ id: Type.String({ pattern: '^[0-9a-f]{16}$' }), keyFile: path }, closed)

/** Files, PEM: the node's certificate, its key, and the authorities that are trusted. What is put in their place later is used from then on. */
const certificate = { certFile: path, keyFile: path }
const tls = Type.Object({ ...certificate, caFile: path }, closed)
/** `identity:key` by lines, as psktool writes them, in place of a certificate. */
const nbdTls = Type.Union([
  Type.Object({ ...certificate, caFile: Type.Optional(path) }, closed),
  Type.Object({ pskFile: path }, closed),
])

/** Engines that run already, in place of the machine's store. */
const engines = Type.Object(
  {
    zookeeper: Type.Object(
      {
        servers: Type.Array(Type.String(), { minItems: 1 }),
        chroot: Type.String({ pattern: '^(/[^/]+)+$' }),
        user: Type.Optional(Type.String()),
        passwordFile: Type.Optional(path),
      },
      closed,
    ),
    cassandra: Type.Object(
      {
        contactPoints: Type.Array(Type.String(), { minItems: 1 }),
        port: Type.Integer({ minimum: 1, maximum: 65535 }),
        datacenter: Type.String(),
        keyspace: Type.String({ pattern: '^[a-z][a-z0-9_]{0,47}$' }),
        user: Type.Optional(Type.String()),
        passwordFile: Type.Optional(path),
        caFile: Type.Optional(path),
      },
      closed,
    ),
  },
  closed,
)
export type EnginesConfig = Static<typeof engines>
export const enginesFileSchema = Type.Object(
  { version: Type.Literal(configVersion), ...engines.properties },
  closed,
)

export const localNodeConfigSchema = Type.Object(
  {
    version: Type.Literal(configVersion),
    cluster,
    node: Type.String({ pattern: nodeIdPattern }),
    block: Type.String({ pattern: nodeIdPattern }),
    /** The node's own folder: its lock, its `process.json`. */
    dir: path,
    /** Where the machine's store listens. */
    storeSocket: path,
    /** Where it listens for nodes on addresses of their own; the socket is not used then. */
    storeAddress: Type.Optional(Type.String()),
    /** Where these are named, there is no store. */
    engines: Type.Optional(engines),
    listen: Type.Object(
      {
        http: Type.String(),
        peer: Type.String(),
        nbd: Type.String(),
        /** Absent in the configuration of a node that was made before there was NFS, until its next `ndfs up`. */
        nfs: Type.Optional(Type.String()),
        /** Where NFS is served in place of `nfs`, which clients are told: at all of the machine's addresses. */
        nfsEverywhere: Type.Optional(Type.String()),
        /** Where clients ask for the ports of NFS; absent where nobody asked for it. */
        portMapper: Type.Optional(Type.String()),
      },
      closed,
    ),
    nbdSocket: path,
    /** For peers on other machines; absent: they are trusted with what goes between them. The certificate names the node. */
    tls: Type.Optional(tls),
    /** For clients of NBD on other machines. With `caFile` they need a certificate by one of its authorities. */
    nbdTls: Type.Optional(nbdTls),
    tokenFile: path,
    /** Formatted already: a disk without a superblock is missing, and never made anew. */
    disks: Type.Array(
      Type.Object(
        {
          id: Type.String({ pattern: '^[a-z0-9][a-z0-9-]{0,62}$' }),
          path,
          tier: Type.Union([Type.Literal('flash'), Type.Literal('hdd')]),
          capacityBytes: bytes,
        },
        closed,
      ),
    ),
    cacheBytes: bytes,
    writeWaitMaxMs: Type.Integer({ minimum: 1, maximum: 2 ** 31 - 1 }),
    /** Which part of a flash disk the oplog may take. */
    oplogShare: Type.Optional(Type.Number({ exclusiveMinimum: 0, maximum: 0.9 })),
  },
  closed,
)
/** Of a node that `ndfs up` looks after: its machine's store holds Zeus and Medusa. */
export type LocalNodeConfig = Static<typeof localNodeConfigSchema>

/** What a node runs by, whoever wrote it down. */
export interface NodeConfig extends Omit<
  LocalNodeConfig,
  'version' | 'storeSocket' | 'storeAddress' | 'engines'
> {
  readonly stores: StoresConfig
}

/** Where Zeus and Medusa are: in one store, or each on an engine of its own. */
export type StoresConfig =
  | { readonly kind: 'store'; readonly address: Address }
  | { readonly kind: 'engines'; readonly zookeeper: ZooKeeperConfig; readonly cassandra: CassandraConfig }

/** Without a user, nobody is asked who they are. */
export interface ZooKeeperConfig {
  /** `host:port` */
  readonly servers: readonly string[]
  readonly chroot: string
  readonly user?: string
  readonly passwordFile?: string
}

export interface CassandraConfig {
  /** Hosts, without ports. */
  readonly contactPoints: readonly string[]
  readonly port: number
  readonly datacenter: string
  readonly keyspace: string
  readonly user?: string
  readonly passwordFile?: string
  /** With it connections are encrypted, and servers show a certificate of that authority. */
  readonly caFile?: string
}

export const storeConfigSchema = Type.Object(
  {
    version: Type.Literal(configVersion),
    cluster,
    /** The store's own folder: its SQLite files, its lock, its `process.json`. */
    dir: path,
    socket: path,
    /** Beside the socket. */
    listen: Type.Optional(Type.String()),
    /** As a node's; the certificate names `store`. */
    tls: Type.Optional(tls),
    /** Where its copy lies, on another disk; `given`: a person chose it. */
    copy: Type.Optional(Type.Object({ folder: path, given: Type.Boolean() }, closed)),
  },
  closed,
)
export type StoreConfig = Static<typeof storeConfigSchema>

export const readLocalNodeConfig = (files: Files, file: string): Promise<LocalNodeConfig> =>
  mustBeThere(file, readVersioned(files, file, localNodeConfigSchema, configVersion))

export function nodeConfigOfLocal(local: LocalNodeConfig): NodeConfig {
  const { version: _, storeSocket, storeAddress, engines: named, ...config } = local
  const address = storeAddress ?? `unix:${storeSocket}`
  return { ...config, stores: named ? { kind: 'engines', ...named } : { kind: 'store', address } }
}

export const readEnginesFile = (files: Files, file: string) =>
  mustBeThere(file, readVersioned(files, file, enginesFileSchema, configVersion))

export const readStoreConfig = (files: Files, file: string): Promise<StoreConfig> =>
  mustBeThere(file, readVersioned(files, file, storeConfigSchema, configVersion))

async function mustBeThere<T>(file: string, reading: Promise<T | undefined>): Promise<T> {
  const config = await reading
  if (config === undefined)
    throw new NdfsError(
      'NOT_FOUND',
      `Cannot find the configuration ${file}. \`ndfs up\` writes those of its nodes.`,
      {
        path: file,
      },
    )
  return config
}

/** The key that all processes of the cluster prove to one another that they have; 32 bytes, as hex digits in the file. */
export async function readClusterKey(files: Files, file: string): Promise<Buffer> {
  const text = (await files.readWhole(file))?.toString().trim()
  if (text === undefined || !/^[0-9a-f]{64}$/.test(text))
    throw new NdfsError(
      'REFUSED',
      `Cannot read the cluster's key from ${file}: ${text === undefined ? 'there is no such file' : 'it is not 64 hex digits'}. ` +
        'Put the key file of this cluster back.',
      { path: file },
    )
  return Buffer.from(text, 'hex')
}
