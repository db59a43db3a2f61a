/** Nonsense from outside and from inside: refused with a sentence or the protocol's error, and nobody else notices. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { type Cluster, freePorts, isAlive, ndfsProgram, withCluster } from './support/cluster.ts'
import { errno, header, NbdClient, NbdError, openSocket } from './support/nbd-client.ts'
import { figure, run, sleep, tryRun, until } from './support/run.ts'
import { residentBytes } from './support/resident-memory.ts'

const MiB = 1024 * 1024
/** What one client may cost a node at most: replies and requests under way, and what the heap leaves uncollected. */
const nodeGrowthMax = 700 * MiB

/** A client that writes and reads all the while, and must not notice anything. */
class Bystander {
  #over = false
  requests = 0
  longestMs = 0
  readonly #running: Promise<void>

  constructor(client: NbdClient) {
    this.#running = this.#run(client)
  }

  async #run(client: NbdClient): Promise<void> {
    while (!this.#over) {
      const content = randomBytes(8192)
      const at = Math.floor(Math.random() * 1000) * 8192
      const began = performance.now()
      await client.write(at, content)
      assert(
        (await client.read(at, content.length)).equals(content),
        'another client changed what was written',
      )
      this.longestMs = Math.max(this.longestMs, performance.now() - began)
      this.requests += 2
    }
    client.close()
  }

  async done(): Promise<void> {
    this.#over = true
    await this.#running
  }
}

/** Sends the bytes, and waits until the server closes, or a moment has passed. */
async function sendAndWait(address: string, ...pieces: Buffer[]): Promise<void> {
  const socket = await openSocket(address)
  socket.on('error', () => undefined)
  socket.resume()
  for (const piece of pieces) socket.write(piece)
  await Promise.race([new Promise((resolve) => socket.once('close', resolve)), sleep(300)])
  socket.destroy()
}

/** The fixed newstyle greeting, then GO for the export: what comes after it is requests. */
function entering(name: string): Buffer {
  const data = Buffer.concat([numbers(name.length), Buffer.from(name), Buffer.alloc(2)])
  return Buffer.concat([numbers(3), Buffer.from('IHAVEOPT'), numbers(7, data.length), data])
}
function numbers(...values: number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length)
  for (const [index, value] of values.entries()) bytes.writeUInt32BE(value, 4 * index)
  return bytes
}

interface Answer {
  readonly status: number
  readonly body: string
}

/** By node:http, which lets us say any `Host`. */
function ask(
  address: string,
  method: string,
  path: string,
  headers: Record<string, string>,
  body = '',
): Promise<Answer> {
  const [host, port] = address.split(':')
  return new Promise((resolve, reject) => {
    const asked = request({
      host,
      port,
      method,
      path,
      headers: body === '' ? headers : { ...headers, 'content-type': 'application/json' },
    })
    asked.on('response', (response) => {
      let text = ''
      response.on('data', (piece: Buffer) => (text += piece.toString()))
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: text }))
    })
    asked.on('error', reject)
    asked.end(body)
  })
}

