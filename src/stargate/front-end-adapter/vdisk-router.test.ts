/** Requests on their way to the owner, over real vDisk controllers in a small world: repeated, refused, forwarded once, taken over. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeControl } from '../../base/control.ts'
import { hasCode, NdfsError } from '../../base/errors.ts'
import type { Epoch, Incarnation, NodeId, VDiskId } from '../../base/ids.ts'
import { MiB, vDiskOffset } from '../../base/units.ts'
import type { CallOptions, PeerHandler, Peers } from '../../peer/peer.ts'
import { asVDisk, never, TestNode, TestWorld } from '../vdisk-controller/fixtures.test.ts'
import { decodeAnswer, decodeForward, encodeAnswer, encodeForward } from './forwarding.ts'
import type { Locations } from './front-end-adapter.ts'
import { VDiskRouter } from './vdisk-router.ts'

const vdisk = asVDisk(1)
const requestWaitMaxMs = 90_000

// --- bytes ----------------------------------------------------------------------------------------------------------

const header = {
  vdisk: asVDisk(5),
  epoch: 7 as Epoch,
  session: 2 ** 40,
  offset: 4096,
  length: 512,
  runsMax: 9,
  client: undefined,
}
const byHand = Buffer.from(
  [
    '0000000000001440', // vdisk 5
    '07000000', // epoch
    '09000000', // runs
    '0000000000007042', // session 2^40
    '000000000000b040', // offset 4096
    '0000000000008040', // length 512
    '00000000', // no client
  ].join(''),
  'hex',
)

test('a forwarded request has the bytes of its picture', () => {
  assert.deepEqual(encodeForward(header), byHand)
  const payload = Buffer.from('payload')
  assert.deepEqual(decodeForward(Buffer.concat([byHand, payload])), { header, payload })
})

test("a forwarded request carries its client's session (F3)", () => {
  const client = { client: 'vm-1', number: 3 }
  const bytes = encodeForward({ ...header, client })
  const cbor = encodeControl(client)
  assert.deepEqual(bytes.subarray(0, 40), byHand.subarray(0, 40))
  assert.equal(bytes.readUInt32LE(40), cbor.length)
  assert.deepEqual(bytes.subarray(44), cbor)
  assert.deepEqual(decodeForward(bytes), { header: { ...header, client }, payload: Buffer.alloc(0) })
})

test('a forwarded request or an answer that is cut short is refused', () => {
  const cut = encodeForward({ ...header, client: { client: 'vm-1', number: 3 } })
  for (const length of [0, 8, 43, cut.length - 1])
    assert.throws(
      () => decodeForward(cut.subarray(0, length)),
      (error) => hasCode(error, 'REFUSED'),
      `${length}`,
    )
  assert.throws(
    () => decodeAnswer(Buffer.alloc(15)),
    (error) => hasCode(error, 'REFUSED'),
  )
  assert.deepEqual(
    decodeAnswer(Buffer.concat([encodeAnswer({ sizeBytes: 12_345, modifiedAt: 678 }), Buffer.from('rest')])),
    {
      now: { sizeBytes: 12_345, modifiedAt: 678 },
      payload: Buffer.from('rest'),
    },
  )
})

// --- routers --------------------------------------------------------------------------------------------------------

/** Nodes with their routers, and the connections between them. */
class Cluster {
  readonly world = new TestWorld(1)
  readonly handlers = new Map<NodeId, Map<string, PeerHandler>>()
  readonly nodes = new Map<string, { node: TestNode; router: VDiskRouter }>()
  /** Kinds of requests that arrived, and where. */
  readonly arrived: string[] = []
  /** The vDisk that has the name by now. */
  namedNow: VDiskId = vdisk
  /** What becomes of a request between two nodes. */
  link: (from: string, to: string, kind: string) => 'up' | 'hangs' | 'refused' | 'answer lost' = () => 'up'

  static async begin(owner = 'n1'): Promise<Cluster> {
    const cluster = new Cluster()
    for (const name of ['n1', 'n2', 'n3']) cluster.start(name)
    const { host } = cluster.nodes.get(owner)!.node
    await cluster.run(host.create(vdisk, 'c/v', 4 * MiB, 2))
    await cluster.run(host.claim(vdisk, 'free'))
    return cluster
  }

