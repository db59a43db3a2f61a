/**
 * Throws bytes at the wire protocols of the NFS datastore that no sound client would send.
 *
 * At each decoder: what it takes, which is made by letting it read from dice; the same with words changed, cut off or put in; and noise.
 * It must hold: what it takes is read as it was made, wherever it is cut into buffers; nothing but XdrError is thrown; and what is decoded
 * is not more than what came.
 *
 * At a connection: sound calls and such as above, in any number of fragments, arriving in any pieces, torn off anywhere, before services
 * that answer late, in any order, or fail. It must hold: the server throws nothing; all that it writes are replies; a connection that
 * stands has an answer to each call but those whose answer went to a copy of it; each connection comes to its end, and then nothing is
 * counted as held; and never is more held than the limits say.
 *
 * Run it: `node src/stargate/front-end-adapter/nfs/nfs.fuzz.ts [inputs of each decoder, and of connections [seed]]`.
 */
import { assert } from '../../../base/assert.ts'
import { dice, noise, pick, type Roll } from '../../../base/dice-for-tests.ts'
import { NdfsError } from '../../../base/errors.ts'
import { KiB, MiB } from '../../../base/units.ts'
import {
  arrive,
  fuzzPlatform,
  FuzzSocket,
  type FuzzClock,
} from '../../../platform/fuzz-platform-for-tests.ts'
import type { Socket } from '../../../platform/platform.ts'
import { MemoryTree } from './memory-tree-for-tests.ts'
import { decodeMountArguments, mount3Program } from './mount3-protocol.ts'
import { nfs3Decoders } from './nfs3-arguments.ts'
import { nfs3Program } from './nfs3-protocol.ts'
import * as nlm4 from './nlm4-messages.ts'
import { nlm4Program, type Nlm4Service } from './nlm4-protocol.ts'
import { nsm1Decoders } from './nsm1-protocol.ts'
import { decodePortMapping, portmap2Program } from './portmap2-protocol.ts'
import { recordMark, RecordReader } from './record-reader.ts'
import type { Program } from './rpc-program.ts'
import { createRpcServer, type RpcServer, type RpcStatistics } from './rpc-server.ts'
import { authError, decodeCall, decodeReply, encodeCall, encodeRefusal, encodeSuccess } from './rpc.ts'
import type { AuthError, Credentials, RpcRefusal } from './rpc.ts'
import { XdrError, XdrReader, XdrWriter } from './xdr.ts'

type Decoder = (reader: XdrReader) => unknown

/** Lets a decoder read from dice, and writes down what it was given. */
class DiceReader extends XdrReader {
  readonly writer = new XdrWriter()
  readonly #roll: Roll
  #number = 0

  constructor(roll: Roll) {
    super([])
    this.#roll = roll
  }

