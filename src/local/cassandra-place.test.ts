import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { hasCode } from '../base/errors.ts'
import { nodePlatform } from '../platform/node-platform.ts'
import { cassandraPlaceOf, writeCassandraConfig } from './cassandra-place.ts'

const node = (id: string, host: string, block: string) => ({
  id,
  block,
  addresses: { peer: `${host}:9540`, http: '', nbd: { address: '', socket: '' } },
})
const cluster = {
  cluster: 'c0ffee',
  nodes: [
    node('n1', '10.0.0.1', 'b1'),
    node('n2', '10.0.0.2', 'b1'),
    node('n3', '[fd00::3]', 'b2'),
    node('n4', 'four.example', 'b3'),
    node('n5', '10.0.0.5', 'b4'),
  ],
}
const wishes = { datacenter: 'dc1', folder: '/var/lib/cassandra', first: false }

test("a server's rack is its node's block, and its seeds are nodes of distinct blocks", () => {
  const first = cassandraPlaceOf(cluster, 'n3', { ...wishes, first: true })
  assert.deepEqual(first, {
    ...{ cluster: 'ndfs-c0ffee', address: 'fd00::3', rack: 'b2', joins: false },
    ...{ datacenter: 'dc1', folder: '/var/lib/cassandra', seeds: ['10.0.0.1', '[fd00::3]', 'four.example'] },
  })
})

test('a server that joins others is no seed of its own: it would not take its rows over', () => {
  const { seeds, joins } = cassandraPlaceOf(cluster, 'n1', wishes)
  assert.deepEqual([seeds, joins], [['[fd00::3]', 'four.example', '10.0.0.5'], true])
})

test('where there are too few blocks, seeds are more of their nodes', () => {
  const few = { ...cluster, nodes: cluster.nodes.slice(0, 3) }
  const { seeds } = cassandraPlaceOf(few, 'n2', { ...wishes, first: true })
  assert.deepEqual(seeds, ['10.0.0.1', '[fd00::3]', '10.0.0.2'])
})

test('nodes that share a machine are refused by name, and nodes that there are not', () => {
  const shared = { ...cluster, nodes: [...cluster.nodes, node('n6', '10.0.0.2', 'b5')] }
  assert.throws(
    () => cassandraPlaceOf(shared, 'n1', wishes),
    (error: Error) =>
      hasCode(error, 'REFUSED') && /n2 and n6 share the address 10\.0\.0\.2/.test(error.message),
  )
  assert.throws(
    () => cassandraPlaceOf(cluster, 'n9', wishes),
    (error) => hasCode(error, 'NOT_FOUND'),
  )
})

test('both files are written, in a folder that is made', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'ndfs-cassandra-place-'))
  try {
    const { files } = nodePlatform({ level: 'silent' })
    const written = await writeCassandraConfig(cluster, 'n1', wishes, join(dir, 'conf'), files)
    const [yaml, rack] = await Promise.all(written.map((path) => readFile(path, 'utf8')))
    assert.match(yaml, /^cluster_name: "ndfs-c0ffee"$/m)
    assert.match(yaml, /- seeds: "\[fd00::3\]:7000,four\.example:7000,10\.0\.0\.5:7000"/)
    assert.match(yaml, /^auto_bootstrap: true$/m)
    assert.equal(rack, 'dc=dc1\nrack=b1\n')
  } finally {
    await rm(dir, { recursive: true })
  }
})
