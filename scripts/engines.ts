/**
 * Real engines on this machine, as tests start them and as a first cluster of one's own may be tried with:
 *
 *   node scripts/engines.ts install              fetches what is missing: ZooKeeper from Debian, Cassandra from Maven Central
 *   node scripts/engines.ts start --dir DIR      three ZooKeepers on 127.0.0.1, three Cassandras on 127.0.0.1, .2, .3; stays until Ctrl-C
 *
 * Nothing here is safe from other users of the machine: no passwords, no TLS.
 */
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { Engines } from './engines/engines.ts'
import { installCassandra, withoutCassandra } from './engines/cassandra.ts'
import { installZooKeeper, withoutZooKeeper } from './engines/zookeeper.ts'

const say = (line: string): void => console.log(line)

const { positionals, values } = parseArgs({ allowPositionals: true, options: { dir: { type: 'string' } } })
const [verb] = positionals
if (verb === 'install' || verb === 'start') {
  installZooKeeper(say)
  installCassandra(say)
  const missing = withoutZooKeeper() ?? withoutCassandra()
  if (missing !== undefined) {
    say(`Cannot go on: ${missing}`)
    process.exitCode = 1
  } else if (verb === 'start') await start(resolve(values.dir ?? join('.ndfs', 'engines')))
} else {
  say('Say what to do: install, or start --dir DIR')
  process.exitCode = 1
}

async function start(dir: string): Promise<void> {
  const engines = new Engines({ dir })
  const asked = new Promise<void>((done) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => done())
  })
  try {
    await engines.start()
    say(`ZooKeeper: ${engines.zooKeeperAddresses.join(' ')}`)
    say(`Cassandra: ${engines.cassandraAddresses.join(' ')}, port ${engines.cassandraPort}, datacenter dc1`)
    say('Ctrl-C ends them.')
    await asked
  } finally {
    await engines.end()
  }
}
