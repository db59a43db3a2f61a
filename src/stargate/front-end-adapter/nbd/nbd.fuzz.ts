/**
 * Throws bytes at the adapter that no sound client would send: options and requests with any lengths, flags and offsets,
 * cut into pieces anywhere, torn off anywhere; and a vDisk behind it that answers late, in any order, or not well.
 *
 * One input is one option or one request. It must hold: the adapter throws nothing; each connection comes to its end once
 * the vDisk has answered all, with the vDisk closed and no memory counted as held; and what the vDisk is asked makes
 * sense, which the vDisk in memory asserts. Run it:
 * `node src/stargate/front-end-adapter/nbd/nbd.fuzz.ts [inputs [seed]]`.
 */
import { assert } from '../../../base/assert.ts'
import { NdfsError } from '../../../base/errors.ts'
import { KiB, millis } from '../../../base/units.ts'
import type { Clock, Log, Platform, Socket, Timer } from '../../../platform/platform.ts'
import { MemoryExports } from './memory-exports.ts'
import { encodeOption, encodeRequestHeader, numbers, option } from './nbd-protocol.ts'
import { createNbdServer, type NbdServer, type NbdStatistics } from './nbd.ts'

/** mulberry32: small, and the same everywhere. */
export function dice(seed: number): (below: number) => number {
  let state = seed >>> 0
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below)
  }
}

type Roll = (below: number) => number

/** Time that stands still, except for what is due at once: a run needs no more. */
class FuzzClock implements Clock {
  readonly #soon: (() => void)[] = []
  now = () => millis(0)
  wallTime = (): number => 0
  after = (): Timer => ({ cancel: () => {} })
  sleep = (): Promise<void> => Promise.resolve()
  soon = (callback: () => void): void => void this.#soon.push(callback)

