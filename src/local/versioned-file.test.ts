import assert from 'node:assert/strict'
import { test } from 'node:test'
import { configVersion, localNodeConfigSchema, type LocalNodeConfig } from './node-config.ts'
import { parseVersioned } from './versioned-file.ts'

const config: LocalNodeConfig = {
  version: 1,
  cluster: { id: '0123456789abcdef', keyFile: '/d/cluster.key' },
  node: 'n1',
  block: 'b1',
  dir: '/d/nodes/n1',
  storeSocket: '/d/store.sock',
  listen: { http: '127.0.0.1:9440', peer: '127.0.0.1:9640', nbd: '127.0.0.1:10809' },
  nbdSocket: '/d/nodes/n1/nbd.sock',
  tokenFile: '/d/token',
  disks: [{ id: 'n1-flash-0', path: '/d/f', tier: 'flash', capacityBytes: 1024 }],
  cacheBytes: 0,
  writeWaitMaxMs: 60_000,
}
const parse = (text: string): LocalNodeConfig =>
  parseVersioned('/d/node.json', text, localNodeConfigSchema, configVersion)

test('a configuration is read as it was written', () => {
  assert.deepEqual(parse(JSON.stringify(config)), config)
})

test('a configuration that is not sound is refused with a sentence that names the file and the key', () => {
  const cases: [unknown, RegExp][] = [
    [{ ...config, version: 2 }, /\/d\/node\.json: its version is 2, and this ndfs knows version 1/],
    [{ ...config, version: undefined }, /it has no version/],
    [null, /it has no version/],
    [{ ...config, colour: 'red' }, /colour is not a key that is known here/],
    [{ ...config, disks: [{ ...config.disks[0], tier: 'tape' }] }, /disks\.0\.tier/],
    [{ ...config, cacheBytes: -1 }, /cacheBytes must be >= 0/],
    [{ ...config, dir: 'relative' }, /dir must match pattern/],
    [{ ...config, node: undefined }, /node/],
  ]
  for (const [value, message] of cases) assert.throws(() => parse(JSON.stringify(value)), message)
  assert.throws(() => parse('{"version": 1,\n]'), /\/d\/node\.json: it is not JSON: .*line 2/)
})
