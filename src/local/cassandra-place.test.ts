import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { hasCode } from '../base/errors.ts'
import { nodePlatform } from '../platform/node-platform.ts'
import { cassandraPlaceOf, writeCassandraConfig } from './cassandra-place.ts'
import { configExample } from './config-file/config-example.ts'
import { parseConfigFile } from './config-file/config-file.ts'

/** The example's, of a machine among these. */
function configOf(address: string, contactPoints: string) {
  const written = configExample
    .replace(/^ {2}peer: \S+/m, `  peer: "${address}:9441"`)
    .replace(/contactPoints: .*/, `contactPoints: ${contactPoints}`)
  const parsed = parseConfigFile(written)
  assert('config' in parsed, JSON.stringify(parsed))
  return parsed.config
}
const wishes = { folder: '/var/lib/cassandra', first: false }
const three = '["10.0.0.1", "fd00::2", "10.0.0.3", "10.0.0.4"]'

test('the first servers are seeds of one another: no cluster has to be there', () => {
  const first = { ...wishes, first: true }
  assert.deepEqual(cassandraPlaceOf(configOf('10.0.0.1', three), first), {
    ...{ cluster: 'ndfs', address: '10.0.0.1', port: 9042, datacenter: 'dc1', rack: 'b1' },
    ...{ folder: '/var/lib/cassandra', seeds: ['10.0.0.1', '[fd00::2]', '10.0.0.3'] },
    ...{ password: true, joins: false },
  })
  const { seeds, address } = cassandraPlaceOf(configOf('[fd00::2]', three), first)
  assert.deepEqual([seeds, address], [['10.0.0.1', '[fd00::2]', '10.0.0.3'], 'fd00::2'])
})

test('a server that joins others is no seed of its own: it would not take its rows over', () => {
  const { seeds, joins } = cassandraPlaceOf(configOf('10.0.0.1', three), wishes)
  assert.deepEqual([seeds, joins], [['[fd00::2]', '10.0.0.3', '10.0.0.4'], true])
  assert.deepEqual(cassandraPlaceOf(configOf('10.0.0.9', three), wishes).seeds.length, 3)
})

test('what would make a server that takes no rows over, and answers for them, is refused', () => {
  const refuses = (address: string, points: string, first: boolean, reason: RegExp): void =>
    assert.throws(
      () => cassandraPlaceOf(configOf(address, points), { ...wishes, first }),
      (error: Error) => hasCode(error, 'REFUSED') && reason.test(error.message),
    )
  refuses('10.0.0.9', three, true, /doesn't name 10\.0\.0\.9/)
  refuses('10.0.0.1', '[10.0.0.1]', false, /no server but 10\.0\.0\.1/)
  refuses('10.0.0.1', '[one.example, 10.0.0.2]', false, /one\.example may be this machine or another/)
})

test('both files are written, in a folder that is made', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'ndfs-cassandra-place-'))
  try {
    const { files } = nodePlatform({ level: 'silent' })
    const file = join(dir, 'ndfs.yaml')
    await writeFile(file, configExample)
    const written = await writeCassandraConfig(file, wishes, join(dir, 'conf'), files)
    const [yaml, rack] = await Promise.all(written.map((path) => readFile(path, 'utf8')))
    assert.match(yaml, /^cluster_name: "ndfs"$/m)
    assert.match(yaml, /- seeds: "10\.0\.0\.2:7000,10\.0\.0\.3:7000"/)
    assert.match(yaml, /^auto_bootstrap: true$/m)
    assert.match(yaml, /^authenticator: PasswordAuthenticator$/m)
    assert.equal(rack, 'dc=dc1\nrack=b1\n')
  } finally {
    await rm(dir, { recursive: true })
  }
})
