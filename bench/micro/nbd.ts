/**
 * Requests of 4 KiB through one NBD session: bytes of a socket in, calls on the vDisk, bytes of replies out. The vDisk does nothing, a read
 * at once, a write a turn later, as those do that wait for a disk.
 */
import { assert } from '../../src/base/assert.ts'
import { KiB, pageBytes } from '../../src/base/units.ts'
import { nodePlatform } from '../../src/platform/node-platform.ts'
import type { Clock, Socket } from '../../src/platform/platform.ts'
import { IncomingBytes } from '../../src/stargate/front-end-adapter/nbd/incoming-bytes.ts'
import { nbdLimits } from '../../src/stargate/front-end-adapter/nbd/nbd-limits.ts'
import { command, encodeRequestHeader } from '../../src/stargate/front-end-adapter/nbd/nbd-protocol.ts'
import { NbdSession, type NbdCounters } from '../../src/stargate/front-end-adapter/nbd/nbd-session.ts'
import { ReplySlabs } from '../../src/stargate/front-end-adapter/nbd/reply-slabs.ts'
import type { OpenVDisk } from '../../src/stargate/io/io.ts'
import { type Part, scattered } from './part.ts'

const depth = 32
const vdiskPages = 2 ** 20
/** What the system hands over of a socket at once. */
const pieceBytes = 64 * KiB

const done = Promise.resolve()
const vdisk: OpenVDisk = {
  sizeBytes: vdiskPages * pageBytes,
  read: () => undefined,
  write: () => done,
  zero: () => done,
  discard: () => done,
  flush: () => undefined,
  prefetch: () => undefined,
  status: () => Promise.resolve([]),
  onResize: () => undefined,
  close: () => undefined,
}

/** A session whose socket takes all that it is given, and a clock whose `soon` comes when the part says so. */
function session() {
  const soon: (() => void)[] = []
  const sent: (() => void)[] = []
  const counters: NbdCounters = {
    reads: 0,
    writes: 0,
    zeroes: 0,
    trims: 0,
    flushes: 0,
    readBytes: 0,
    writtenBytes: 0,
    errors: 0,
  }
  const platform = nodePlatform({ level: 'silent' })
  const clock: Clock = { ...platform.clock, soon: (callback) => void soon.push(callback) }
  const socket: Socket = {
    remoteAddress: 'unix:/bench',
    localAddress: 'unix:/bench',
    onData: () => undefined,
    room: () => undefined,
    onFilled: () => undefined,
    onClose: () => undefined,
    onDrain: () => undefined,
    write: () => true,
    whenSent: (callback) => void sent.push(callback),
    pause: () => undefined,
    resume: () => undefined,
    end: () => undefined,
    destroy: () => undefined,
  }
  const nbd = new NbdSession({
    socket,
    input: new IncomingBytes(),
    paused: false,
    vdisk,
    agreement: { structured: true, allocationContext: false },
    admission: undefined,
    slabs: new ReplySlabs(),
    limits: nbdLimits,
    counters,
    clock,
    log: platform.log,
    over: () => undefined,
  })
  /** What the next turns of the loop bring: replies leave, and the system has taken them. */
  const turn = (): void => {
    for (let next = soon.pop(); next !== undefined; next = soon.pop()) next()
    for (let next = sent.pop(); next !== undefined; next = sent.pop()) next()
  }
  return { nbd, counters, turn }
}

function stream(code: number, payload: Buffer): Buffer[] {
  const requests = Array.from({ length: depth }, (_, i) =>
    encodeRequestHeader({
      command: code,
      cookie: BigInt(i),
      offset: BigInt(scattered(i, vdiskPages) * pageBytes),
      length: pageBytes,
    }),
  )
  const bytes = Buffer.concat(requests.flatMap((header) => [header, payload]))
  // Each piece has memory of its own, as the socket's have.
  return Array.from({ length: Math.ceil(bytes.length / pieceBytes) }, (_, i) => {
    const part = bytes.subarray(i * pieceBytes, (i + 1) * pieceBytes)
    const piece = Buffer.allocUnsafeSlow(part.length)
    part.copy(piece)
    return piece
  })
}

export function nbdParts(): Part[] {
  const reads = session()
  const writes = session()
  const [readPiece] = stream(command.read, Buffer.alloc(0))
  const writePieces = stream(command.write, Buffer.alloc(pageBytes, 0x5a))
  return [
    {
      name: 'NBD read request and reply',
      operations: depth,
      run: () => {
        reads.nbd.receive(readPiece)
        reads.turn()
        assert(reads.counters.errors === 0, 'a read was refused')
      },
    },
    {
      name: 'NBD write request and reply',
      operations: depth,
      run: async () => {
        for (const piece of writePieces) writes.nbd.receive(piece)
        await done
        writes.turn()
        assert(writes.counters.errors === 0, 'a write was refused')
      },
    },
  ]
}