test('bad input disturbs nobody', { timeout: 300_000 }, () =>
  withCluster({}, async (cluster) => {
    const vdisk = await cluster.createVDisk('64MiB')
    const { nbd, peer, http, pid } = cluster.node('n1')
    assert(pid !== null)
    const bystander = new Bystander(await NbdClient.open(nbd.address, vdisk))
    await until('the bystander is served', () => bystander.requests > 10)
    const before = residentBytes(pid)

    await test('garbage on the NBD port is refused', async () => {
      for (let round = 0; round < 20; round++) await sendAndWait(nbd.address, randomBytes(1 << (round % 18)))
      await sendAndWait(
        nbd.address,
        numbers(3),
        Buffer.from('IHAVEOPT'),
        numbers(0x7fff, 0xffff_ffff),
        randomBytes(4096),
      )
      await sendAndWait(nbd.address, numbers(0xffff_ffff))
      for (let round = 0; round < 20; round++)
        await sendAndWait(nbd.address, entering(vdisk), randomBytes(28 + 1000 * round))
    })

    await test('garbage on the peer port is refused', async () => {
      for (let round = 0; round < 20; round++) await sendAndWait(peer, randomBytes(1 << (round % 18)))
      await sendAndWait(peer, numbers(0xffff_ffff, 0xffff_ffff), Buffer.alloc(64 * 1024, 0xff))
    })

    await test('requests that make no sense get the error of the protocol, and the connection lives on', async () => {
      const client = await NbdClient.open(nbd.address, vdisk)
      const refused = (wanted: readonly number[]) => (error: unknown) =>
        error instanceof NbdError && wanted.includes(error.errno)
      await assert.rejects(client.read(64 * MiB, 4096), refused([errno.EINVAL]))
      await assert.rejects(
        client.write(64 * MiB - 512, Buffer.alloc(1024)),
        refused([errno.ENOSPC, errno.EINVAL]),
      )
      await assert.rejects(client.read(2 ** 50, 4096), refused([errno.EINVAL]))
      await assert.rejects(client.read(0, 33 * MiB), refused([errno.EINVAL, 75]))
      assert.equal((await client.read(0, 512)).length, 512)
      client.close()
      await assert.rejects(NbdClient.open(nbd.address, 'vms/nobody'), /vms\/nobody/)
      await assert.rejects(NbdClient.open(nbd.address, '../../etc/passwd'))
    })

    await test('clients that stop in mid-request, or never read their replies, cost a bounded amount of memory', async () => {
      const idle: Socket[] = []
      for (let index = 0; index < 40; index++) {
        const socket = await openSocket(nbd.address)
        socket.on('error', () => undefined)
        socket.resume()
        // A write of 16 MiB, of which a part comes and no more.
        const half = Buffer.concat([header(1, 1n, 0, 16 * MiB), Buffer.alloc(64 * 1024)])
        socket.write(Buffer.concat([entering(vdisk), half.subarray(0, index % 2 === 0 ? half.length : 13)]))
        idle.push(socket)
      }
      for (let index = 0; index < 10; index++) {
        const socket = await openSocket(nbd.address)
        socket.on('error', () => undefined)
        socket.pause()
        const reads = Array.from({ length: 500 }, (_, at) => header(0, BigInt(at + 1), 0, 8 * MiB))
        socket.write(Buffer.concat([entering(vdisk), ...reads]))
        idle.push(socket)
      }
      let most = 0
      for (let look = 0; look < 25; look++) {
        await sleep(200)
        most = Math.max(most, residentBytes(pid))
      }
      for (const socket of idle) socket.destroy()
      figure(`50 clients that stand still: a node grew by ${Math.round((most - before) / MiB)} MiB`)
      assert(most - before < nodeGrowthMax, `the node grew by ${most - before} bytes`)
    })

    await test('the API refuses a foreign Host or Origin, a missing token, and what it does not understand', async () => {
      const token = readFileSync(join(cluster.dir, 'token'), 'utf8').trim()
      const make = JSON.stringify({ name: 'made' })
      const sure = { authorization: `Bearer ${token}` }
      const containers = '/api/v1/containers'
      assert.equal((await ask(http, 'GET', '/api/v1/status', { host: 'evil.example' })).status, 421)
      const foreign = { ...sure, origin: 'http://evil.example' }
      assert.equal((await ask(http, 'POST', containers, foreign, make)).status, 403)
      assert.equal((await ask(http, 'POST', containers, {}, make)).status, 401)
      assert.equal((await ask(http, 'POST', containers, { authorization: 'Bearer guess' }, make)).status, 401)
      for (const body of [
        '',
        '{',
        '[]',
        '{"name":"../x"}',
        `{"name":"${'x'.repeat(100)}"}`,
        '{"name":"a","copies":9}',
      ]) {
        const { status } = await ask(http, 'POST', containers, sure, body)
        assert(status >= 400 && status < 500, `${body} is answered with ${status}`)
      }
      const { status, body } = await ask(http, 'DELETE', `${containers}/nothing`, sure)
      assert.equal(status, 404)
      assert.match((JSON.parse(body) as { error: { message: string } }).error.message, /nothing/)
      assert.equal((await ask(http, 'POST', containers, sure, make)).status < 300, true)
    })

    await test('the command line tells apart what failed, what was misused, and that no node answers', async () => {
      const code = async (...args: string[]): Promise<number> => (await cluster.tryNdfs(...args)).code
      assert.equal(await code('vdisk', 'show', 'vms/nobody'), 1)
      assert.equal(await code('vdisk', 'create', 'vms/new', '--size', 'large'), 2)
      assert.equal(await code('nonsense'), 2)
      assert.equal(await code('status', '--api', `127.0.0.1:${await freePorts(1)}`), 3)
      // What is in use is not deleted by mistake.
      const { code: kept, stderr } = await cluster.tryNdfs('vdisk', 'delete', vdisk)
      assert.equal(kept, 1)
      assert.match(stderr, /--force/)
    })

    await bystander.done()
    figure(
      `beside all that another client had ${bystander.requests} answers, the slowest after ${Math.round(bystander.longestMs)} ms`,
    )
    for (const { id, pid: now } of cluster.nodes) assert(now !== null && isAlive(now), `${id} died`)
    assert.equal(cluster.node('n1').pid, pid, 'n1 was started again')
  }),
)

