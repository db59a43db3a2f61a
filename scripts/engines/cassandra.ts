/**
 * Apache Cassandra 5 from Maven Central, with the settings that `ndfs cassandra config` writes (cassandra-config.ts): docs/decisions/0016 says what
 * was needed to start it without its own packages.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, globSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { cassandraRack, cassandraYaml, type CassandraPlace } from '../../src/medusa/cassandra-config.ts'
import { apt, isInstalled } from '../install-test-tools.ts'
import { JavaServer } from './java-server.ts'

export const cassandraVersion = '5.0.9'
const pom = join(import.meta.dirname, 'cassandra-pom.xml')
export const cassandraLogging = join(import.meta.dirname, 'logback.xml')
const cache = process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache')
export const cassandraJars = join(cache, 'ndfs', `cassandra-${cassandraVersion}`)

/** Why there is none; undefined where there is. */
export function withoutCassandra(): string | undefined {
  if (!isInstalled('java')) return "Java is not installed (Debian's package openjdk-17-jre-headless)"
  return existsSync(cassandraJars)
    ? undefined
    : `Cassandra ${cassandraVersion} is not in ${cassandraJars} (node scripts/engines.ts install)`
}

/** Its jars, some 66 MB, into the user's cache. Interrupted, it is done again. */
export function installCassandra(say: (line: string) => void): void {
  if (withoutCassandra() === undefined) return
  if (!isInstalled('mvn') || !isInstalled('java')) {
    say("Installing from Debian's packages: maven openjdk-17-jre-headless")
    apt('update')
    apt('install', '-y', '--no-install-recommends', 'maven', 'openjdk-17-jre-headless')
  }
  if (existsSync(cassandraJars)) return
  say(`Fetching Apache Cassandra ${cassandraVersion} from Maven Central into ${cassandraJars}`)
  mkdirSync(dirname(cassandraJars), { recursive: true })
  const folder = mkdtempSync(join(dirname(cassandraJars), 'fetching-'))
  const goal = ['dependency:copy-dependencies', `-DoutputDirectory=${folder}`, '-DincludeScope=runtime']
  const { status } = spawnSync('mvn', ['-q', '-B', '-f', pom, ...goal], {
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  if (status === 0) renameSync(folder, cassandraJars)
  else rmSync(folder, { recursive: true, force: true })
}

const loggingBy = (file: string): string => `-Dlogback.configurationFile=${file}`

/** What Java 17 has to let it see, as Cassandra's own jvm17-server.options has it. */
const exported = [
  ...['java.base/jdk.internal.misc', 'java.management.rmi/com.sun.jmx.remote.internal.rmi'],
  ...['java.rmi/sun.rmi.registry', 'java.rmi/sun.rmi.server', 'java.sql/java.sql', 'java.base/java.lang.ref'],
  'jdk.unsupported/sun.misc',
]
const opened = [
  ...[
    'java.lang',
    'java.lang.module',
    'java.net',
    'java.io',
    'java.nio',
    'java.util',
    'java.util.concurrent',
  ],
  ...['java.util.concurrent.atomic', 'java.util.concurrent.locks', 'jdk.internal.loader', 'jdk.internal.ref'],
  ...[
    'jdk.internal.reflect',
    'jdk.internal.math',
    'jdk.internal.module',
    'jdk.internal.util.jar',
    'sun.nio.ch',
  ],
].map((name) => `java.base/${name}`)
const modules = [
  ...exported.flatMap((name) => ['--add-exports', `${name}=ALL-UNNAMED`]),
  ...[...opened, 'jdk.management/com.sun.management.internal'].flatMap((name) => [
    '--add-opens',
    `${name}=ALL-UNNAMED`,
  ]),
]

export interface CassandraOptions extends Omit<CassandraPlace, 'folder'> {
  readonly dir: string
  readonly heapMiB?: number
  /** `nodetool` speaks to it there, on loopback. */
  readonly jmxPort: number
  /** More of Java's `-D…`. */
  readonly properties?: readonly string[]
  readonly within?: readonly string[]
  readonly detached?: boolean
}

/** A server whose configuration is written, and that is not begun yet. */
export function cassandraServer(options: CassandraOptions): JavaServer {
  const { dir, heapMiB = 512, jmxPort, properties = [], within, detached, ...place } = options
  const conf = join(dir, 'conf')
  mkdirSync(conf, { recursive: true })
  writeFileSync(join(conf, 'cassandra.yaml'), cassandraYaml({ ...place, folder: join(dir, 'data') }))
  writeFileSync(join(conf, 'cassandra-rackdc.properties'), cassandraRack(place))
  return new JavaServer({
    name: `Cassandra at ${place.address}`,
    dir,
    address: { host: place.address, port: place.port ?? 9042 },
    ...(within === undefined ? {} : { within }),
    ...(detached === undefined ? {} : { detached }),
    arguments: cassandraArguments({
      ...{ jars: cassandraJars, logging: cassandraLogging, conf, data: join(dir, 'data') },
      ...{ heapMiB, jmxPort, properties },
    }),
  })
}

export interface CassandraProcess {
  /** Where `cassandraJars` are seen, and `cassandraLogging`. */
  readonly jars: string
  readonly logging: string
  /** Where its configuration lies. */
  readonly conf: string
  readonly data: string
  readonly heapMiB: number
  readonly jmxPort: number
  readonly properties?: readonly string[]
}

/** Java's. */
export const cassandraArguments = ({
  jars,
  logging,
  conf,
  data,
  heapMiB,
  jmxPort,
  properties = [],
}: CassandraProcess): readonly string[] => [
  ...[`-Xms${heapMiB}m`, `-Xmx${heapMiB}m`, '-XX:+UseSerialGC', '-XX:+ExitOnOutOfMemoryError'],
  ...['-Djdk.attach.allowAttachSelf=true', ...modules, loggingBy(logging)],
  `-javaagent:${jars}/${basename(globSync(join(cassandraJars, 'jamm-*.jar'))[0])}`,
  ...[`-Dcassandra.storagedir=${data}`, `-Dcassandra.jmx.local.port=${jmxPort}`],
  ...['-Dcassandra-foreground=yes', ...properties],
  ...['-cp', `${conf}:${jars}/*`, 'org.apache.cassandra.service.CassandraDaemon'],
]

/** Cassandra's own tool: repairs, removals, what each server thinks of the others. */
export function nodetool(
  { jmxPort, within = [] }: Pick<CassandraOptions, 'jmxPort' | 'within'>,
  ...args: string[]
): string {
  const tool = [
    loggingBy(cassandraLogging),
    '-Dlevel=ERROR',
    '-cp',
    `${cassandraJars}/*`,
    'org.apache.cassandra.tools.NodeTool',
  ]
  const [program, ...rest] = [...within, 'java', ...modules, ...tool]
  const { status, stdout, stderr } = spawnSync(
    program,
    [...rest, '-h', '127.0.0.1', '-p', String(jmxPort), ...args],
    { encoding: 'utf8' },
  )
  if (status !== 0) throw new Error(`nodetool ${args.join(' ')}: ${stderr || stdout}`)
  return stdout
}
