/** What Apache's package for Debian would bring: a user, a service and folders of those names. The jars are those of Maven Central. */
import { chmodSync } from 'node:fs'
import { cassandraArguments, cassandraJars, cassandraLogging } from '../../scripts/engines/cassandra.ts'
import type { Machine, MachineOptions } from './machine.ts'

const home = '/opt/cassandra'
const [jars, logging] = [`${home}/lib`, `${home}/logback.xml`]
const [conf, data] = ['/etc/cassandra', '/var/lib/cassandra']

export const seenByCassandra: MachineOptions['sees'] = [
  [cassandraJars, jars],
  [cassandraLogging, logging],
]

export async function installCassandraService(machine: Machine): Promise<void> {
  // Their folder was made for one user.
  chmodSync(cassandraJars, 0o755)
  const java = cassandraArguments({ jars, logging, conf, data, heapMiB: 384, jmxPort: 7199 })
  await machine.write(
    '/lib/systemd/system/cassandra.service',
    `[Service]
User=cassandra
ExecStart=/usr/bin/java ${java.join(' ')}
SuccessExitStatus=143
[Install]
WantedBy=multi-user.target
`,
  )
  await machine.run(`adduser --system --group --quiet --home ${data} cassandra
    install -d ${conf}
    chown cassandra: ${data}
    systemctl daemon-reload`)
}
