/** The contract of Zeus on three real ZooKeeper servers, and what it owes while they fail. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before } from 'node:test'
import { nodePlatform } from '../platform/node-platform.ts'
import { Engines } from '../../scripts/engines/engines.ts'
import { zeusContract } from './zeus-contract-suite.ts'
import type { Zeus } from './zeus.ts'
import { zooKeeperZeus } from './zookeeper-zeus.ts'

const platform = nodePlatform({ level: 'silent' })
const dir = await mkdtemp(join(tmpdir(), 'ndfs-zookeeper-'))
const engines = new Engines({ dir, cassandras: 0, basePort: 23810 })

before(() => engines.start())
after(async () => {
  await engines.end()
  await rm(dir, { recursive: true })
})

let stands = 0

/** Clients of an empty Zeus of their own. */
async function withZeus(body: (client: () => Zeus) => Promise<void>): Promise<void> {
  const chroot = `/test/${++stands}`
  const clients: Zeus[] = []
  const client = (): Zeus => {
    const zeus = zooKeeperZeus({ servers: engines.zooKeeperAddresses, chroot, platform })
    clients.push(zeus)
    return zeus
  }
  try {
    await body(client)
  } finally {
    await Promise.all(clients.map((zeus) => zeus.close()))
  }
}

zeusContract('Zeus on ZooKeeper', (body) =>
  withZeus((client) => body({ client, clock: platform.clock, run: (work) => work })),
)