  start(name: string): void {
    const node = new TestNode(this.world, name)
    const handlers = new Map<string, PeerHandler>()
    this.handlers.set(node.node, handlers)
    const incarnation = `of-${name}` as Incarnation
    const peers = {
      handle: (kind: string, _lane: string, handler: PeerHandler) => void handlers.set(kind, handler),
      call: (to: NodeId, kind: string, body: readonly Uint8Array[], options: CallOptions = {}) =>
        this.#call(node, incarnation, to, kind, Buffer.concat(body), options.timeoutMs ?? 10_000),
    } as unknown as Peers
    const locations: Locations = {
      names: () => ['c/v'],
      vdiskNamed: async (asked) => (asked === 'c/v' ? vdisk : undefined),
      vdiskNamedNow: async () => this.namedNow,
      owner: () => this.world.owners.get(vdisk),
      lives: (other) => [...this.world.alive].some((one) => one.node === other),
      liveNodes: () => [...this.world.alive].map((one) => one.node).sort(),
      changed: () => never,
    }
    const router = new VDiskRouter({
      platform: node.platform,
      node: node.node,
      peers,
      controller: node.host,
      locations,
      requestWaitMaxMs,
    })
    this.nodes.set(name, { node, router })
  }

  async #call(
    from: TestNode,
    incarnation: Incarnation,
    to: NodeId,
    kind: string,
    body: Buffer,
    timeoutMs: number,
  ): Promise<Buffer> {
    const link = this.link(from.node, to, kind)
    const late = this.world.clock.sleep(timeoutMs).then(() => {
      throw new NdfsError('TIMED_OUT', `${to} does not answer`)
    })
    late.catch(() => undefined)
    const answer = from.call(async () => {
      if (link === 'refused') throw new NdfsError('PEER_UNREACHABLE', `${to} refuses connections`)
      if (link === 'hangs') return await never
      this.arrived.push(`${kind} at ${to}`)
      const parts = await this.handlers.get(to)!.get(kind)!({ from: from.node, incarnation, kind, body })
      if (link === 'answer lost') throw new NdfsError('PEER_UNREACHABLE', 'the connection broke')
      return Buffer.concat(parts)
    })
    return await Promise.race([answer, late])
  }

  router(name: string): VDiskRouter {
    return this.nodes.get(name)!.router
  }
  hosted(name: string) {
    return this.nodes.get(name)!.node.host.hosted(vdisk)
  }
  run<T>(work: Promise<T>): Promise<T> {
    return this.world.clock.run(work)
  }
  async open(name: string, number?: number) {
    const session = number === undefined ? undefined : { client: 'vm-1', number }
    return await this.run(this.router(name).open('c/v', session))
  }
  async read(name: string, offset: number, length: number): Promise<string> {
    const opened = await this.open(name)
    const target = Buffer.alloc(length)
    await this.run(Promise.resolve(opened.read(vDiskOffset(offset), target)))
    return target.toString()
  }
}

test('a vDisk is read and written alike through any node (R16 R18)', async () => {
  const cluster = await Cluster.begin('n1')
  for (const [i, name] of ['n1', 'n2', 'n3'].entries()) {
    const opened = await cluster.open(name)
    assert.equal(opened.sizeBytes, 4 * MiB)
    await cluster.run(Promise.resolve(opened.write(vDiskOffset(i * 10), Buffer.from(`through ${name}`))))
    for (const other of ['n1', 'n2', 'n3'])
      assert.equal(await cluster.read(other, i * 10, 10), `through ${name}`)
  }
  assert.equal(cluster.hosted('n1')?.epoch, 1, 'and stays where it is')
  assert.equal(cluster.hosted('n2'), undefined)
  const other = await cluster.open('n2')
  await cluster.run(Promise.resolve(other.zero(vDiskOffset(0), 4, true)))
  await cluster.run(Promise.resolve(other.discard(vDiskOffset(4), 4)))
  assert.equal(await cluster.read('n1', 0, 8), '\0'.repeat(8))
  assert.deepEqual(await cluster.run(other.status(vDiskOffset(1 * MiB), 1 * MiB, 4)), [
    { length: 1 * MiB, kind: 'zero' },
  ])
})

test('a name that is not there is refused', async () => {
  const cluster = await Cluster.begin()
  await assert.rejects(cluster.run(cluster.router('n2').open('c/other')), (error) =>
    hasCode(error, 'NOT_FOUND'),
  )
  assert.deepEqual(await cluster.router('n2').list(), ['c/v'])
})

test('the new size arrives with the next answer', async () => {
  const cluster = await Cluster.begin()
  const opened = await cluster.open('n2')
  let told = 0
  opened.onResize = (size) => (told = size)
  await cluster.run(cluster.router('n3').resize(vdisk, 8 * MiB))
  assert.equal(await cluster.read('n2', 0, 1), '\0')
  await cluster.run(Promise.resolve(opened.read(vDiskOffset(6 * MiB), Buffer.alloc(1))))
  assert.equal(told, 8 * MiB)
  assert.equal(opened.sizeBytes, 8 * MiB)
})

