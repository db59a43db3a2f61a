/** Medusa on three real servers of Cassandra: its contract, its keyspace, and what stays true while servers are killed, frozen and started again. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { cassandraServer } from '../../scripts/engines/cassandra.ts'
import { Engines } from '../../scripts/engines/engines.ts'
import { hasCode, NdfsError } from '../base/errors.ts'
import type { Epoch } from '../base/ids.ts'
import { testPlatform } from '../local/store/store-for-tests.ts'
import { cassandraGossip, joinedGossip } from './cassandra-gossip.ts'
import { cassandraMedusa, type CassandraMedusa, type CassandraMedusaOptions } from './cassandra-medusa.ts'
import type { Change, Medusa, PartitionName, Row } from './medusa.ts'
import { changeBytesMax, changeForCertain, newChangeId } from './medusa.ts'
import { medusaContract } from './medusa-contract-suite.ts'
import { RecordedChanges, unlessItMayPass } from './recorded-changes-for-tests.ts'

const { clock, chance, log } = testPlatform
const keyspace = 'ndfs'
let dir: string
let engines: Engines
let clients: readonly CassandraMedusa[] = []

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'ndfs-cassandra-'))
  engines = new Engines({ dir, zooKeepers: 0, basePort: 25810 })
  await engines.start()
  // All of them find no keyspace, and make it together.
  clients = await Promise.all([connect(), connect(), connect()])
})

after(async () => {
  for (const one of clients) await one.close()
  await engines.end()
  await rm(dir, { recursive: true })
})

const connect = (options: Partial<CassandraMedusaOptions> = {}): Promise<CassandraMedusa> =>
  cassandraMedusa({
    ...{ contactPoints: engines.cassandraAddresses, port: engines.cassandraPort, datacenter: 'dc1' },
    ...{ keyspace, clock, log },
    ...options,
  })

/** As an empty store of its own: a keyspace takes seconds to make. */
function inStore(name: string, medusa: Medusa): Medusa {
  const keyIn = (key: string): string => key && `${name} ${key}`
  const within = ({ table, key }: PartitionName): PartitionName => ({ table, key: keyIn(key) })
  return {
    get: (partition, ...rest) => medusa.get(within(partition), ...rest),
    scan: (partition, ...rest) => medusa.scan(within(partition), ...rest),
    getOfMany: (table, keys, rowKey) => medusa.getOfMany(table, keys.map(keyIn), rowKey),
    change: (partition, change) => medusa.change(within(partition), change),
    close: () => Promise.resolve(),
  }
}

let stores = 0
medusaContract('Medusa on Cassandra', async (body) => {
  const name = `store ${++stores}`
  let next = 0
  await body({ client: () => inStore(name, clients[next++]), clock, chance, run: (work) => work })
})

const changeAt = (version: number, rest: Partial<Change> = {}): Change => ({
  id: newChangeId(chance),
  expected: { epoch: 0 as Epoch, version },
  epoch: 0 as Epoch,
  ...rest,
})
const row = (key: string, value: string | Buffer): Row => ({ key, value: Buffer.from(value) })

test('a partition of 5,000 rows is read at one version while it changes', async () => {
  const [reader, writer] = clients
  const partition: PartitionName = { table: 'directory', key: 'wide' }
  let version = 0
  const value = 'x'.repeat(100)
  while (version < 5) {
    const put = Array.from({ length: 1000 }, (_, i) => row(`b${version}${String(i).padStart(3, '0')}`, value))
    await writer.change(partition, changeAt(version++, { put }))
  }
  let reading = true
  const marking = (async () => {
    while (reading) {
      const put = [row('a', `${version + 1}`), row('z', `${version + 1}`)]
      await changeForCertain(writer, clock, partition, changeAt(version++, { put }), () => true)
      await clock.sleep(150)
    }
  })()
  let whole = 0
  for (let reads = 0; reads < 5; reads++)
    try {
      const { static: at, rows } = await reader.scan(partition, { limit: 10_000 })
      const marks = rows.filter(({ key }) => key === 'a' || key === 'z').map((mark) => String(mark.value))
      assert.equal(rows.length, at.version === 5 ? 5000 : 5002)
      for (const mark of marks) assert.equal(mark, `${at.version}`)
      whole++
    } catch (error) {
      assert.ok(hasCode(error, 'UNAVAILABLE', 'TIMED_OUT'), String(error))
    }
  reading = false
  await marking
  assert.ok(whole > 0, 'no read found a quiet moment')
  assert.equal((await reader.scan(partition, { after: 'a', before: 'b', limit: 10 })).rows.length, 0)
  assert.equal((await reader.scan(partition, { after: 'b1999', before: 'z', limit: 10 })).rows.length, 10)
  assert.equal((await reader.get(partition)).rows.length, 5002)
})

