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
import { dice, noise, pick, type Roll } from '../../../base/dice-for-tests.ts'
import { NdfsError } from '../../../base/errors.ts'
import { KiB } from '../../../base/units.ts'
import {
  arrive,
  fuzzPlatform,
  FuzzSocket,
  type FuzzClock,
} from '../../../platform/fuzz-platform-for-tests.ts'
import { TlsFailure, type Socket, type TlsSide } from '../../../platform/platform.ts'
import { MemoryExports } from './memory-exports.ts'
import { encodeOption, encodeRequestHeader, numbers, option } from './nbd-protocol.ts'
import { createNbdServer, type NbdServer, type NbdStatistics } from './nbd.ts'

const sizeBytes = 300 * KiB
const names = ['fuzz/a', 'fuzz/a#client.1', 'fuzz/none', '', 'fuzz/a#', '\u0000', 'ü'.repeat(3000)]

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
  readonly connect: (socket: Socket) => void
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
  const socket = new FuzzSocket(roll, roll(8) ? 'unix:' : '10.0.0.1:9')
  run.connect(socket)

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
    if (!socket.paused) at = arrive(socket, stream, at, 1 + roll(pick(roll, [2, 40, 5000, 100_000])))
    else {
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

/** Where the client asks for TLS it has none. */
const noTls: TlsSide = {
  accept: (socket) => {
    socket.destroy()
    return Promise.reject(new TlsFailure('it does not speak TLS'))
  },
  connect: () => Promise.reject(new TlsFailure('nobody is called')),
}

/** Runs at least `inputs`; throws at the first that breaks something. Tells what the server did. */
export async function fuzz(inputs: number, seed: number): Promise<NbdStatistics> {
  const roll = dice(seed)
  const { platform, clock, connect } = fuzzPlatform()
  const exports = new MemoryExports({ 'fuzz/a': sizeBytes })
  const limits = { requestsMax: 4, connectionBytesMax: 2 ** 20, bytesMax: 2 ** 20, ownBytes: 2 ** 16 }
  const server = createNbdServer({ platform, exports, limits, tls: () => noTls })
  await server.listen('fuzz')
  const run = { exports, server, clock, connect }
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