test('a vDisk grows wherever its owner is, and never shrinks by it', async () => {
  const cluster = await Cluster.begin()
  const opened = await cluster.open('n2')
  const elsewhere = await cluster.run(cluster.router('n3').openById(vdisk))
  await cluster.run(Promise.all([12, 6, 9].map((mebibytes) => elsewhere.grow(mebibytes * MiB))))
  await cluster.run(Promise.resolve(opened.write(vDiskOffset(12 * MiB - 1), Buffer.from('x'))))
  assert.equal(opened.sizeBytes, 12 * MiB)
})

test('a range that no longer lies in the vDisk is refused where the owner is, here as well as elsewhere', async () => {
  const cluster = await Cluster.begin()
  const opened = [await cluster.open('n1'), await cluster.open('n2')]
  await cluster.run(cluster.router('n1').resize(vdisk, 1 * MiB))
  for (const one of opened) {
    const far = vDiskOffset(2 * MiB)
    const refused = (error: unknown) => hasCode(error, 'REFUSED')
    await assert.rejects(cluster.run(Promise.resolve(one.write(far, Buffer.alloc(1)))), refused)
    await assert.rejects(cluster.run(Promise.resolve(one.read(far, Buffer.alloc(1)))), refused)
    await assert.rejects(cluster.run(Promise.resolve(one.discard(far, 1))), refused)
  }
})

test('an owner answers another epoch with NOT_OWNER and forwards nothing on (C10)', async () => {
  const cluster = await Cluster.begin('n1')
  const opened = await cluster.open('n2')
  const owner = cluster.world.owners.get(vdisk)!
  // n2 has not heard yet that the vDisk has moved to n3: n1 tells it, and doesn't pass the request on.
  await cluster.run(cluster.nodes.get('n3')!.node.host.claim(vdisk, 'no-service'))
  const now = cluster.world.owners.get(vdisk)!
  cluster.world.owners.set(vdisk, owner)
  cluster.arrived.length = 0
  const writing = Promise.resolve(opened.write(vDiskOffset(0), Buffer.from('text')))
  await cluster.world.clock.pass(1000)
  assert.deepEqual(new Set(cluster.arrived), new Set(['vdisk.write at n1']))
  cluster.world.owners.set(vdisk, now)
  await cluster.run(writing)
  assert.equal(cluster.arrived.at(-1), 'vdisk.write at n3')
  assert.equal(await cluster.read('n3', 0, 4), 'text')
})

test('after an unknown outcome a request is repeated under a new session; the owner refuses what it has of the old one (C10)', async () => {
  const cluster = await Cluster.begin('n1')
  const opened = await cluster.open('n2')
  const sessions: number[] = []
  const handler = cluster.handlers.get('n1' as NodeId)!.get('vdisk.write')!
  let ghost: (() => Promise<unknown>) | undefined
  cluster.handlers.get('n1' as NodeId)!.set('vdisk.write', async (request) => {
    sessions.push(decodeForward(request.body).header.session)
    // The first one is held up on its way; its sender believes that the connection broke.
    if (ghost === undefined) {
      ghost = async () => handler(request)
      throw new NdfsError('PEER_UNREACHABLE', 'the connection broke')
    }
    return handler(request)
  })
  await cluster.run(Promise.resolve(opened.write(vDiskOffset(0), Buffer.from('first'))))
  await cluster.run(Promise.resolve(opened.write(vDiskOffset(0), Buffer.from('later'))))
  assert.equal(sessions.length, 3)
  assert.ok(sessions[1] > sessions[0])
  assert.equal(sessions[2], sessions[1])
  await assert.rejects(cluster.run(ghost!()), (error) => hasCode(error, 'STALE_SESSION'))
  assert.equal(await cluster.read('n1', 0, 5), 'later')
})

test("a client's request of an older session is refused for good, and is not repeated (F3)", async () => {
  const cluster = await Cluster.begin('n1')
  const old = await cluster.open('n2', 1)
  await cluster.run(Promise.resolve(old.write(vDiskOffset(0), Buffer.from('old'))))
  const now = await cluster.open('n3', 2)
  await cluster.run(Promise.resolve(now.write(vDiskOffset(0), Buffer.from('new'))))
  const stale = (error: unknown) => hasCode(error, 'STALE_SESSION')
  await assert.rejects(cluster.run(Promise.resolve(old.write(vDiskOffset(0), Buffer.from('bad')))), stale)
  await assert.rejects(cluster.run(cluster.router('n1').open('c/v', { client: 'vm-1', number: 1 })), stale)
  assert.equal(await cluster.read('n1', 0, 3), 'new')
})