  async settle(): Promise<void> {
    do {
      for (const callback of this.#soon.splice(0)) callback()
      // Every chain of promises runs to its end before the loop turns.
      await new Promise((resolve) => setImmediate(resolve))
    } while (this.#soon.length > 0)
  }
}

const silent: Log = { debug() {}, info() {}, warn() {}, error() {}, with: () => silent }

/** The server's side of a connection whose other side is the fuzzer. */
class FuzzSocket implements Socket {
  readonly remoteAddress = 'fuzz'
  onData: (bytes: Buffer) => void = () => {}
  room: () => Uint8Array | undefined = () => undefined
  onFilled: (bytes: number) => void = () => {}
  onClose: (error?: Error) => void = () => {}
  onDrain: () => void = () => {}
  paused = false
  closed = false
  readonly #roll: Roll
  #unsent: (() => void)[] = []

  constructor(roll: Roll) {
    this.#roll = roll
  }

  write(buffers: readonly Uint8Array[]): boolean {
    assert(
      buffers.every((buffer) => buffer.length > 0 || buffers.length > 1),
      'an empty write is a wasted call',
    )
    return true
  }
  whenSent(callback: () => void): void {
    if (this.closed || this.#roll(4) > 0) queueMicrotask(callback)
    else this.#unsent.push(callback)
  }
  sendAll(): void {
    for (const callback of this.#unsent.splice(0)) callback()
  }
  pause(): void {
    this.paused = true
  }
  resume(): void {
    this.paused = false
  }
  end(): void {
    this.destroy()
  }
  destroy(): void {
    if (this.closed) return
    this.closed = true
    queueMicrotask(() => this.onClose())
  }
}

const sizeBytes = 300 * KiB
const names = ['fuzz/a', 'fuzz/a#client.1', 'fuzz/none', '', 'fuzz/a#', '\u0000', 'ü'.repeat(3000)]

const pick = <T>(roll: Roll, from: readonly T[]): T => from[roll(from.length)]
const noise = (roll: Roll, count: number): Buffer =>
  Buffer.from(Array.from({ length: count }, () => roll(256)))

function someOption(roll: Roll): Buffer {
  const name = Buffer.from(pick(roll, names))
  const named = Buffer.concat([numbers([4, roll(20) ? name.length : roll(2 ** 32)]), name])
  const code = roll(20) ? pick(roll, Object.values(option)) : roll(2 ** 32)
  switch (roll(6)) {
    case 0:
      return encodeOption(code, noise(roll, roll(40)))
    case 1:
      return encodeOption(option.structuredReply, Buffer.alloc(0))
    case 2: {
      const query = Buffer.from(pick(roll, ['base:allocation', 'base:', 'x:y', 'nonsense', '']))
      const queries = Buffer.concat([numbers([4, roll(3)], [4, query.length]), query])
      return encodeOption(
        pick(roll, [option.listMetaContext, option.setMetaContext]),
        Buffer.concat([named, queries]),
      )
    }
    case 3: {
      const header = encodeOption(code, Buffer.alloc(0))
      header.writeUInt32BE(roll(3) ? roll(200 * KiB) : roll(2 ** 32), 12)
      return header
    }
    default: {
      const kinds = Array.from({ length: roll(5) }, () => [2, roll(6)] as const)
      return encodeOption(code, Buffer.concat([named, numbers([2, kinds.length], ...kinds)]))
    }
  }
}

function someRequest(roll: Roll): Buffer {
  if (roll(12) === 0) return encodeRequestHeader({ command: 3, flags: roll(2), cookie: BigInt(roll(100)) })
  const command = roll(15) ? pick(roll, [0, 1, 1, 3, 4, 5, 6, 7]) : roll(5) ? roll(2 ** 16) : 2
  const flags = roll(4) ? 0 : roll(4) ? roll(32) : roll(2 ** 16)
  const offset = roll(10)
    ? BigInt(roll(pick(roll, [10, sizeBytes / 2, sizeBytes + 10])))
    : BigInt(roll(2 ** 32)) * 2n ** BigInt(roll(33))
  const length = roll(12) ? roll(pick(roll, [10, 5000, 5000, sizeBytes])) : roll(2) ? 0 : roll(2 ** 32)
  const header = encodeRequestHeader({ command, flags, offset, length, cookie: BigInt(roll(2 ** 32)) })
  if (roll(300) === 0) header[roll(4)] ^= 1 + roll(255)
  if (command !== 1) return header
  // What was announced is not always sent, and what was not announced sometimes is.
  const payload = roll(60) ? Math.min(length, 2 * sizeBytes) : roll(100)
  return Buffer.concat([header, Buffer.alloc(payload, roll(256))])
}

interface Run {
  readonly exports: MemoryExports
  readonly server: NbdServer
  readonly clock: FuzzClock
  accept: (socket: Socket) => void
}

async function oneConnection(run: Run, roll: Roll): Promise<number> {
  const { clock, server } = run
  const vdisk = run.exports.vdisk('fuzz/a')
  const waiting: (() => void)[] = []
  const manner = roll(3)
  vdisk.before = () => {
    if (manner === 0 || roll(3) === 0) return undefined
    return new Promise((resolve, reject) => {
      const answer = (): void =>
        roll(10) ? resolve() : reject(new NdfsError('DISK_FAILED', 'Cannot: a fuzz'))
      if (manner === 1) queueMicrotask(answer)
      else waiting.splice(roll(waiting.length + 1), 0, answer)
    })
  }
  const socket = new FuzzSocket(roll)
  run.accept(socket)

  const parts: Buffer[] = [numbers([4, roll(20) ? 3 : roll(5)])]
  const options = roll(4) ? 0 : roll(4)
  const requests = roll(30)
  for (let count = 0; count < options; count += 1) parts.push(someOption(roll))
  if (roll(10)) {
    const name = Buffer.from('fuzz/a')
    const named = Buffer.concat([numbers([4, name.length]), name])
    if (roll(2)) {
      const query = Buffer.from('base:allocation')
      const queries = Buffer.concat([numbers([4, 1], [4, query.length]), query])
      parts.push(encodeOption(option.structuredReply, Buffer.alloc(0)))
      parts.push(encodeOption(option.setMetaContext, Buffer.concat([named, queries])))
    }
    parts.push(encodeOption(option.go, Buffer.concat([named, numbers([2, 0])])))
  }
  for (let count = 0; count < requests; count += 1) parts.push(someRequest(roll))
  let stream = Buffer.concat(parts)
  if (roll(10) === 0) stream = stream.subarray(0, roll(stream.length))

  for (let at = 0; at < stream.length && !socket.closed;) {
    if (!socket.paused) {
      const room = socket.room()
      const most = Math.min(stream.length - at, room?.length ?? Infinity)
      const end = at + Math.min(most, 1 + roll(pick(roll, [2, 40, 5000, 100_000])))
      if (room === undefined) socket.onData(Buffer.from(stream.subarray(at, end)))
      else {
        stream.copy(room, 0, at, end)
        socket.onFilled(end - at)
      }
      at = end
    } else {
      waiting.shift()?.()
      if (roll(2)) socket.sendAll()
      await clock.settle()
    }
  }
  if (roll(2)) await clock.settle()
  if (roll(2)) socket.destroy()
  // Whatever was under way comes to its end, before or after the connection.
  while (server.statistics().connections > 0) {
    while (waiting.length > 0) waiting.shift()?.()
    socket.sendAll()
    await clock.settle()
    if (waiting.length === 0) socket.destroy()
  }
  await clock.settle()
  const { heldBytes, negotiating } = server.statistics()
  assert(heldBytes === 0, `${heldBytes} bytes are held for nobody`)
  assert(negotiating === 0, 'somebody is counted as negotiating')
  assert(vdisk.openNow === 0 && vdisk.underWay === 0, 'the vDisk was left open')
  return options + requests
}

/** Runs at least `inputs`; throws at the first that breaks something. Tells what the server did. */
export async function fuzz(inputs: number, seed: number): Promise<NbdStatistics> {
  const roll = dice(seed)
  const clock = new FuzzClock()
  let accept: (socket: Socket) => void = () => {}
  const listener = { address: 'fuzz', close: () => Promise.resolve() }
  // The adapter uses nothing else of it.
  const platform = {
    clock,
    log: silent,
    sockets: {
      listen: async (_: string, onConnection: (socket: Socket) => void) => {
        accept = onConnection
        return listener
      },
    },
  } as unknown as Platform
  const exports = new MemoryExports({ 'fuzz/a': sizeBytes })
  const limits = { requestsMax: 4, connectionBytesMax: 2 ** 20, bytesMax: 2 ** 20, ownBytes: 2 ** 16 }
  const server = createNbdServer({ platform, exports, limits })
  await server.listen('fuzz')
  const run = { exports, server, clock, accept }
  for (let done = 0; done < inputs;) done += 1 + (await oneConnection(run, roll))
  return server.statistics()
}

if (import.meta.main) {
  const inputs = Number(process.argv[2] ?? 1_000_000)
  const seed = Number(process.argv[3] ?? Date.now() % 2 ** 32)
  process.stdout.write(`${inputs} inputs, seed ${seed}\n`)
  const { reads, writes, zeroes, trims, flushes, errors } = await fuzz(inputs, seed)
  const did = { reads, writes, zeroes, trims, flushes, errors }
  process.stdout.write(`nothing broke: ${JSON.stringify(did)}\n`)
}
