/**
 * Here a "node" is an NBD server; those that are killed are processes that share one file, as nodes share the cluster's
 * bytes: what one has answered the others have.
 */
import assert from 'node:assert/strict'
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { openSync, readSync, truncateSync, writeFileSync, writeSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { hasCode, NdfsError } from '../base/errors.ts'
import { KiB, MiB, vDiskOffset } from '../base/units.ts'
import { nodePlatform } from '../platform/node-platform.ts'
import { MemoryExports } from '../stargate/front-end-adapter/nbd/memory-exports.ts'
import { createNbdServer, type NbdServer } from '../stargate/front-end-adapter/nbd/nbd.ts'
import type { Exports, OpenVDisk } from '../stargate/io/io.ts'
import { afterTheLost, ConnectSession, within, type NodePlace } from './connect-session.ts'
import { NoNodeReachable } from './api-client.ts'

const platform = nodePlatform({ level: 'silent' })
const name = 'vms/disk1'

/** Serves the file `path` as `vms/disk1`. A write waits a little, so that a kill finds some under way. */
function fileExports(path: string): Exports {
  const fd = openSync(path, 'r+')
  const sizeBytes = 4 * MiB
  const open = async (): Promise<OpenVDisk> => ({
    sizeBytes,
    onResize: () => undefined,
    read: (offset, target) => void readSync(fd, target, 0, target.length, offset),
    write: async (offset, payload) => {
      await platform.clock.sleep(2)
      writeSync(fd, payload, 0, payload.length, offset)
    },
    zero: (offset, length) => void writeSync(fd, Buffer.alloc(length), 0, length, offset),
    discard: (offset, length) => void writeSync(fd, Buffer.alloc(length), 0, length, offset),
    flush: () => undefined,
    prefetch: () => undefined,
    status: async (_, length) => [{ length, kind: 'data' }],
    close: () => undefined,
  })
  return { list: async () => [name], open }
}

const [, , role, address, path] = process.argv
if (role === 'serve') {
  await createNbdServer({ platform, exports: fileExports(path) }).listen(address)
  process.stdout.write('listening\n')
  process.once('disconnect', () => process.exit())
} else runTests()

function runTests(): void {
  const open: { stop: () => unknown }[] = []
  after(async () => {
    for (const { stop } of open) await stop()
  })

  const folder = async (): Promise<string> => {
    const path = await mkdtemp(join(tmpdir(), 'ndfs-connect-'))
    open.push({ stop: () => rm(path, { recursive: true, force: true }) })
    return path
  }

  class FileNode {
    readonly place: NodePlace
    readonly #file: string
    #process: ChildProcess | undefined

    constructor(id: string, folder: string, file: string) {
      this.place = { id, address: `unix:${join(folder, `${id}.sock`)}` }
      this.#file = file
      open.push({ stop: () => this.kill() })
    }
    async start(): Promise<void> {
      this.#process = spawn(
        process.execPath,
        [import.meta.filename, 'serve', this.place.address, this.#file],
        {
          stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
        },
      )
      await once(this.#process.stdout as NodeJS.ReadableStream, 'data')
    }
    async kill(): Promise<void> {
      if (!this.#process || this.#process.exitCode !== null || this.#process.signalCode !== null) return
      const gone = once(this.#process, 'exit')
      this.#process.kill('SIGKILL')
      await gone
    }
    freeze(): void {
      this.#process?.kill('SIGSTOP')
    }
  }

  interface Event {
    readonly event: string
    readonly [fact: string]: unknown
  }

  function session(
    nodes: readonly NodePlace[] | (() => Promise<readonly NodePlace[]>),
    giveUpMs = 60_000,
  ): { session: ConnectSession; events: Event[] } {
    const events: Event[] = []
    const made = new ConnectSession({
      name,
      nodes: typeof nodes === 'function' ? nodes : async () => nodes,
      giveUpMs,
      platform,
      output: { line: () => undefined, event: (event) => void events.push(event) },
    })
    open.push({ stop: () => made.close() })
    return { session: made, events }
  }

  /** A node in this process, whose vDisk the test can look at. */
  async function memoryNode(
    id: string,
    sizeBytes = MiB,
  ): Promise<{ place: NodePlace; exports: MemoryExports; server: NbdServer }> {
    const exports = new MemoryExports({ [name]: sizeBytes })
    const server = createNbdServer({ platform, exports, limits: { leaveMs: 100 } })
    const address = await server.listen('127.0.0.1:0')
    open.push({ stop: () => server.close() })
    return { place: { id, address }, exports, server }
  }

  test('bytes written through connect are read back, also as zeros and runs', async () => {
    const { place, exports } = await memoryNode('n1')
    const { session: one } = session([place])
    await one.start()
    const vdisk = one.openVDisk()
    assert.equal(vdisk.sizeBytes, MiB)
    await vdisk.write(vDiskOffset(5), Buffer.from('hello'))
    await vdisk.zero(vDiskOffset(64 * KiB), 4 * KiB, true)
    await vdisk.discard(vDiskOffset(128 * KiB), 4 * KiB)
    await vdisk.prefetch(vDiskOffset(0), 4 * KiB)
    await vdisk.flush()
    const target = Buffer.alloc(10)
    await vdisk.read(vDiskOffset(0), target)
    assert.equal(target.toString(), '\0\0\0\0\0hello')
    assert.equal(exports.vdisk(name).keptSpace, 1)
    assert.deepEqual(await vdisk.status(vDiskOffset(0), 16 * KiB, 10), [
      { length: 4 * KiB, kind: 'data' },
      { length: 12 * KiB, kind: 'zero' },
    ])
  })

  test('a vDisk that does not exist is refused at the start, and so is a cluster without nodes', async () => {
    const { place } = await memoryNode('n1')
    const exports = new MemoryExports({})
    const server = createNbdServer({ platform, exports })
    open.push({ stop: () => server.close() })
    const empty: NodePlace = { ...place, address: await server.listen('127.0.0.1:0') }
    await assert.rejects(session([empty]).session.start(), (error) => hasCode(error, 'NOT_FOUND'))
    const { session: stopped } = session([{ id: 'n1', address: 'unix:/nowhere.sock' }])
    const starting = assert.rejects(stopped.start(), NoNodeReachable)
    stopped.close()
    await starting
  })

  test(
    'random writes go on over kills of the nodes, without an error and with every byte',
    { timeout: 60_000 },
    async () => {
      const dir = await folder()
      const file = join(dir, 'disk')
      writeFileSync(file, '')
      truncateSync(file, 4 * MiB)
      const nodes = [new FileNode('n1', dir, file), new FileNode('n2', dir, file)]
      await Promise.all(nodes.map((node) => node.start()))
      const { session: one, events } = session(nodes.map(({ place }) => place))
      await one.start()
      const vdisk = one.openVDisk()

      const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31))
      console.log(`seed ${seed}`)
      let state = seed
      const below = (limit: number): number => {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0
        return state % limit
      }
      const slots = 256
      const slotBytes = 16 * KiB
      const model = Buffer.alloc(4 * MiB)
      let writing = true
      let written = 0
      // Each writer has slots of its own, so that the order among writers does not matter.
      const writers = Array.from({ length: 16 }, async (_, writer) => {
        while (writing) {
          const slot = below(slots / 16) * 16 + writer
          const at = slot * slotBytes + below(100)
          const payload = Buffer.alloc(1 + below(slotBytes - 100), 1 + below(255))
          await vdisk.write(vDiskOffset(at), payload)
          payload.copy(model, at)
          const back = Buffer.alloc(payload.length)
          await vdisk.read(vDiskOffset(at), back)
          assert.ok(back.equals(payload), `slot ${slot} does not read back`)
          written++
        }
      })
      for (let round = 0; round < 4; round++) {
        const before = written
        while (written < before + 200) await platform.clock.sleep(5)
        const victim = nodes[round % 2]
        await victim.kill()
        const after = written
        while (written < after + 100) await platform.clock.sleep(5)
        await victim.start()
      }
      writing = false
      await Promise.all(writers)
      one.close()
      assert.ok((await readFile(file)).equals(model), 'the file is not what was written')
      assert.ok(events.filter(({ event }) => event === 'lost').length >= 2)
      assert.ok(events.some(({ event, sentAgain }) => event === 'connected' && Number(sentAgain) > 0))
      assert.ok(events.some(({ event, stallMs }) => event === 'resumed' && typeof stallMs === 'number'))
    },
  )

  test('a frozen node is left for the next one', { timeout: 60_000 }, async () => {
    const dir = await folder()
    const file = join(dir, 'disk')
    writeFileSync(file, Buffer.alloc(4 * MiB, 7))
    const nodes = [new FileNode('n1', dir, file), new FileNode('n2', dir, file)]
    await Promise.all(nodes.map((node) => node.start()))
    const { session: one, events } = session(nodes.map(({ place }) => place))
    await one.start()
    nodes[0].freeze()
    const target = Buffer.alloc(4)
    await one.openVDisk().read(vDiskOffset(0), target)
    assert.deepEqual([...target], [7, 7, 7, 7])
    assert.deepEqual(
      events.map(({ event, node }) => [event, node]),
      [
        ['connected', 'n1'],
        ['lost', 'n1'],
        ['connected', 'n2'],
        ['resumed', 'n2'],
      ],
    )
  })

  test('a request that waits long on a node that is alive is waited for', { timeout: 60_000 }, async () => {
    const { place, exports } = await memoryNode('n1')
    const { session: one, events } = session([place])
    await one.start()
    exports.vdisk(name).before = (operation) =>
      operation === 'write' ? platform.clock.sleep(6000) : undefined
    await one.openVDisk().write(vDiskOffset(0), Buffer.from('late'))
    assert.deepEqual(
      events.map(({ event }) => event),
      ['connected'],
    )
  })

  test('what a node that shuts down did not do another node does, and session numbers grow', async () => {
    const first = await memoryNode('n1')
    const second = await memoryNode('n2')
    const { session: one } = session([first.place, second.place])
    await one.start()
    first.exports.vdisk(name).before = () =>
      Promise.reject(new NdfsError('UNAVAILABLE', 'Cannot: it shuts down'))
    const vdisk = one.openVDisk()
    await Promise.all(
      [0, 1, 2, 3].map(async (slot) => vdisk.write(vDiskOffset(slot * 4096), Buffer.alloc(4096, slot + 1))),
    )
    assert.deepEqual(
      [0, 4096, 8192, 12288].map((at) => second.exports.vdisk(name).bytes[at]),
      [1, 2, 3, 4],
    )
    const [before] = first.exports.vdisk(name).sessions
    const [now] = second.exports.vdisk(name).sessions
    assert.ok(before && now && now.client === before.client && now.number > before.number)
  })

  test('errors that are about the request reach the VM', async () => {
    const { place, exports } = await memoryNode('n1')
    const { session: one, events } = session([place])
    await one.start()
    exports.vdisk(name).before = () =>
      Promise.reject(new NdfsError('OUT_OF_SPACE', 'Cannot write: no disk has room'))
    await assert.rejects(
      async () => one.openVDisk().write(vDiskOffset(0), Buffer.alloc(512)),
      (error) => hasCode(error, 'OUT_OF_SPACE') && /no disk has room/.test(error.message),
    )
    exports.vdisk(name).before = () =>
      Promise.reject(new NdfsError('CORRUPT_EXTENT', 'Cannot read: all copies are bad'))
    await assert.rejects(
      async () => one.openVDisk().read(vDiskOffset(0), Buffer.alloc(512)),
      /all copies are bad/,
    )
    assert.equal(events.length, 1)
  })

  test(
    'requests fail once no node served for long enough, and later ones are served again',
    { timeout: 30_000 },
    async () => {
      const first = await memoryNode('n1')
      let places = [first.place]
      const { session: one, events } = session(async () => places, 1000)
      await one.start()
      await first.server.close()
      const vdisk = one.openVDisk()
      await assert.rejects(
        async () => vdisk.write(vDiskOffset(0), Buffer.alloc(512)),
        (error) => hasCode(error, 'TIMED_OUT'),
      )
      assert.ok(events.some(({ event }) => event === 'gave up'))
      const second = await memoryNode('n2', 2 * MiB)
      const sizes: number[] = []
      vdisk.onResize = (size) => sizes.push(size)
      places = [second.place]
      await vdisk.write(vDiskOffset(0), Buffer.alloc(512, 9))
      assert.equal(second.exports.vdisk(name).bytes[0], 9)
      assert.deepEqual(sizes, [2 * MiB])
      assert.equal(vdisk.sizeBytes, 2 * MiB)
    },
  )

  test('changes that overlap go one after the other, and what is under way is bounded', async () => {
    const { place, exports } = await memoryNode('n1')
    const { session: one } = session([place])
    await one.start()
    const vdisk = one.openVDisk()
    const memory = exports.vdisk(name)
    const order: number[] = []
    let underWay = 0
    memory.before = async (operation, offset) => {
      if (operation !== 'write' || offset > 0) return
      assert.equal(++underWay, 1, 'two writes of one place at once')
      await platform.clock.sleep(1)
      underWay--
    }
    await Promise.all(
      [1, 2, 3, 4, 5].map(async (value) => {
        await vdisk.write(vDiskOffset(0), Buffer.alloc(4096, value))
        order.push(value)
      }),
    )
    assert.deepEqual(order, [1, 2, 3, 4, 5])
    assert.equal(memory.bytes[0], 5)

    memory.before = () => platform.clock.sleep(5)
    await Promise.all(
      Array.from({ length: 600 }, async (_, index) =>
        vdisk.read(vDiskOffset((index % 16) * 4096), Buffer.alloc(4096)),
      ),
    )
    assert.ok(memory.underWayMost <= 128, `${memory.underWayMost} under way`)
  })

  test('a session that is closed answers what waits', async () => {
    const { place, exports } = await memoryNode('n1')
    const { session: one } = session([place])
    await one.start()
    exports.vdisk(name).before = () => platform.clock.sleep(50)
    const waiting = assert.rejects(
      async () => one.openVDisk().read(vDiskOffset(0), Buffer.alloc(512)),
      (error) => hasCode(error, 'UNAVAILABLE'),
    )
    one.close()
    await waiting
  })

  test('the node that was lost is asked last', () => {
    const places = ['n1', 'n2', 'n3'].map((id) => ({ id, address: id }))
    const ids = (lost: string | undefined) => afterTheLost(places, lost).map(({ id }) => id)
    assert.deepEqual(ids(undefined), ['n1', 'n2', 'n3'])
    assert.deepEqual(ids('n1'), ['n2', 'n3', 'n1'])
    assert.deepEqual(ids('n3'), ['n1', 'n2', 'n3'])
    assert.deepEqual(ids('gone'), ['n1', 'n2', 'n3'])
  })

  test('runs that a server tells beyond what was asked for are cut', () => {
    assert.deepEqual(
      within(
        [
          { length: 4, kind: 'data' },
          { length: 8, kind: 'zero' },
          { length: 8, kind: 'data' },
        ],
        8,
      ),
      [
        { length: 4, kind: 'data' },
        { length: 4, kind: 'zero' },
      ],
    )
  })
}