test('when the owner dies, the node where the traffic arrives takes the vDisk over (R6)', async () => {
  const cluster = await Cluster.begin('n1')
  const opened = await cluster.open('n2')
  await cluster.run(Promise.resolve(opened.write(vDiskOffset(0), Buffer.from('text'))))
  cluster.nodes.get('n1')!.node.kill()
  assert.equal(await cluster.read('n2', 0, 4), 'text')
  assert.ok(cluster.hosted('n2'))
})

test('a vDisk that was released to a node goes there first', async () => {
  const cluster = await Cluster.begin('n1')
  await cluster.run(cluster.nodes.get('n1')!.node.host.release(vdisk, 'n3' as NodeId))
  // n3 has traffic, too; n2 lets it go first, and forwards to it.
  const opening = [cluster.router('n2').open('c/v'), cluster.router('n3').open('c/v')]
  await cluster.run(Promise.all(opening))
  assert.ok(cluster.hosted('n3'))
  assert.equal(cluster.hosted('n2'), undefined)
})

test('an owner that answers neither this node nor another is replaced within seconds (M16)', async () => {
  const cluster = await Cluster.begin('n1')
  const opened = await cluster.open('n2')
  const began = cluster.world.clock.now()
  cluster.link = (_, to) => (to === 'n1' ? 'hangs' : 'up')
  cluster.arrived.length = 0
  await cluster.run(Promise.resolve(opened.write(vDiskOffset(0), Buffer.from('text'))))
  const tookMs = cluster.world.clock.now() - began
  assert.ok(tookMs >= 3_000 && tookMs < 6_000, `after ${tookMs} ms`)
  assert.deepEqual(cluster.arrived, ['vdisk.witness at n3'])
  assert.ok(cluster.hosted('n2'))
  cluster.link = () => 'up'
  await cluster.world.clock.pass(3000)
  assert.equal(cluster.hosted('n1'), undefined, 'the one before was fenced')
  assert.equal(await cluster.read('n1', 0, 4), 'text')
})

test('an owner that only this node cannot reach hands over when another node asks it (M16)', async () => {
  const cluster = await Cluster.begin('n1')
  const opened = await cluster.open('n2')
  cluster.link = (from, to) => (from === 'n2' && to === 'n1' ? 'hangs' : 'up')
  cluster.arrived.length = 0
  await cluster.run(Promise.resolve(opened.write(vDiskOffset(0), Buffer.from('text'))))
  assert.deepEqual(
    cluster.arrived.filter((call) => !call.startsWith('vdisk.alive')),
    ['vdisk.witness at n3', 'vdisk.ask-hand-over at n3', 'vdisk.hand-over at n1'],
  )
  assert.ok(cluster.hosted('n2'))
})

test('a node that hears nobody takes nothing, and goes on when it hears again (M16)', async () => {
  const cluster = await Cluster.begin('n1')
  const opened = await cluster.open('n2')
  cluster.link = (from, to) => (from === 'n2' || to === 'n2' ? 'hangs' : 'up')
  const writing = Promise.resolve(opened.write(vDiskOffset(0), Buffer.from('text')))
  writing.catch(() => undefined)
  await cluster.world.clock.pass(30_000)
  assert.ok(cluster.hosted('n1'))
  cluster.link = () => 'up'
  await cluster.run(writing)
  assert.equal(await cluster.read('n3', 0, 4), 'text')
})

test('an owner that refuses every connection is as silent as one that hangs (M16)', async () => {
  const cluster = await Cluster.begin('n1')
  const opened = await cluster.open('n2')
  const began = cluster.world.clock.now()
  cluster.link = (from, to) => (from === 'n2' && to === 'n1' ? 'refused' : 'up')
  await cluster.run(Promise.resolve(opened.write(vDiskOffset(0), Buffer.from('text'))))
  const tookMs = cluster.world.clock.now() - began
  assert.ok(tookMs >= 1500 && tookMs < 10_000, `after ${tookMs} ms`)
  assert.ok(cluster.hosted('n2'))
})

