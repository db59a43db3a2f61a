/**
 * Sockets by Node.js: TCP and Unix. See node-socket.ts for what one connection does, and node-datagrams.ts for UDP.
 */
import { lstat, unlink } from 'node:fs/promises'
import { connect as netConnect, createServer, Socket as NetSocket } from 'node:net'
import type { NetConnectOpts, Server } from 'node:net'
import { placeOf, tcpAddress } from './address.ts'
import type { Place } from './address.ts'
import { lockPath } from './node-lock.ts'
import { bindDatagrams } from './node-datagrams.ts'
import { NodeSocket } from './node-socket.ts'
import type { Address, Listener, Socket, Sockets } from './platform.ts'
import { SocketReads } from './socket-reads.ts'

/** How long the owner of a socket may take to answer the question whether it lives; silence is a yes. */
const probeTimeoutMs = 1000

/** Of every connection. One on a Unix socket has no use for the first three, and ignores them. */
const socketOptions = {
  noDelay: true,
  keepAlive: true,
  keepAliveInitialDelay: 10_000,
  allowHalfOpen: true,
} as const

export const nodeSockets: Sockets = {
  async listen(address, onConnection) {
    const place = placeOf(address)
    const server = createServer({ ...socketOptions, pauseOnConnect: true }, (accepted) => {
      const reads = new SocketReads()
      const socket = readingInto(reads, accepted)
      const remote = remoteAddressOf(socket)
      // Its client has reset it already, and the system has forgotten who that was: it must not be taken for this machine's own.
      if (place.kind === 'tcp' && remote === unixPeer)
        return void socket.on('error', () => undefined).destroy()
      onConnection(new NodeSocket(socket, reads, remote, localAddressOf(socket)))
    })
    if (place.kind === 'unix') await listenOnPath(server, place.path)
    else await listening(server, place)
    return new NodeListener(server, place, address)
  },

  connect(address, timeoutMs, fromHost) {
    const place = placeOf(address)
    const reads = new SocketReads()
    const from = fromHost === undefined ? {} : { localAddress: fromHost }
    const options: NetConnectOpts = { ...whereIs(place), ...from, ...socketOptions, onread: reads.onread }
    return new Promise<Socket>((resolve, reject) => {
      const socket = netConnect(options)
      const timer = setTimeout(() => {
        socket.destroy(
          Object.assign(new Error(`No connection to ${address} within ${timeoutMs} ms`), {
            code: 'ETIMEDOUT',
          }),
        )
      }, timeoutMs)
      const failed = (error: Error): void => {
        clearTimeout(timer)
        reject(error)
      }
      socket.once('error', failed)
      socket.once('connect', () => {
        clearTimeout(timer)
        socket.off('error', failed)
        resolve(new NodeSocket(socket, reads, address, localAddressOf(socket)))
      })
    })
  },

  bind: bindDatagrams,
}

/**
 * The accepted connection as a socket that reads where we say. A server has no option for it, as `connect` has: the connection's handle
 * is given to a socket that is made with it.
 */
function readingInto(reads: SocketReads, accepted: NetSocket): NetSocket {
  const owner = accepted as unknown as { _handle: unknown }
  const options = { handle: owner._handle, allowHalfOpen: true, onread: reads.onread }
  owner._handle = null
  accepted.destroy()
  return new NetSocket(options)
}

class NodeListener implements Listener {
  readonly address: Address
  readonly #server: Server

  constructor(server: Server, place: Place, address: Address) {
    const bound = server.address()
    this.address =
      place.kind === 'tcp' && bound !== null && typeof bound === 'object'
        ? tcpAddress(place.host, bound.port)
        : address
    this.#server = server
    // Once it listens, an error means that a connection could not be taken (too many open files): the client sees it.
    server.on('error', () => undefined)
  }

  async close(): Promise<void> {
    // Its callback waits for the last connection to end; listening ends at once, and a Unix socket's file goes with it.
    this.#server.close()
  }
}

const whereIs = (place: Place): { path: string } | { host: string; port: number } =>
  place.kind === 'unix' ? { path: place.path } : { host: place.host, port: place.port }

function listening(server: Server, place: Place): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(whereIs(place), () => {
      server.off('error', reject)
      resolve()
    })
  })
}

/** A process that was killed leaves the file of its socket behind: where nobody listens any more it is replaced. */
async function listenOnPath(server: Server, path: string): Promise<void> {
  // Two who find the same dead file must not each remove what the other has just made.
  const lock = await lockPath(`listen ${path}`)
  if (lock === undefined) throw inUse(path)
  try {
    await listening(server, { kind: 'unix', path }).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EADDRINUSE' || !(await isDeadSocket(path))) throw error
      await unlink(path)
      await listening(server, { kind: 'unix', path })
    })
  } finally {
    await lock.release()
  }
}

const inUse = (path: string): Error =>
  Object.assign(new Error(`Cannot listen on ${path}: another process is about to`), { code: 'EADDRINUSE' })

/** Only a refusal says so: a frozen process, or one with a full queue, still owns its socket. */
async function isDeadSocket(path: string): Promise<boolean> {
  // A connection to a file that is no socket is refused too, and that file is not ours to remove.
  if (!(await lstat(path)).isSocket()) return false
  return new Promise((resolve) => {
    const probe = netConnect({ path, timeout: probeTimeoutMs })
    const answer = (dead: boolean): void => {
      probe.destroy()
      resolve(dead)
    }
    probe.once('connect', () => answer(false))
    probe.once('timeout', () => answer(false))
    probe.once('error', (error: NodeJS.ErrnoException) => answer(error.code === 'ECONNREFUSED'))
  })
}

/** Who connects to a path of the file system has no address. */
const unixPeer: Address = 'unix:'

const remoteAddressOf = (socket: NetSocket): Address =>
  socket.remoteAddress === undefined || socket.remotePort === undefined
    ? unixPeer
    : tcpAddress(socket.remoteAddress, socket.remotePort)

const localAddressOf = (socket: NetSocket): Address =>
  socket.localAddress === undefined || socket.localPort === undefined
    ? unixPeer
    : tcpAddress(socket.localAddress, socket.localPort)
