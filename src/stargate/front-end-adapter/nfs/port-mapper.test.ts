import { test, type TestContext } from 'node:test'
import assert from 'node:assert/strict'
import { nodePlatform } from '../../../platform/node-platform.ts'
import { RpcPrograms } from './nfs-server.ts'
import { MemoryTree } from './memory-tree-for-tests.ts'
import { mount3Program, mount3ProgramNumber } from './mount3-protocol.ts'
import { nfs3Program, nfs3ProgramNumber } from './nfs3-protocol.ts'
import { mappingsOf, PortMapper } from './port-mapper.ts'
import {
  decodePortMapping,
  encodePortMapping,
  portmap2Procedure,
  portmap2Program,
  portmap2ProgramNumber,
  type Portmap2Service,
  type PortMapping,
} from './portmap2-protocol.ts'
import { connectRpc } from './rpc-client.ts'
import { hostAndPort } from '../../../base/networks.ts'
import { createRpcServer } from './rpc-server.ts'
import type { XdrReader } from './xdr.ts'

const platform = nodePlatform({ level: 'silent' })
const timeoutMs = 2000
const [tcp, udp] = [6, 17]

function programs() {
  const tree = new MemoryTree()
  return [nfs3Program(tree.nfs), mount3Program(tree.mount)]
}

async function startPrograms(t: TestContext) {
  const server = new RpcPrograms({ platform, programs: programs(), rpcbindSocket: 'unix:/nobody/is/here' })
  t.after(() => server.close())
  const port = hostAndPort(await server.listen('127.0.0.1:0')).port
  return { server, port }
}

/** One whose table others may change, as that of `rpcbind`, at a port of its own. */
async function startRpcbind(t: TestContext, service: Portmap2Service = new OpenMapper()) {
  const server = createRpcServer({ platform, programs: [portmap2Program(service)] })
  t.after(() => server.close())
  return server.listen('127.0.0.1:0')
}

class OpenMapper implements Portmap2Service {
  table: PortMapping[] = []
  set(mapping: PortMapping): boolean {
    const port = this.getport(mapping)
    if (port === 0) this.table.push(mapping)
    return port === 0 || port === mapping.port
  }
  unset({ program, version }: PortMapping): boolean {
    this.table = this.table.filter((one) => one.program !== program || one.version !== version)
    return true
  }
  getport(mapping: PortMapping): number {
    return new PortMapper(this.table).getport(mapping)
  }
  dump(): readonly PortMapping[] {
    return this.table
  }
}

async function ask(
  address: string,
  procedure: keyof typeof portmap2Procedure,
  mapping?: PortMapping,
): Promise<XdrReader> {
  const client = await connectRpc(platform, address, timeoutMs)
  try {
    const target = {
      program: portmap2ProgramNumber,
      version: 2,
      procedure: portmap2Procedure[procedure],
    }
    return await client.call(target, (writer) => mapping && encodePortMapping(writer, mapping), timeoutMs)
  } finally {
    client.close()
  }
}

const nfsByTcp = { program: nfs3ProgramNumber, version: 3, protocol: tcp, port: 0 }

test('port mapper tells where our programs listen, and takes no orders', async (t) => {
  const { server, port } = await startPrograms(t)
  // A port that was free a moment ago.
  const probe = await platform.sockets.listen('127.0.0.1:0', () => undefined)
  await probe.close()
  assert.deepEqual(await server.announce(probe.address), { by: 'ndfs' })
  const at = (program: number, version: number, protocol: number) =>
    ask(probe.address, 'getport', { program, version, protocol, port: 0 }).then((reader) => reader.uint32())
  assert.equal(await at(nfs3ProgramNumber, 3, tcp), port)
  assert.equal(await at(nfs3ProgramNumber, 3, udp), 0)
  assert.equal(await at(nfs3ProgramNumber, 4, tcp), 0)
  assert.equal(await at(mount3ProgramNumber, 3, tcp), port)
  assert.equal(await at(mount3ProgramNumber, 3, udp), port)
  assert.equal(await at(400_000, 1, tcp), 0)
  assert.equal(await at(portmap2ProgramNumber, 2, udp), hostAndPort(probe.address).port)
  const stranger = { program: 400_000, version: 1, protocol: tcp, port: 99 }
  assert.equal((await ask(probe.address, 'set', stranger)).uint32(), 0)
  assert.equal((await ask(probe.address, 'unset', { ...nfsByTcp })).uint32(), 0)
  const reader = await ask(probe.address, 'dump')
  const dumped: PortMapping[] = []
  while (reader.bool()) dumped.push(decodePortMapping(reader))
  assert.deepEqual(
    dumped.map(({ program, version, protocol }) => `${program} ${version} ${protocol}`).sort(),
    ['100000 2 17', '100000 2 6', '100003 3 6', '100005 3 17', '100005 3 6'],
  )
})

