import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { GiB } from '../../base/units.ts'
import { configExample } from './config-example.ts'
import {
  type ConfigFile,
  mistakeLine,
  nodeConfigOf,
  parseConfigFile,
  storeConfigOf,
  withClusterId,
} from './config-file.ts'

const id = '0123456789012345'
const small = `version: 1
cluster: { id: ${id}, keyFile: /etc/ndfs/cluster.key }
node: n1
block: b1
dir: /var/lib/ndfs
listen: { http: 10.0.0.1:9440, peer: 10.0.0.1:9441, nbd: 10.0.0.1:10809 }
disks:
  - { id: n1-flash-0, path: /srv/ndfs/flash0, tier: flash, capacity: 100GiB }
zeus: { store: { address: 10.0.0.9:9460 } }
medusa: { store: { address: 10.0.0.9:9460 } }
`

function configOf(text: string): ConfigFile {
  const parsed = parseConfigFile(text)
  assert.ok('config' in parsed, JSON.stringify(parsed))
  return parsed.config
}

function mistakesIn(text: string): string[] {
  const parsed = parseConfigFile(text)
  return 'mistakes' in parsed ? parsed.mistakes.map((mistake) => mistakeLine('f', mistake)) : []
}

/** What is wrong after a change of the small file, which must change it. */
function mistakesAfter(from: string | RegExp, to: string): string[] {
  const text = small.replace(from, to)
  assert.notEqual(text, small)
  return mistakesIn(text)
}

test('the example of a configuration has no mistakes', () => {
  const config = configOf(configExample)
  assert.equal(config.cluster.id, undefined)
  assert.deepEqual(
    config.disks.map(({ id, capacity }) => [id, capacity]),
    [
      ['n1-flash-0', 100 * GiB],
      ['n1-hdd-0', 1024 * GiB],
    ],
  )
})

test('a configuration says what a node runs by, an id of digits alone too', () => {
  assert.deepEqual(nodeConfigOf('f', configOf(small)), {
    cluster: { id, keyFile: '/etc/ndfs/cluster.key' },
    node: 'n1',
    block: 'b1',
    dir: '/var/lib/ndfs',
    listen: { http: '10.0.0.1:9440', peer: '10.0.0.1:9441', nbd: '10.0.0.1:10809' },
    nbdSocket: '/var/lib/ndfs/nbd.sock',
    tokenFile: '/etc/ndfs/token',
    disks: [{ id: 'n1-flash-0', path: '/srv/ndfs/flash0', tier: 'flash', capacityBytes: 100 * GiB }],
    cacheBytes: 2 * GiB,
    writeWaitMaxMs: 60_000,
    stores: { kind: 'store', address: '10.0.0.9:9460' },
  })
})

test('a configuration names the engines, and what is left out of them is usual', () => {
  const text = small
    .replace(/^zeus.*$/m, 'zeus: { zookeeper: { servers: [zk1:2181, "[fd00::2]:2181"] } }')
    .replace(
      /^medusa.*$/m,
      'medusa: { cassandra: { contactPoints: [c1.example, fd00::2], datacenter: dc1 } }',
    )
  assert.deepEqual(nodeConfigOf('f', configOf(text)).stores, {
    kind: 'engines',
    zookeeper: {
      servers: ['zk1:2181', '[fd00::2]:2181'],
      chroot: '/ndfs',
    },
    cassandra: {
      contactPoints: ['c1.example', 'fd00::2'],
      port: 9042,
      datacenter: 'dc1',
      keyspace: 'ndfs',
    },
  })
})

test('only the machine that has the folder of the store runs it', () => {
  assert.throws(() => storeConfigOf('f', configOf(small)), /it has no zeus\.store\.dir/)
  const holder = configOf(small.replace('zeus: { store: {', 'zeus: { store: { dir: /var/lib/store,'))
  const { dir, socket, listen } = storeConfigOf('f', holder)
  assert.deepEqual([dir, socket, listen], ['/var/lib/store', '/var/lib/store/store.sock', '10.0.0.9:9460'])
})

