import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { parse } from 'yaml'
import { parseConfigFile } from '../src/local/config-file/config-file.ts'

const read = (name: string): string => readFileSync(join(import.meta.dirname, '../deploy', name), 'utf8')

interface Compose {
  readonly services: Record<string, { networks: { ndfs: { ipv4_address?: string } }; volumes: string[] }>
  readonly volumes: Record<string, null>
}

test('the nodes of deploy/compose.yaml run by configurations without mistakes, at the addresses that it gives them', () => {
  const { services, volumes } = parse(read('compose.yaml'), { merge: true }) as Compose
  for (const node of ['n1', 'n2', 'n3']) {
    const parsed = parseConfigFile(read(`compose/${node}.yaml`))
    assert.ok('config' in parsed, JSON.stringify(parsed))
    const { config } = parsed
    assert.equal(config.node, node)
    for (const address of Object.values(config.listen))
      assert.ok(address?.startsWith(`${services[node].networks.ndfs.ipv4_address}:`))
    const servers = [
      ...(config.zeus.zookeeper?.servers ?? []).map((server) => server.replace(/:2181$/, '')),
      ...(config.medusa.cassandra?.contactPoints ?? []),
    ]
    assert.equal(servers.length, 6)
    for (const server of servers) assert.ok(server in services, server)
  }
  const mounted = Object.values(services).flatMap((service) =>
    service.volumes.map((one) => one.split(':')[0]),
  )
  assert.deepEqual(mounted.sort(), Object.keys(volumes).sort())
})