test('where another port mapper has the port our programs are entered there, and leave it in the end', async (t) => {
  const mapper = new OpenMapper()
  const address = await startRpcbind(t, mapper)
  const { server, port } = await startPrograms(t)
  mapper.set({ program: 400_000, version: 1, protocol: tcp, port: 99 })
  assert.deepEqual(await server.announce(address), { by: 'rpcbind' })
  assert.deepEqual(
    mapper.table.slice(1),
    mappingsOf(programs(), port, (program) => program === mount3ProgramNumber),
  )
  await server.close()
  assert.equal(mapper.table.length, 1)
})

test('the entry of a node that died is replaced; of two that live the first keeps it', async (t) => {
  const mapper = new OpenMapper()
  const address = await startRpcbind(t, mapper)
  const dead = await platform.sockets.listen('127.0.0.1:0', () => undefined)
  await dead.close()
  mapper.set({ ...nfsByTcp, port: hostAndPort(dead.address).port })
  const [first, second] = [await startPrograms(t), await startPrograms(t)]
  assert.deepEqual(await first.server.announce(address), { by: 'rpcbind' })
  assert.equal(mapper.getport(nfsByTcp), first.port)
  const { by, reason } = await second.server.announce(address)
  assert.equal(by, 'nobody')
  assert.match(reason ?? '', /NFS, MOUNT first/)
  await second.server.close()
  assert.equal(mapper.getport(nfsByTcp), first.port)
})

test('a program that another server has entered stays with it, and the others are ours', async (t) => {
  const mapper = new OpenMapper()
  const address = await startRpcbind(t, mapper)
  mapper.set({ program: mount3ProgramNumber, version: 3, protocol: tcp, port: hostAndPort(address).port })
  const { server, port } = await startPrograms(t)
  const { by, reason } = await server.announce(address)
  assert.equal(by, 'rpcbind')
  assert.match(reason ?? '', /MOUNT first/)
  assert.equal(mapper.getport(nfsByTcp), port)
})

test('of nodes with port mappers on one machine the first has it', async (t) => {
  const probe = await platform.sockets.listen('127.0.0.1:0', () => undefined)
  await probe.close()
  const [first, second] = [await startPrograms(t), await startPrograms(t)]
  assert.equal((await first.server.announce(probe.address)).by, 'ndfs')
  assert.equal((await second.server.announce(probe.address)).by, 'nobody')
  const reader = await ask(probe.address, 'getport', nfsByTcp)
  assert.equal(reader.uint32(), first.port)
})

test('a port that may not be had, and one that a mute program has, are told and stop nothing', async (t) => {
  const { server, port } = await startPrograms(t)
  const mute = await platform.sockets.listen('127.0.0.1:0', (socket) => {
    socket.onData = socket.onClose = () => {}
    t.after(() => socket.destroy())
  })
  t.after(() => mute.close())
  for (const [address, reason] of [
    ['192.0.2.1:111', /EADDRNOTAVAIL/],
    [mute.address, /EADDRINUSE.*no answer in/],
  ] as const) {
    const state = await server.announce(address)
    assert.equal(state.by, 'nobody')
    assert.match(state.reason ?? '', reason)
  }
  const client = await connectRpc(platform, `127.0.0.1:${port}`, timeoutMs)
  await client.call({ program: nfs3ProgramNumber, version: 3, procedure: 0 }, () => {}, timeoutMs)
  client.close()
})