test('an owner that answers that it lives keeps the vDisk, however long a request waits (M16)', async () => {
  const cluster = await Cluster.begin('n1')
  const opened = await cluster.open('n2')
  for (const node of ['n2', 'n3']) cluster.world.logs.get(node as NodeId)!.state = 'gone'
  const writing = Promise.resolve(opened.write(vDiskOffset(0), Buffer.from('text')))
  writing.catch(() => undefined)
  await cluster.world.clock.pass(40_000)
  assert.ok(cluster.hosted('n1'))
  for (const node of ['n2', 'n3']) cluster.world.logs.get(node as NodeId)!.state = 'up'
  await cluster.run(writing)
  assert.equal(cluster.hosted('n2'), undefined)
})

test('an owner by Zeus that says that it is none is replaced before long (M16)', async () => {
  const cluster = await Cluster.begin('n1')
  const opened = await cluster.open('n2')
  const { epoch } = cluster.world.owners.get(vdisk)!
  // As a process that was given the vDisk and never came to serve it.
  cluster.world.owners.set(vdisk, { ...cluster.world.owners.get(vdisk)!, epoch: (epoch + 1) as Epoch })
  await cluster.run(Promise.resolve(opened.write(vDiskOffset(0), Buffer.from('text'))))
  assert.ok(cluster.hosted('n2'))
})

test('a request that finds no owner in its time fails, and says why', async () => {
  const cluster = await Cluster.begin('n1')
  const opened = await cluster.open('n2')
  cluster.nodes.get('n1')!.node.kill()
  for (const { ref } of cluster.world.logs.values()) cluster.world.logs.get(ref.node)!.state = 'gone'
  await assert.rejects(
    cluster.run(Promise.resolve(opened.write(vDiskOffset(0), Buffer.from('text')))),
    (error) => hasCode(error, 'UNAVAILABLE') && /c\/v|vDisk 1/.test(error.message),
  )
})

test('a vDisk that another node keeps asking for moves there, after it has stayed a while (R6)', async () => {
  const cluster = await Cluster.begin('n1')
  const opened = await cluster.open('n2')
  const ask = async (): Promise<void> => {
    for (let i = 0; i < 2500; i++) await opened.read(vDiskOffset(0), Buffer.alloc(1))
  }
  await cluster.read('n1', 0, 1)
  await cluster.run(ask())
  assert.ok(cluster.hosted('n1'), 'it stays a minute where it was claimed for a guest')
  await cluster.world.clock.pass(65_000)
  await cluster.run(ask())
  await cluster.world.clock.pass(5000)
  assert.equal(cluster.hosted('n1'), undefined)
  assert.equal(await cluster.read('n2', 0, 1), '\0')
  assert.ok(cluster.hosted('n2'))
})

test('a vDisk that was claimed only so that somebody owns it moves at once to where it is asked for (R6)', async () => {
  const cluster = await Cluster.begin('n1')
  const opened = await cluster.open('n2')
  const ask = async (): Promise<void> => {
    for (let i = 0; i < 2500; i++) await opened.read(vDiskOffset(0), Buffer.alloc(1))
  }
  await cluster.run(ask())
  await cluster.world.clock.pass(5000)
  assert.equal(cluster.hosted('n1'), undefined)
  assert.equal(await cluster.read('n2', 0, 1), '\0')
  const back = await cluster.open('n1')
  for (let i = 0; i < 2500; i++)
    await cluster.run(Promise.resolve(back.read(vDiskOffset(0), Buffer.alloc(1))))
  assert.ok(cluster.hosted('n2'), 'it was claimed for a guest there, and stays')
})

test('a vDisk is deleted wherever its owner is, and deleting it again is no error', async () => {
  const cluster = await Cluster.begin('n1')
  await cluster.run(cluster.router('n2').delete(vdisk))
  await cluster.run(cluster.router('n3').delete(vdisk))
  await assert.rejects(cluster.run(cluster.router('n2').open('c/v')), (error) => hasCode(error, 'NOT_FOUND'))
})

test('a name that was given again opens the newer vDisk, also where only the older one was heard of (sim seed 40023)', async () => {
  const cluster = await Cluster.begin()
  await cluster.run(cluster.router('n1').delete(vdisk))
  const newer = 2 as VDiskId
  await cluster.run(cluster.nodes.get('n2')!.node.host.create(newer, 'c/v', 1 * MiB, 2))
  cluster.namedNow = newer
  const opened = await cluster.run(cluster.router('n2').open('c/v'))
  assert.equal(opened.sizeBytes, 1 * MiB)
})

test('how often a vDisk is open is counted', async () => {
  const cluster = await Cluster.begin('n1')
  const opened = [await cluster.open('n2'), await cluster.open('n2')]
  assert.equal(cluster.router('n2').opens(vdisk), 2)
  opened.forEach((one) => one.close())
  assert.equal(cluster.router('n2').opens(vdisk), 0)
})