test(
  'what does not belong together is refused with a sentence that says what to do',
  { timeout: 240_000 },
  () =>
    withCluster({}, async (cluster) => {
      await test('a second up on the same directory', async () => {
        const { code, stderr } = await cluster.tryNdfs('up', '--detach', '--dir', cluster.dir)
        assert.notEqual(code, 0)
        assert.match(stderr, /ndfs down --dir/)
        assert.equal((await cluster.nodeInfo('n1')).state, 'up', 'the first one suffered')
      })

      await test('a port that was asked for and is busy', async () => {
        const other = join(cluster.scratch, 'other')
        const [, port] = cluster.node('n1').nbd.address.split(':')
        const words = [
          'up',
          '--detach',
          '--dir',
          other,
          '--nbd-port',
          port,
          '--http-port',
          String(await freePorts(3)),
        ]
        const { code, stderr } = await cluster.tryNdfs(...words)
        assert.notEqual(code, 0)
        assert.match(stderr, new RegExp(port))
        assert.equal((await cluster.tryNdfs('down', '--dir', other)).code, 0)
      })

      await test('down ends a node that is frozen, and is content where nothing runs', async () => {
        const pids = cluster.nodes.flatMap(({ pid }) => pid ?? [])
        await cluster.kill('n2', 'SIGSTOP')
        const began = performance.now()
        await cluster.down()
        figure(`down ends a frozen node in ${((performance.now() - began) / 1000).toFixed(1)} s`)
        assert(!pids.some(isAlive), 'something still runs')
        await cluster.down()
      })

      const disk = join(cluster.dir, 'nodes/n1/disks/n1-flash-0')
      const superblock = join(disk, 'superblock.json')
      const refused = async (why: RegExp): Promise<void> => {
        const { code, stderr } = await cluster.tryNdfs('up', '--detach', '--dir', cluster.dir)
        assert.notEqual(code, 0, 'it was started')
        assert.match(stderr, why)
        assert.doesNotMatch(stderr, /met a bug/)
        assert.deepEqual(await running(cluster), [], 'something was left running')
      }

      await test('a disk of another cluster', async () => {
        const other = join(cluster.scratch, 'other')
        const ports: string[] = []
        for (const use of ['http', 'nbd', 'nfs']) ports.push(`--${use}-port`, String(await freePorts(3)))
        await run(process.execPath, [ndfsProgram, 'up', '--detach', '--dir', other, ...ports], {
          env: cluster.env,
          seconds: 90,
        })
        await run(process.execPath, [ndfsProgram, 'down', '--dir', other], { env: cluster.env })
        const kept = join(cluster.scratch, 'kept')
        cpSync(disk, kept, { recursive: true })
        rmSync(disk, { recursive: true })
        cpSync(join(other, 'nodes/n1/disks/n1-flash-0'), disk, { recursive: true })
        await refused(/belongs to cluster/)
        rmSync(disk, { recursive: true })
        mkdirSync(disk)
        await refused(/no superblock/)
        rmSync(disk, { recursive: true })
        cpSync(kept, disk, { recursive: true })
      })

      await test('a disk, a directory and a configuration of an unknown version', async () => {
        for (const path of [superblock, join(cluster.dir, 'ndfs.json')]) {
          const text = readFileSync(path, 'utf8')
          writeFileSync(path, text.replace(/"version": ?1\b/, '"version": 99'))
          await refused(/version (is )?99/)
          writeFileSync(path, text)
        }
        const config = join(cluster.dir, 'nodes/n1/node.json')
        const text = readFileSync(config, 'utf8')
        writeFileSync(config, text.replace(/"version": ?1\b/, '"version": 99'))
        const { code, stderr } = await tryRun(process.execPath, [ndfsProgram, 'node', '--config', config], {
          env: cluster.env,
        })
        assert.notEqual(code, 0)
        assert.match(stderr, /version (is )?99/)
        writeFileSync(config, text)
      })

      await test('and what was put right starts again', async () => {
        await cluster.up()
        assert.equal((await cluster.nodeInfo('n1')).state, 'up')
      })
    }),
)

/** Processes of the cluster's directory, by what they were started with. */
async function running(cluster: Cluster): Promise<string[]> {
  const lines = (): string[] =>
    readdirSync('/proc').flatMap((name) => {
      try {
        const line = /^\d+$/.test(name) ? readFileSync(`/proc/${name}/cmdline`, 'utf8') : ''
        return line.includes(`${cluster.dir}/`) ? [line.replaceAll('\0', ' ')] : []
      } catch {
        return []
      }
    })
  const end = performance.now() + 3000
  while (lines().length > 0 && performance.now() < end) await sleep(100)
  return lines()
}