test('the largest change goes through, while others go on', async () => {
  const [medusa] = clients
  const value = Buffer.alloc(changeBytesMax - 1, 3)
  const places = Array.from({ length: 4 }, (_, i): PartitionName => ({ table: 'map', key: `large ${i}` }))
  await Promise.all(
    places.map(async (place) => {
      const change = changeAt(0, { put: [{ key: 'k', value }] })
      const { outcome } = await changeForCertain(medusa, clock, place, change, () => true)
      assert.equal(outcome, 'applied')
      assert.ok((await medusa.get(place)).rows[0].value.equals(value))
    }),
  )
})

test('a keyspace that a newer NDFS has brought further is refused', async () => {
  const set = (to: number, from: number) =>
    clients[0].client.change('schema', [
      {
        query: `UPDATE ${keyspace}."schema" SET version = ? WHERE name = 'medusa' IF version = ?`,
        params: [to, from],
      },
    ])
  assert.equal(await set(99, 1), undefined)
  try {
    await assert.rejects(connect(), (error) => hasCode(error, 'REFUSED') && /version 99/.test(error.message))
  } finally {
    await set(1, 99)
  }
  await assert.rejects(connect({ keyspace: 'system_auth' }), (error) => hasCode(error, 'REFUSED'))
})

test('R5: what servers gossip is seen from each of them: racks, states, and that hearts beat once a second', async () => {
  const [{ client }] = clients
  const first = await cassandraGossip(client, clock)
  await clock.sleep(4000)
  const { servers, disagreements, silent } = joinedGossip(await cassandraGossip(client, clock), first)
  assert.deepEqual(silent, [])
  assert.deepEqual(disagreements, [])
  assert.deepEqual(
    servers.map(({ rack, status, beats }) => [rack, status, beats]),
    ['b1', 'b2', 'b3'].map((rack) => [rack, 'NORMAL', true]),
  )
  assert.equal(new Set(servers.map(({ hostId }) => hostId)).size, 3)
})

const periodically = (file: string): void => {
  const text = readFileSync(file, 'utf8')
  assert.match(text, /commitlog_sync: batch/)
  writeFileSync(
    file,
    text.replace('commitlog_sync: batch', 'commitlog_sync: periodic\ncommitlog_sync_period: 10s'),
  )
}

test('over TLS: a server that acknowledges before it has synced is refused, and so are a wrong password and a stranger', async () => {
  const place = { host: '127.0.0.9', port: 25880 }
  const folder = join(dir, 'alone')
  const tls = certificateIn(dir, place.host)
  const server = cassandraServer({
    ...{ dir: folder, cluster: 'alone', address: place.host, port: place.port, storagePort: 25881 },
    ...{
      seeds: [place.host],
      datacenter: 'dc1',
      rack: 'b1',
      jmxPort: 25882,
      joins: false,
      password: true,
      tls,
    },
    properties: [
      ...['-Dcassandra.skip_wait_for_gossip_to_settle=0', '-Dcassandra.ring_delay_ms=1000'],
      '-Dcassandra.superuser_setup_delay_ms=0',
    ],
  })
  periodically(join(folder, 'conf', 'cassandra.yaml'))
  const ca = readFileSync(tls.ca)
  const alone = { contactPoints: [place.host], port: place.port, user: 'cassandra', tls: { ca } }
  server.begin()
  try {
    await server.serving(90)
    // Its first user is made a moment after it serves.
    const refusal = await until(async () => {
      const error = await failureOf(connect({ ...alone, password: 'cassandra' }))
      return hasCode(error, 'REFUSED') ? error : undefined
    })
    assert.match(refusal.message, /127\.0\.0\.9:25880: commitlog_sync is periodic and must be batch or group/)
    const wrong = await failureOf(connect({ ...alone, password: 'wrong' }))
    assert.ok(hasCode(wrong, 'UNAUTHORIZED'), String(wrong))
    const other = readFileSync(certificateIn(folder, place.host).ca)
    const stranger = await failureOf(connect({ ...alone, password: 'cassandra', tls: { ca: other } }))
    assert.match(stranger.message, /self-signed certificate/)
  } finally {
    await server.end()
  }
})

