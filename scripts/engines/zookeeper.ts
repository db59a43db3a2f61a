/**
 * Apache ZooKeeper from Debian's package, as NDFS wants it (DESIGN section 8): a tick of 500 ms, a follower that is 1 s behind
 * is none, and every change synced before it is acknowledged.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { apt, isInstalled } from '../install-test-tools.ts'
import { JavaServer } from './java-server.ts'

const jar = '/usr/share/java/zookeeper.jar'

/** Why there is none; undefined where there is. */
export function withoutZooKeeper(): string | undefined {
  if (!isInstalled('java')) return "Java is not installed (Debian's package openjdk-17-jre-headless)"
  return isInstalled(jar) ? undefined : "ZooKeeper is not installed (Debian's package zookeeper)"
}

export function installZooKeeper(say: (line: string) => void): void {
  if (withoutZooKeeper() === undefined) return
  say("Installing from Debian's packages: zookeeper")
  apt('update')
  apt('install', '-y', '--no-install-recommends', 'openjdk-17-jre-headless', 'zookeeper')
}

export interface ZooKeeperMember {
  readonly host: string
  readonly clientPort: number
  readonly quorumPort: number
  readonly electionPort: number
}

export interface ZooKeeperOptions {
  readonly dir: string
  readonly members: readonly ZooKeeperMember[]
  /** Of this one among them, from 0. */
  readonly index: number
  readonly within?: readonly string[]
  readonly detached?: boolean
}

/** A member whose configuration is written, and that is not begun yet. */
export function zooKeeperServer({ dir, members, index, ...rest }: ZooKeeperOptions): JavaServer {
  const own = members[index]
  const data = join(dir, 'data')
  mkdirSync(data, { recursive: true })
  writeFileSync(join(data, 'myid'), `${index + 1}\n`)
  const settings = [
    'tickTime=500',
    'initLimit=20',
    'syncLimit=2',
    `dataDir=${data}`,
    `clientPort=${own.clientPort}`,
    `clientPortAddress=${own.host}`,
    'maxClientCnxns=0',
    'admin.enableServer=false',
    'autopurge.purgeInterval=1',
    '4lw.commands.whitelist=srvr,ruok,mntr',
    ...members.map((m, i) => `server.${i + 1}=${m.host}:${m.quorumPort}:${m.electionPort}`),
  ]
  const file = join(dir, 'zoo.cfg')
  writeFileSync(file, `${settings.join('\n')}\n`)
  // It says nothing but what is wrong.
  const logging = ['log4j.rootLogger=WARN, C', 'log4j.appender.C=org.apache.log4j.ConsoleAppender']
  const layout = 'log4j.appender.C.layout=org.apache.log4j.PatternLayout'
  const pattern = 'log4j.appender.C.layout.ConversionPattern=%d{ISO8601} %p %c{1} %m%n'
  writeFileSync(join(dir, 'log4j.properties'), `${[...logging, layout, pattern].join('\n')}\n`)
  return new JavaServer({
    ...rest,
    name: `ZooKeeper ${index + 1}`,
    dir,
    address: { host: own.host, port: own.clientPort },
    arguments: [
      '-Xmx128m',
      '-XX:+UseSerialGC',
      '-Dzookeeper.forceSync=yes',
      '-cp',
      `${dir}:/usr/share/java/zookeeper.jar`,
      'org.apache.zookeeper.server.quorum.QuorumPeerMain',
      file,
    ],
  })
}

/** What the member at `host:port` says that it is: `leader`, `follower`; undefined where it serves nobody. */
export function zooKeeperMode(address: string): Promise<string | undefined> {
  const [host, port] = address.split(':')
  return new Promise((resolve) => {
    const socket = connect({ host, port: Number(port) }, () => socket.write('srvr'))
    let text = ''
    socket.on('data', (bytes) => (text += String(bytes)))
    socket.once('close', () => resolve(/^Mode: (\w+)/m.exec(text)?.[1])).once('error', () => {})
    socket.setTimeout(500, () => socket.destroy())
  })
}
