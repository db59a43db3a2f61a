import assert from 'node:assert/strict'
import { request } from 'node:http'
import { connect } from 'node:net'
import { after, before, test } from 'node:test'
import { AssertionFailure } from '../base/assert.ts'
import { NdfsError, type NdfsErrorCode } from '../base/errors.ts'
import { nodePlatform } from '../platform/node-platform.ts'
import type { Clock } from '../platform/platform.ts'
import { serveHttpApi, type HttpApi } from './http-api.ts'
import { httpStatus } from './http-errors.ts'
import type { CassandraInfo } from './management.ts'
import { MemoryTarget } from './memory-target.test.ts'

const token = 'a-token-of-this-test'
const bearer = { authorization: `Bearer ${token}` }
const target = new MemoryTarget()
/** What reached the loop as an uncaught exception would have. */
const bugs: unknown[] = []
let api: HttpApi

before(async () => {
  const platform = nodePlatform({ level: 'silent' })
  const clock: Clock = {
    ...platform.clock,
    soon: (callback) =>
      platform.clock.soon(() => {
        try {
          callback()
        } catch (error) {
          bugs.push(error)
        }
      }),
  }
  api = await serveHttpApi({
    target,
    node: 'n1',
    version: '0.1.0',
    token,
    listen: '127.0.0.1:0',
    platform: { clock, log: platform.log },
  })
})
after(() => api.close())

interface Answer {
  status: number
  body: string
  json: <T = { error: { code: string; message: string; facts: Record<string, unknown> } }>() => T
}

function ask(
  method: string,
  path: string,
  { headers = {}, body }: { headers?: Record<string, string>; body?: unknown } = {},
): Promise<Answer> {
  const text = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body)
  const [host, port] = api.address.split(':')
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        host,
        port,
        path,
        method,
        headers: {
          ...(text === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
          ...headers,
        },
      },
      (response) => {
        const parts: Buffer[] = []
        response.on('data', (part: Buffer) => parts.push(part))
        response.on('end', () => {
          const body = Buffer.concat(parts).toString()
          resolve({ status: response.statusCode ?? 0, body, json: <T>() => JSON.parse(body) as T })
        })
      },
    )
    sent.on('error', reject)
    sent.end(text)
  })
}

test('the HTTP API makes, shows, changes and deletes containers and vDisks', async () => {
  const container = await ask('POST', '/api/v1/containers', { headers: bearer, body: { name: 'vms' } })
  assert.equal(container.status, 201)
  assert.equal(container.json<{ copies: number }>().copies, 2)
  const vdisk = { container: 'vms', name: 'disk1', sizeBytes: 1024 * 1024 }
  assert.equal((await ask('POST', '/api/v1/vdisks', { headers: bearer, body: vdisk })).status, 201)
  const shown = await ask('GET', '/api/v1/vdisks/vms/disk1')
  assert.deepEqual(shown.json(), {
    name: 'vms/disk1',
    id: 1,
    sizeBytes: 1024 * 1024,
    copies: 2,
    createdAt: 1,
    epoch: 0,
    episodes: 0,
    state: 'unowned',
  })
  const larger = await ask('PATCH', '/api/v1/vdisks/vms/disk1', {
    headers: bearer,
    body: { sizeBytes: 2097152 },
  })
  assert.equal(larger.json<{ sizeBytes: number }>().sizeBytes, 2097152)
  assert.equal(
    (await ask('PATCH', '/api/v1/vdisks/vms/disk1', { headers: bearer, body: { sizeBytes: 512 } })).status,
    422,
  )
  const inUse = await ask('DELETE', '/api/v1/containers/vms', { headers: bearer })
  assert.equal(inUse.status, 409)
  assert.equal(inUse.json().error.code, 'IN_USE')
  target.use('vms/disk1')
  assert.equal((await ask('DELETE', '/api/v1/vdisks/vms/disk1', { headers: bearer })).status, 409)
  assert.equal((await ask('DELETE', '/api/v1/vdisks/vms/disk1?force=true', { headers: bearer })).status, 204)
  assert.equal((await ask('DELETE', '/api/v1/containers/vms', { headers: bearer })).status, 204)
  assert.equal((await ask('GET', '/api/v1/containers/vms')).status, 404)
})

test('the HTTP API changes who may use a container by NFS', async () => {
  const path = '/api/v1/containers/exported'
  const change = (nfs: unknown) => ask('PATCH', path, { headers: bearer, body: { nfs } })
  interface Shown {
    nfs: { networks: string[]; readOnly: boolean; squash: string }
  }
  const body = { name: 'exported', nfs: { readOnly: true } }
  const made = await ask('POST', '/api/v1/containers', { headers: bearer, body })
  assert.equal(made.json<Shown>().nfs.readOnly, true)
  const changed = (await change({ networks: ['10.0.0.0/8'], squash: 'root' })).json<Shown>()
  assert.deepEqual(changed, (await ask('GET', path)).json())
  assert.deepEqual(changed.nfs.networks, ['10.0.0.0/8'])
  assert.equal(changed.nfs.readOnly, true)
  assert.deepEqual((await change({ networks: null })).json<Shown>().nfs.networks, ['127.0.0.0/8', '::1/128'])
  for (const wrong of [
    undefined,
    {},
    { networks: '10.0.0.0/8' },
    { networks: Array.from({ length: 65 }, () => '10.0.0.1') },
    { networks: ['x'.repeat(50)] },
    { squash: 'some' },
    { anonymousUid: -2 },
    { anonymousUid: 2 ** 32 - 1 },
    { readonly: true },
  ])
    assert.equal((await change(wrong)).status, 400, JSON.stringify(wrong))
  assert.equal((await ask('DELETE', path, { headers: bearer })).status, 204)
})