test('a server that comes back set wrongly stops the service, by name, until it is mended', async () => {
  const [medusa] = clients
  const [, , three] = engines.cassandras
  const file = join(dir, 'cassandra-3', 'conf', 'cassandra.yaml')
  const right = readFileSync(file, 'utf8')
  await three.kill()
  periodically(file)
  three.begin()
  const refusal = await until(() =>
    medusa.get({ table: 'vdisk', key: 'any' }).then(
      () => undefined,
      (error: unknown) =>
        /commitlog_sync is periodic/.test(String(error)) ? (error as NdfsError) : undefined,
    ),
  )
  assert.ok(hasCode(refusal, 'UNAVAILABLE'))
  assert.match(refusal.message, new RegExp(`127\\.0\\.0\\.3:${engines.cassandraPort}`))
  await three.kill()
  writeFileSync(file, right)
  three.begin()
  await untilRead(medusa, { table: 'vdisk', key: 'any' })
})

test('C2, I4: while servers are killed, frozen and started again, changes of three clients stay one chain in each partition', async () => {
  const history = new RecordedChanges(3, clock, chance)
  const work = clients.map((medusa, i) => history.work(medusa, i))
  const [one, two, three] = engines.cassandras
  await clock.sleep(2000)
  await one.kill()
  await clock.sleep(4000)
  one.begin()
  await one.serving(90)
  two.signal('SIGSTOP')
  await clock.sleep(5000)
  two.signal('SIGCONT')
  await clock.sleep(3000)
  await three.kill()
  await clock.sleep(2000)
  three.begin()
  await three.serving(90)
  await clock.sleep(3000)
  history.over = true
  await Promise.all(work)
  assert.deepEqual(await history.wrong(clients[0]), [])
  const { applied, conflicts, unknown, reads, longestMs } = history.counts()
  console.log(
    `figure: servers killed, frozen, started: ${applied} changes acknowledged, ${conflicts} in conflict, ${unknown} unknown, ${reads} reads, all explained; longest time without an acknowledged change ${Math.round(longestMs)} ms`,
  )
  assert.ok(applied > 50 && longestMs < 15_000)
})

test('with two of three frozen, calls end in time and say that they are unknown; then all goes on', async () => {
  const [medusa] = clients
  const partition: PartitionName = { table: 'vdisk', key: 'frozen' }
  await changeForCertain(medusa, clock, partition, changeAt(0), () => true)
  const frozen = engines.cassandras.slice(1)
  for (const server of frozen) server.signal('SIGSTOP')
  const wanted = changeAt(1, { put: [row('a', 'late')] })
  try {
    for (const ask of [
      () => medusa.change(partition, wanted),
      () => medusa.get(partition),
      () => medusa.getOfMany('vdisk', ['frozen', 'other'], 'a'),
    ]) {
      const since = clock.now()
      const error = await failureOf(ask())
      assert.ok(hasCode(error, 'TIMED_OUT', 'UNAVAILABLE', 'PEER_UNREACHABLE'), String(error))
      assert.ok(clock.now() - since < 9000, `it took ${clock.now() - since} ms`)
    }
  } finally {
    for (const server of frozen) server.signal('SIGCONT')
  }
  const since = clock.now()
  const { outcome } = await changeForCertain(
    medusa,
    clock,
    partition,
    wanted,
    () => clock.now() - since < 60_000,
  )
  assert.equal(outcome, 'applied')
  assert.deepEqual((await untilRead(medusa, partition)).rows, [row('a', 'late')])
  console.log(`figure: two of three thawed: changes go on after ${Math.round(clock.now() - since)} ms`)
})

/** One that signs itself: it is its own CA. */
function certificateIn(
  folder: string,
  address: string,
): { readonly certificate: string; readonly ca: string } {
  const [key, ca, certificate] = ['key.pem', 'ca.pem', 'server.pem'].map((name) => join(folder, name))
  const names = ['-subj', '/CN=cassandra', '-addext', `subjectAltName=IP:${address}`]
  const { status, stderr } = spawnSync(
    'openssl',
    ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-keyout', key, '-out', ca, ...names],
    { encoding: 'utf8' },
  )
  assert.equal(status, 0, stderr)
  writeFileSync(certificate, Buffer.concat([readFileSync(key), readFileSync(ca)]))
  return { certificate, ca }
}

const untilRead = (medusa: Medusa, partition: PartitionName) =>
  until(() => medusa.get(partition).catch(unlessItMayPass))

async function until<T>(look: () => Promise<T | undefined>): Promise<T> {
  for (let tries = 0; tries < 60; tries++) {
    const found = await look()
    if (found !== undefined) return found
    await clock.sleep(500)
  }
  assert.fail('not in time')
}

async function failureOf(work: Promise<unknown>): Promise<NdfsError> {
  const error: unknown = await work.then(
    () => undefined,
    (failure: unknown) => failure,
  )
  assert.ok(error instanceof NdfsError, `it did not fail as it should: ${String(error)}`)
  return error
}