  override uint32(): number {
    this.#number = this.#roll(pick(this.#roll, [3, 12, 12, 5000, 2 ** 32]))
    this.writer.uint32(this.#number)
    return this.#number
  }
  override bool(): boolean {
    const value = this.#roll(2) === 1
    this.writer.bool(value)
    return value
  }
  override uint64(): number {
    const value = this.#roll(pick(this.#roll, [3, 2 ** 20, 2 ** 32])) * this.#roll(2 ** 21)
    this.writer.uint64(value)
    return value
  }
  override bigUint64(): bigint {
    const value = BigInt(this.#roll(2 ** 32)) * 2n ** BigInt(this.#roll(33))
    this.writer.bigUint64(value)
    return value
  }
  override oneOf<T extends string>(words: readonly T[]): T {
    const word = pick(this.#roll, words)
    this.writer.oneOf(words, word)
    return word
  }
  override fixed(count: number): Buffer {
    const bytes = noise(this.#roll, count)
    this.writer.fixed(bytes)
    return bytes
  }
  override opaque(max: number): Buffer {
    const bytes = Buffer.alloc(this.#length(max), this.#roll(256))
    this.writer.opaque(bytes)
    return bytes
  }
  /** The only list of bytes has its count in front of it, too. */
  override pieces(): Buffer[] {
    const bytes = Buffer.alloc(this.#number > 8 * KiB ? 0 : this.#number, this.#roll(256))
    this.writer.pieces([bytes])
    return bytes.length > 0 ? [bytes] : []
  }
  override array<T>(max: number, item: (reader: this) => T): T[] {
    const length = this.#length(max)
    this.writer.uint32(length)
    return Array.from({ length }, () => item(this))
  }

  #length(max: number): number {
    return this.#roll(Math.min(max, pick(this.#roll, [8, 8, 70, max])) + 1)
  }
}

/** Of bytes that a decoder takes, what it makes of them. */
interface Sample {
  readonly bytes: Buffer
  readonly value: unknown
}

/** `undefined`: the dice made what is refused. */
function sampleOf(decode: Decoder, roll: Roll): Sample | undefined {
  const reader = new DiceReader(roll)
  try {
    const value = decode(reader)
    return { value, bytes: Buffer.concat(reader.writer.finish()) }
  } catch (error) {
    if (error instanceof XdrError) return undefined
    throw error
  }
}

const someCredentials = (roll: Roll): Credentials =>
  roll(4)
    ? {
        flavour: 'sys',
        machine: 'm'.repeat(roll(roll(10) ? 20 : 256)),
        uid: roll(2 ** 32),
        gid: roll(2 ** 32),
        gids: Array.from({ length: roll(17) }, () => roll(2 ** 32)),
      }
    : { flavour: 'none' }

function someCall(roll: Roll): Sample {
  const writer = new XdrWriter()
  const call = {
    xid: roll(2 ** 32),
    program: roll(2 ** 32),
    version: roll(5),
    procedure: roll(25),
    credentials: someCredentials(roll),
  }
  encodeCall(writer, call)
  return { bytes: Buffer.concat(writer.finish()), value: call }
}

function someReply(roll: Roll): Sample {
  const writer = new XdrWriter()
  const xid = roll(2 ** 32)
  const refusal = pick<RpcRefusal | undefined>(roll, [
    undefined,
    { status: pick(roll, ['PROG_UNAVAIL', 'PROC_UNAVAIL', 'GARBAGE_ARGS', 'SYSTEM_ERR'] as const) },
    { status: 'PROG_MISMATCH', low: roll(5), high: roll(2 ** 32) },
    { status: 'RPC_MISMATCH' },
    { status: 'AUTH_ERROR', why: pick(roll, Object.keys(authError) as AuthError[]) },
  ])
  if (refusal === undefined) encodeSuccess(writer, xid)
  else encodeRefusal(writer, xid, refusal)
  return { bytes: Buffer.concat(writer.finish()), value: { xid, refusal } }
}

const madeByDice: Readonly<Record<string, Decoder>> = {
  ...Object.fromEntries(Object.entries(nfs3Decoders).map(([name, decode]) => [`NFS ${name}`, decode])),
  ...Object.fromEntries(Object.entries(nsm1Decoders).map(([name, decode]) => [`NSM ${name}`, decode])),
  'MOUNT path': decodeMountArguments,
  'PORTMAP mapping': decodePortMapping,
  'NLM test': nlm4.decodeTestArguments,
  'NLM lock': nlm4.decodeLockArguments,
  'NLM cancel': nlm4.decodeCancelArguments,
  'NLM unlock': nlm4.decodeUnlockArguments,
  'NLM share': nlm4.decodeShareArguments,
  'NLM free all': nlm4.decodeFreeAllArguments,
  'NLM result': nlm4.decodeNlm4Result,
  'NLM test result': nlm4.decodeTestResult,
}

/** Each decoder, and how to make what it takes. */
const decoders: readonly {
  name: string
  decode: Decoder
  sample: (roll: Roll) => Sample | undefined
}[] = [
  { name: 'RPC call', decode: decodeCall, sample: someCall },
  { name: 'RPC reply', decode: decodeReply, sample: someReply },
  ...Object.entries(madeByDice).map(([name, decode]) => ({
    name,
    decode,
    sample: (roll: Roll) => sampleOf(decode, roll),
  })),
]

function inPieces(bytes: Buffer, roll: Roll): Buffer[] {
  const pieces: Buffer[] = []
  for (let at = 0; at < bytes.length;) {
    const end = at + 1 + roll(pick(roll, [3, 40, bytes.length]))
    pieces.push(bytes.subarray(at, end))
    at = end
  }
  return pieces
}

function spoilt(sound: Buffer, roll: Roll): Buffer {
  let bytes = Buffer.from(sound)
  for (let times = 1 + roll(3); times > 0; times -= 1) {
    const word = 4 * roll(Math.floor(bytes.length / 4) + 1)
    switch (roll(5)) {
      case 0:
        bytes = bytes.subarray(0, roll(bytes.length + 1))
        break
      case 1:
        if (bytes.length > 0) bytes[roll(bytes.length)] ^= 1 << roll(8)
        break
      case 2:
        if (word + 4 <= bytes.length)
          bytes.writeUInt32BE(
            pick(roll, [0, 1, 2, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, bytes.length, roll(2 ** 32)]),
            word,
          )
        break
      case 3:
        bytes = Buffer.concat([bytes.subarray(0, word), noise(roll, 4), bytes.subarray(word)])
        break
      default:
        bytes = Buffer.concat([bytes.subarray(0, word), bytes.subarray(word + 4)])
    }
  }
  return bytes
}

/** A value in one text; bytes in several pieces read as if they were one. Adds to `seen` what was found. */
function shown(value: unknown, seen: { bytes: number; items: number }): string {
  if (value instanceof Buffer) {
    seen.bytes += value.length
    return value.toString('hex')
  }
  if (typeof value === 'string') seen.bytes += value.length
  if (Array.isArray(value)) {
    seen.items += value.length
    if (value.every((each) => each instanceof Buffer)) return shown(Buffer.concat(value), seen)
    return `[${value.map((each) => shown(each, seen)).join()}]`
  }
  if (typeof value === 'object' && value !== null)
    return `{${Object.entries(value)
      .map(([name, each]) => `${name}:${shown(each, seen)}`)
      .join()}}`
  return String(value)
}

/** Words like `guarded` are counted as bytes, though they came as a number. */
const wordsBytes = 64

function decodeOne({ name, decode, sample }: (typeof decoders)[number], roll: Roll): void {
  const sound = sample(roll)
  if (sound !== undefined && roll(3) === 0) {
    const value = decode(new XdrReader(inPieces(sound.bytes, roll)))
    const [made, read] = [sound.value, value].map((each) => shown(each, { bytes: 0, items: 0 }))
    assert(made === read, () => `${name}: ${made} was read as ${read}`)
    return
  }
  const bytes = sound === undefined || roll(10) === 0 ? noise(roll, roll(100)) : spoilt(sound.bytes, roll)
  const seen = { bytes: 0, items: 0 }
  try {
    shown(decode(new XdrReader(inPieces(bytes, roll))), seen)
  } catch (error) {
    if (!(error instanceof XdrError)) throw error
  }
  assert(seen.bytes <= bytes.length + wordsBytes, () => `${name}: ${seen.bytes} bytes of ${bytes.length}`)
  assert(4 * seen.items <= bytes.length, () => `${name}: ${seen.items} items of ${bytes.length} bytes`)
}

/** `inputs` at each decoder; throws at the first that breaks something. Tells how many decoders there are. */
export function fuzzDecoders(inputs: number, seed: number): number {
  const roll = dice(seed)
  for (const decoder of decoders) for (let done = 0; done < inputs; done += 1) decodeOne(decoder, roll)
  return decoders.length
}

const limits = {
  callsMax: 4,
  connectionBytesMax: 256 * KiB,
  bytesMax: 1 * MiB,
  ownBytes: 16 * KiB,
  keptAnswersMax: 50,
}
/** Beside the limits: the answers to calls that are under way may be larger than what was counted for them, by attributes and the like. */
const uncountedBytesMax = (limits.callsMax + 1) * 2 * KiB
/** And one call of any size, with its answer, is let in where nothing else is held. */
const loneBytesMax = 3 * MiB

const locks: Nlm4Service = {
  test: ({ cookie, lock: { offset, length, owner, svid } }) => ({
    cookie,
    status: 'DENIED',
    holder: { exclusive: true, owner, svid, offset, length },
  }),
  lock: async ({ cookie }) => ({ cookie, status: 'GRANTED' }),
  cancel: ({ cookie }) => ({ cookie, status: 'GRANTED' }),
  unlock: async ({ cookie }) => ({ cookie, status: 'GRANTED' }),
  granted: ({ cookie }) => ({ cookie, status: 'DENIED' }),
  share: ({ cookie }) => ({ cookie, status: 'GRANTED', sequence: 0 }),
  unshare: ({ cookie }) => ({ cookie, status: 'GRANTED', sequence: 0 }),
  nmLock: ({ cookie }) => ({ cookie, status: 'FAILED' }),
  freeAll: () => {},
  answered: () => {},
  answer: () => {},
}

const ports = { set: () => false, unset: () => false, getport: () => 2049, dump: () => [] }

interface Run {
  readonly tree: MemoryTree
  readonly programs: readonly Program[]
  readonly server: RpcServer
  readonly clock: FuzzClock
  readonly connect: (socket: Socket) => void
}

/** A message that has arguments of the procedure which it names, or nearly so. */
function someMessage({ programs, tree }: Run, roll: Roll): Buffer {
  const program = pick(roll, [programs[0], programs[0], ...programs])
  const [[version, procedures]] = program.versions
  const procedure = roll(procedures.length)
  const writer = new XdrWriter()
  encodeCall(writer, {
    // Few numbers: some calls come again.
    xid: roll(10),
    program: roll(50) ? program.number : roll(2 ** 32),
    version: roll(50) ? version : roll(10),
    procedure: roll(50) ? procedure : roll(30),
    credentials: someCredentials(roll),
  })
  const asked = procedures[procedure]
  const args = sampleOf((reader) => asked?.decode(reader), roll)?.bytes ?? noise(roll, roll(100))
  // Most procedures of NFS begin with a handle: else few would come to a file.
  const handle = new XdrWriter()
  handle.opaque(tree.handleOf(roll(3) ? tree.root : (tree.root.entries?.get('file') ?? tree.root)))
  const known = Buffer.concat(handle.finish())
  const length = args.length >= 4 ? args.readUInt32BE(0) : 0
  const after = 4 + Math.ceil(length / 4) * 4
  const rest = roll(4) && after <= args.length ? Buffer.concat([known, args.subarray(after)]) : args
  const message = Buffer.concat([...writer.finish(), rest])
  return roll(20) ? message : spoilt(message, roll)
}

/** In fragments, with marks that sometimes lie. */
function marked(message: Buffer, roll: Roll): Buffer {
  const fragments: Buffer[] = []
  const pieces = roll(3) ? [message] : inPieces(message, roll)
  pieces.forEach((piece, index) => {
    const mark = Buffer.alloc(4)
    const word = recordMark(piece.length)
    mark.writeUInt32BE(index === pieces.length - 1 ? word : word - 2 ** 31)
    if (roll(500) === 0) mark.writeUInt32BE(roll(2 ** 32))
    fragments.push(mark, piece)
    if (roll(50) === 0 && index < pieces.length - 1) fragments.push(Buffer.alloc(4))
  })
  return Buffer.concat(fragments)
}

async function oneConnection(run: Run, roll: Roll): Promise<number> {
  const { clock, server, tree } = run
  const waiting: (() => void)[] = []
  const manner = roll(3)
  tree.before = () => {
    if (manner === 0 || roll(3) === 0) return undefined
    return new Promise((resolve, reject) => {
      const answer = (): void =>
        roll(10) ? resolve() : reject(new NdfsError('DISK_FAILED', 'Cannot: a fuzz'))
      if (manner === 1) queueMicrotask(answer)
      else waiting.splice(roll(waiting.length + 1), 0, answer)
    })
  }
  const socket = new FuzzSocket(roll, `10.0.0.${roll(3)}:${roll(65_536)}`)
  const input = new RecordReader()
  let answers = 0
  socket.onWrite = (buffers) => {
    input.push(Buffer.concat(buffers))
    for (let record = input.next(); record !== undefined; record = input.next()) {
      decodeReply(new XdrReader(record))
      answers += 1
    }
  }
  const before = server.statistics()
  run.connect(socket)

  const messages = Array.from({ length: roll(30) }, () => someMessage(run, roll))
  // What came a moment ago comes again, as if the client had heard nothing.
  if (messages.length > 0 && roll(3) === 0) messages.push(pick(roll, messages))
  let stream = Buffer.concat(messages.map((message) => marked(message, roll)))
  if (roll(10) === 0) stream = stream.subarray(0, roll(stream.length + 1))

  const most = Math.max(limits.connectionBytesMax, loneBytesMax) + uncountedBytesMax
  for (let at = 0; at < stream.length && !socket.closed;) {
    if (!socket.paused) at = arrive(socket, stream, at, 1 + roll(pick(roll, [2, 40, 5000, 100_000])))
    else {
      waiting.shift()?.()
      if (roll(2)) socket.sendAll()
      await clock.settle()
    }
    const { heldBytes } = server.statistics()
    assert(heldBytes <= most, () => `${heldBytes} bytes are held for one connection`)
  }
  if (roll(2)) await clock.settle()
  if (roll(2)) socket.destroy()
  // Whatever was under way comes to its end, before or after the connection.
  while (server.statistics().connections > 0) {
    while (waiting.length > 0) waiting.shift()?.()
    socket.sendAll()
    await clock.settle()
    if (waiting.length > 0) continue
    if (!socket.closed) {
      const { calls, repeated } = server.statistics()
      const came = calls - before.calls
      assert(answers <= came, () => `${answers} answers to ${came} calls`)
      const dropped = repeated - before.repeated
      assert(socket.paused || answers >= came - dropped, () => `${answers} answers to ${came} calls`)
    }
    socket.destroy()
  }
  await clock.settle()
  const { heldBytes } = server.statistics()
  assert(heldBytes === 0, () => `${heldBytes} bytes are held for nobody`)
  return messages.length
}

/** Runs at least `inputs` calls; throws at the first that breaks something. Tells what the server did. */
export async function fuzzConnections(inputs: number, seed: number): Promise<RpcStatistics> {
  const roll = dice(seed)
  const { platform, clock, connect } = fuzzPlatform()
  const tree = new MemoryTree(256 * KiB)
  tree.add(tree.root, 'file', Buffer.alloc(100 * KiB, 1))
  const programs = [
    nfs3Program(tree.nfs),
    mount3Program(tree.mount),
    nlm4Program(locks),
    portmap2Program(ports),
  ]
  const server = createRpcServer({ platform, programs, limits })
  await server.listen('fuzz')
  const run = { tree, programs, server, clock, connect }
  for (let done = 0; done < inputs;) done += 1 + (await oneConnection(run, roll))
  return server.statistics()
}

if (import.meta.main) {
  const inputs = Number(process.argv[2] ?? 1_000_000)
  const seed = Number(process.argv[3] ?? Date.now() % 2 ** 32)
  process.stdout.write(`${inputs} inputs, seed ${seed}\n`)
  process.stdout.write(`nothing broke in ${fuzzDecoders(inputs, seed)} decoders\n`)
  const { calls, repeated, refused, failed, garbled } = await fuzzConnections(inputs, seed)
  const did = { calls, repeated, refused, failed, garbled }
  process.stdout.write(`nor in connections: ${JSON.stringify(did)}\n`)
}