test('a node without a cluster is told how to come by one', () => {
  const config = configOf(small.replace(`id: ${id}, `, ''))
  assert.throws(() => nodeConfigOf('/f.yaml', config), /names no cluster yet.*`ndfs init --config \/f\.yaml`/)
})

test('every mistake of a configuration is told at once, with its place', () => {
  const text = `version: 2
cluster: { keyfile: cluster.key }
node: N1
dir: /var/lib/ndfs
listen:
  http: 0.0.0.0:9440
  peer: 10.0.0.1:70000
  nbd: [10.0.0.1]
disks:
  - { id: d, path: /srv/a, tier: ssd, capacity: 5 apples }
  - { id: d, path: /srv/a/b, tier: flash, capacity: 1MiB, speed: 3 }
writeWait: soon
zeus: { zookeeper: { servers: [] }, store: { address: 10.0.0.9:9460 } }
medusa: {}
`
  assert.deepEqual(mistakesIn(text), [
    'f:1:1: block is missing: it should be small letters, digits and -, such as b1',
    'f:1:10: version is "2": it should be 1',
    'f:2:10: cluster.keyFile is missing: it should be an absolute path',
    'f:2:12: "keyfile" is not known in cluster: do you mean keyFile?',
    'f:3:7: node is "N1": it should be small letters, digits and -, such as n1',
    'f:6:9: listen.http is "0.0.0.0:9440": it should be an address of this machine and a port, such as 10.0.0.1:9440',
    'f:7:9: listen.peer is "10.0.0.1:70000": it should be an address of this machine and a port, such as 10.0.0.1:9440',
    'f:8:8: listen.nbd is a list: it should be an address of this machine and a port, such as 10.0.0.1:9440',
    'f:10:34: disks[0].tier is "ssd": it should be flash or hdd',
    'f:10:49: disks[0].capacity is "5 apples": it should be a size such as 100GiB or 512MiB, at least 1GiB',
    'f:11:11: disks[1].id is d, as disks[0].id is: each has its own',
    'f:11:20: disks[1].path is /srv/a/b, and disks[0].path is /srv/a: no disk lies in another, nor holds dir',
    'f:11:53: disks[1].capacity is "1MiB": it should be a size such as 100GiB or 512MiB, at least 1GiB',
    'f:11:59: "speed" is not known in disks[1]: there are id, path, tier, capacity',
    'f:12:12: writeWait is "soon": it should be a time such as 60s, 3m or 2h, at least 1s',
    'f:13:7: zeus: exactly one of zookeeper and store should be there, and it has zookeeper and store',
    'f:13:31: zeus.zookeeper.servers has 0 entries: it should be a list of servers, such as [10.0.0.1:2181, 10.0.0.2:2181]',
    'f:14:9: medusa: exactly one of cassandra and store should be there, and none is',
  ])
})

test('what does not go together in a configuration is told', () => {
  assert.deepEqual(mistakesAfter('nbd: 10.0.0.1:10809', 'nbd: 10.0.0.1:9440'), [
    'f:6:58: listen.nbd is 10.0.0.1:9440, as listen.http is: each has its own',
  ])
  assert.deepEqual(mistakesAfter('tier: flash', 'tier: hdd'), [
    'f:8:3: disks has none of tier flash: one is needed, as the log lies there',
  ])
  assert.deepEqual(mistakesAfter('/srv/ndfs/flash0', '/var/lib/'), [
    'f:8:29: disks[0].path is /var/lib, and dir is /var/lib/ndfs: no disk lies in another, nor holds dir',
  ])
  assert.deepEqual(mistakesAfter('/srv/ndfs/flash0', '/var/lib/ndfs/'), [
    'f:8:29: disks[0].path is /var/lib/ndfs, as dir is: each has its own folder',
  ])
  assert.deepEqual(mistakesAfter('/srv/ndfs/flash0', '/var/lib/ndfs/flash0'), [])
  assert.deepEqual(mistakesAfter(/^medusa.*$/m, 'medusa: { store: { address: unix:/s } }'), [
    'f:10:29: medusa.store.address is unix:/s: it should be that of zeus.store, 10.0.0.9:9460',
  ])
  assert.deepEqual(
    mistakesAfter(/^medusa.*$/m, 'medusa: { cassandra: { contactPoints: [a], datacenter: d, user: u } }'),
    [
      'f:10:9: zeus and medusa are both on one store, or on zookeeper and cassandra: name the same kind for both',
      'f:10:22: medusa.cassandra: user is there without passwordFile',
    ],
  )
  assert.deepEqual(mistakesAfter(/$/, 'nbdTls: { certFile: /c }\ntls: { caFile: /a }\n'), [
    'f:11:9: nbdTls: certFile is there without keyFile',
    'f:12:6: tls.certFile is missing: it should be an absolute path',
    'f:12:6: tls.keyFile is missing: it should be an absolute path',
  ])
  assert.deepEqual(mistakesAfter(/$/, 'nbdTls: { caFile: /c }\n'), [
    'f:11:9: nbdTls: certFile and keyFile should be there, or pskFile',
  ])
})