test('the HTTP API shows status, nodes and disks, and changes the cache of a node', async () => {
  assert.equal((await ask('GET', '/api/v1/status')).json<{ health: string }>().health, 'degraded')
  assert.equal((await ask('GET', '/api/v1/nodes')).json<unknown[]>().length, 2)
  assert.equal((await ask('GET', '/api/v1/disks')).json<unknown[]>().length, 2)
  const changed = await ask('PATCH', '/api/v1/nodes/n1', { headers: bearer, body: { cacheBytes: 4096 } })
  assert.equal(changed.json<{ cache: { limitBytes: number } }>().cache.limitBytes, 4096)
  const moved = await ask('PATCH', '/api/v1/nodes/n1', { headers: bearer, body: { block: 'rack-7' } })
  assert.equal(moved.json<{ block: string }>().block, 'rack-7')
  const nothing = await ask('PATCH', '/api/v1/nodes/n1', { headers: bearer, body: {} })
  assert.equal(nothing.status, 400)
})

test('the HTTP API shows how the servers of Cassandra see one another, and that there is none', async () => {
  const shown = (await ask('GET', '/api/v1/cassandra')).json<CassandraInfo>()
  assert.equal(shown.servers[0].startedAt, 1_700_000_000_000)
  assert.equal('beats' in shown.servers[0], false)
  const { servers, problems } = (await ask('GET', '/api/v1/cassandra')).json<CassandraInfo>()
  assert.deepEqual(
    servers.map(({ beats }) => beats),
    [true, true, false],
  )
  assert.match(problems.join(), /^the Cassandra at 10\.0\.0\.3:9042 does not answer n1 \(.*stands still/)
  assert.deepEqual(
    servers.map(({ repairedAt }) => repairedAt),
    [1_700_000_000_000, undefined, undefined],
  )
  assert.match(
    problems.join(),
    /the Cassandra at 10\.0\.0\.2:9042 has rows that were not repaired in the last 30 days/,
  )
  target.nextError = new NdfsError('NOT_FOUND', 'There is no Cassandra to show.')
  assert.equal((await ask('GET', '/api/v1/cassandra')).status, 404)
})

test('a request that changes something is refused without the token, and with a wrong one', async () => {
  const body = { name: 'stolen' }
  for (const headers of [
    {},
    { authorization: 'Bearer wrong' },
    { authorization: token },
    { authorization: 'Bearer ' },
  ]) {
    const { status, json } = await ask('POST', '/api/v1/containers', {
      headers: headers as Record<string, string>,
      body,
    })
    assert.equal(status, 401)
    assert.equal(json().error.code, 'UNAUTHORIZED')
  }
  assert.equal((await ask('DELETE', '/api/v1/no-such-path')).status, 401)
  assert.equal((await ask('GET', '/api/v1/containers/stolen')).status, 404)
})

test('a request for another host is refused, also when it reads', async () => {
  for (const host of ['evil.example:9440', 'evil.example', '127.0.0.1.evil.example', 'localhost.'])
    assert.equal((await ask('GET', '/api/v1/status', { headers: { host } })).status, 421, host)
  for (const host of ['localhost', 'LOCALHOST:8080', '127.0.0.1:1', '[::1]:9440'])
    assert.equal((await ask('GET', '/api/v1/status', { headers: { host } })).status, 200, host)
})

test('a request that a foreign page sends is refused, also with the token', async () => {
  for (const origin of ['http://evil.example', 'null', 'http://127.0.0.1:1', `https://${api.address}`])
    assert.equal((await ask('GET', '/api/v1/status', { headers: { ...bearer, origin } })).status, 403, origin)
  assert.equal(
    (await ask('GET', '/api/v1/status', { headers: { origin: `http://${api.address}` } })).status,
    200,
  )
})

test('what has the wrong shape is refused with the key that is wrong', async () => {
  const cases: [unknown, RegExp][] = [
    [{ name: 'Vms' }, /name in the body must match pattern/],
    [{ name: '../x' }, /name in the body must match pattern/],
    [{ name: 'x'.repeat(64) }, /name in the body must match pattern/],
    [{ name: 'vms', copies: 4 }, /copies in the body/],
    [{ name: 'vms', copies: '2' }, /copies in the body/],
    [{ name: 'vms', colour: 'red' }, /the body has the unknown key "colour"/],
    [{}, /the body must have required property 'name'/],
    ['{"name":', /JSON/],
  ]
  for (const [body, message] of cases) {
    const { status, json } = await ask('POST', '/api/v1/containers', { headers: bearer, body })
    assert.equal(status, 400, JSON.stringify(body))
    assert.match(json().error.message, message)
  }
  for (const sizeBytes of [0, 511, 513, -512, 2 ** 60, 1.5, '20GiB']) {
    const body = { container: 'vms', name: 'disk', sizeBytes }
    assert.equal(
      (await ask('POST', '/api/v1/vdisks', { headers: bearer, body })).status,
      400,
      String(sizeBytes),
    )
  }
  assert.equal((await ask('GET', '/api/v1/vdisks/VMS/x')).status, 400)
  assert.equal((await ask('DELETE', '/api/v1/containers/vms?force=maybe', { headers: bearer })).status, 400)
})

test('a body that is too large is refused, and an unknown path is named', async () => {
  const body = { name: 'x'.repeat(100_000) }
  assert.equal((await ask('POST', '/api/v1/containers', { headers: bearer, body })).status, 413)
  const { status, json } = await ask('GET', '/api/v2/status')
  assert.equal(status, 404)
  assert.match(json().error.message, /GET \/api\/v2\/status/)
})

test('every error of the target is answered with its code, message and facts', async () => {
  for (const [code, expected] of Object.entries(httpStatus)) {
    target.nextError = new NdfsError(code as NdfsErrorCode, 'Cannot: so it stands.', { node: 'n2' })
    const { status, json } = await ask('GET', '/api/v1/status')
    assert.equal(status, expected)
    assert.deepEqual(json(), { error: { code, message: 'Cannot: so it stands.', facts: { node: 'n2' } } })
  }
})

test('a failed assertion is answered without its words, and stops the process', async () => {
  target.nextError = new AssertionFailure('the secret inside')
  const { status, body } = await ask('GET', '/api/v1/status')
  assert.equal(status, 500)
  assert.doesNotMatch(body, /secret/)
  assert.deepEqual(
    bugs.map((bug) => (bug as Error).message),
    ['the secret inside'],
  )
})

test('health is 200 while the node serves and 503 with the reason while it does not', async () => {
  assert.equal((await ask('GET', '/api/v1/health')).status, 200)
  target.serving = false
  const { status, json } = await ask('GET', '/api/v1/health')
  target.serving = true
  assert.equal(status, 503)
  assert.deepEqual(json(), { node: 'n1', serving: false, reason: 'n1 is starting' })
})

test('metrics are in the words of Prometheus, with the node as a label', async () => {
  const { body } = await ask('GET', '/metrics')
  assert.match(body, /# TYPE ndfs_nbd_requests_total counter/)
  assert.match(body, /ndfs_nbd_requests_total\{command="read",node="n1"\} 7/)
  assert.match(body, /ndfs_extent_cache_used_bytes\{node="n1"\} 4096/)
  assert.match(body, /process_resident_memory_bytes\{node="n1"\}/)
  assert.equal((await ask('GET', '/metrics')).status, 200)
})

test('the OpenAPI document names every path of the API', async () => {
  const { paths } = (await ask('GET', '/api/openapi.json')).json<{ paths: Record<string, object> }>()
  assert.deepEqual(Object.keys(paths).sort(), [
    '/api/v1/cassandra',
    '/api/v1/checks',
    '/api/v1/checks/{check}',
    '/api/v1/containers',
    '/api/v1/containers/{container}',
    '/api/v1/disks',
    '/api/v1/disks/{disk}',
    '/api/v1/health',
    '/api/v1/metadata-backups',
    '/api/v1/nodes',
    '/api/v1/nodes/{node}',
    '/api/v1/scrub',
    '/api/v1/status',
    '/api/v1/upgrade',
    '/api/v1/upgrade/finish',
    '/api/v1/vdisks',
    '/api/v1/vdisks/{container}/{name}',
    '/metrics',
  ])
})

test('garbage in the place of HTTP is answered with 400 and disturbs nobody', async () => {
  const [host, port] = api.address.split(':')
  const answer = await new Promise<string>((resolve, reject) => {
    const socket = connect({ host, port: Number(port) }, () => socket.write('\x00\x01NBDMAGIC\r\n\r\n'))
    let text = ''
    socket.on('data', (bytes) => (text += bytes.toString()))
    socket.on('close', () => resolve(text))
    socket.on('error', reject)
  })
  assert.match(answer, /^HTTP\/1\.1 400 /)
  assert.equal((await ask('GET', '/api/v1/health')).status, 200)
})

test('a second API on one address is refused with the system error', async () => {
  await assert.rejects(
    serveHttpApi({ ...apiOptions(), listen: api.address }),
    (error: NodeJS.ErrnoException) => error.code === 'EADDRINUSE',
  )
})

const apiOptions = () => ({
  target,
  node: 'n1',
  version: '0.1.0',
  token,
  platform: nodePlatform({ level: 'silent' }),
})