test('what is no YAML, or not all of it, is told', () => {
  assert.deepEqual(mistakesIn(''), [
    'f:1:1: the file is empty: it should be keys and values: version, cluster, node, block, dir, listen, disks, cache, writeWait, zeus, medusa, tls, nbdTls',
  ])
  assert.match(mistakesIn('- a')[0], /^f:1:1: the file is a list: it should be keys and values/)
  assert.match(mistakesIn('node: [n1\nblock: b1\n')[0], /^f:2:\d+: not YAML: /)
  assert.match(mistakesIn(`${small}---\nnode: n2\n`)[0], /^f:11:1: not YAML: .*multiple documents/)
  assert.deepEqual(mistakesAfter(/^block.*$/m, 'block: b1\nblock: b2'), [
    'f:5:1: not YAML: Map keys must be unique',
  ])
  assert.deepEqual(mistakesAfter('node: n1\nblock: b1', 'node: &a n1\nblock: *a'), [
    'f:4:8: block is a reference (*), which is not read here: it should be small letters, digits and -, such as b1',
  ])
  assert.match(mistakesAfter('node: n1', 'node: !!int n1')[0], /^f:3:7: not YAML: Unresolved tag/)
  assert.deepEqual(mistakesAfter('node: n1', 'node:'), [
    'f:3:6: node is empty: it should be small letters, digits and -, such as n1',
  ])
  assert.match(mistakesAfter('node: n1', '? [a]\n: b\nnode: n1')[0], /^f:3:3: such a key is not known here/)
  assert.match(mistakesIn(`#${'x'.repeat(300_000)}`)[0], /longer than 256KiB/)
})

test('the id of a cluster is put into a configuration, and nothing else is changed', () => {
  const written = withClusterId(configExample, id)
  assert.equal(configOf(written).cluster.id, id)
  assert.equal(written.replace(`  id: ${id}\n`, ''), configExample)
  const flow = small.replace(`id: ${id}, `, '')
  assert.equal(withClusterId(flow, id), small)
})

test('fuzz: whatever the text of a configuration is, it is read or its mistakes are told', () => {
  const words = fc.constantFrom(
    ...small.split(/(?=[\s,:{}[\]])|(?<=[\s,:{}[\]])/),
    ...[
      '&a',
      '*a',
      '<<',
      '!!x',
      '|',
      '>',
      '"',
      "'",
      '#',
      '?',
      '- ',
      '\t',
      '---',
      '%',
      '\u0000',
      '['.repeat(5000),
    ],
  )
  const broken = fc
    .tuple(fc.nat(small.length), fc.nat(40), fc.oneof(words, fc.string({ unit: 'binary' })))
    .map(([at, cut, put]) => small.slice(0, at) + put + small.slice(at + cut))
  const texts = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 300 }),
    fc.array(words, { maxLength: 60 }).map((parts) => parts.join('')),
    broken,
  )
  fc.assert(
    fc.property(texts, (text) => {
      const parsed = parseConfigFile(text)
      if ('config' in parsed) return
      assert.ok(parsed.mistakes.length > 0)
      for (const { line, column, message } of parsed.mistakes) {
        assert.ok(line >= 1 && column >= 1)
        assert.match(message, /^[^\n]+$/)
      }
    }),
    { numRuns: 3000 },
  )
})
