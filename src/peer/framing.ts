/**
 * One frame between nodes, little-endian: a header of 20 bytes, then the body.
 *
 *   0        4       6         7      8         12       16     18     19      20
 *   ┌────────┬───────┬─────────┬──────┬─────────┬────────┬──────┬──────┬───────┬── ─ ─ ──┐
 *   │ crc32c │ magic │ version │ type │ request │ length │ kind │ lane │ flags │ body    │
 *   └────────┴───────┴─────────┴──────┴─────────┴────────┴──────┴──────┴───────┴── ─ ─ ──┘
 *
 * crc32c    of all that follows it, so that neither a bad cable nor a buffer changed too early reaches a handler
 * magic     'NP'
 * version   of this picture, 1. What the two sides say in frames has versions of its own, agreed on in the handshake
 * type      see `FrameType`
 * request   the caller's number for the call; its answer bears the same
 * length    of the body, at most 40 MiB; at most 4 KiB before the handshake is done
 * kind      in `name`: a number that the caller gives to the kind of request whose name is the body; in `request`: that
 *           number, so that no name is sent, and looked up, with each call
 * lane      1 terminal, 2 forward: the same in every frame of a connection
 * flags     0; any other is refused, so that a later version can give them a meaning
 *
 * A frame that breaks these rules ends its connection: what follows it on the stream can't be trusted.
 */
import { assert } from '../base/assert.ts'
import { crc32c, crc32cOfLastPages, crc32cToSend } from '../base/crc32c.ts'
import { takeLarge } from '../base/large-buffers.ts'
import { KiB, MiB, pageBytes } from '../base/units.ts'
import { readIntoBytesMin } from '../platform/platform.ts'
import type { Lane } from './peer.ts'

export const headerBytes = 20
/** The largest guest request with its record's header and room for a directory. */
export const bodyBytesMax = 40 * MiB
/** A body whose pieces are shorter than this is copied behind its header: cheaper than a piece of a gathering write. */
const copiedBytesMax = 2 * KiB

/** Of a request's body from this length on it is told what the checksum of its pages alone is: see `PeerRequest.checksumOfPages`. */
const pagedBytesMin = 64 * KiB

const magic = 0x504e
const layoutVersion = 1

export const frameTypes = {
  hello: 1,
  challenge: 2,
  proof: 3,
  welcome: 4,
  refused: 5,
  name: 6,
  request: 7,
  answer: 8,
  error: 9,
} as const
export type FrameType = (typeof frameTypes)[keyof typeof frameTypes]
const typeMax = Math.max(...Object.values(frameTypes))

export const laneNumber = { terminal: 1, forward: 2 } as const satisfies Record<Lane, number>
type LaneNumber = (typeof laneNumber)[Lane]
export const laneOf = (number: number): Lane => (number === laneNumber.terminal ? 'terminal' : 'forward')

const noBytes = Buffer.alloc(0)
const slabBytes = 32 * KiB
/** How a stream of TLS begins. */
const tlsHandshake = 0x16
const tlsMajor = 3

/**
 * Gathers frames for one write. Headers and short pieces are copied into slabs; long pieces go by reference, and must
 * not be changed until they are sent.
 */
export class FrameWriter {
  readonly #lane: LaneNumber
  #slab = noBytes
  /** The part of the slab from here on is in no buffer of `#gathered` yet. */
  #start = 0
  #end = 0
  #gathered: Uint8Array[] = []
  #bytes = 0

  constructor(lane: Lane) {
    this.#lane = laneNumber[lane]
  }

  /** Bytes gathered and not taken yet. */
  get bytes(): number {
    return this.#bytes
  }

  add(type: FrameType, request: number, kind: number, body: readonly Uint8Array[]): void {
    let length = 0
    let copied = headerBytes
    for (const piece of body) {
      length += piece.length
      if (piece.length < copiedBytesMax) copied += piece.length
    }
    assert(length <= bodyBytesMax, 'a body larger than any frame')
    this.#makeRoom(copied)
    const at = this.#end
    const slab = this.#slab
    slab.writeUInt16LE(magic, at + 4)
    slab[at + 6] = layoutVersion
    slab[at + 7] = type
    slab.writeUInt32LE(request, at + 8)
    slab.writeUInt32LE(length, at + 12)
    slab.writeUInt16LE(kind, at + 16)
    slab[at + 18] = this.#lane
    slab[at + 19] = 0
    this.#end += headerBytes

    // The crc goes over runs: what lies in the slab since the last piece that was sent by reference, then that piece.
    let runStart = at + 4
    let crc: number | undefined
    for (const piece of body) {
      if (piece.length < copiedBytesMax) {
        slab.set(piece, this.#end)
        this.#end += piece.length
      } else {
        if (this.#end > runStart) crc = crc32c(slab.subarray(runStart, this.#end), crc)
        crc = crc32cToSend(piece, crc)
        this.#closeRun()
        this.#gathered.push(piece)
        runStart = this.#end
      }
    }
    if (this.#end > runStart || crc === undefined) crc = crc32c(slab.subarray(runStart, this.#end), crc)
    slab.writeUInt32LE(crc, at)
    this.#bytes += headerBytes + length
  }

  /** All that was gathered, in order; the next frame begins a new gathering. */
  take(): Uint8Array[] {
    this.#closeRun()
    const taken = this.#gathered
    this.#gathered = []
    this.#bytes = 0
    return taken
  }

  #closeRun(): void {
    if (this.#end > this.#start) this.#gathered.push(this.#slab.subarray(this.#start, this.#end))
    this.#start = this.#end
  }

  #makeRoom(bytes: number): void {
    if (this.#end + bytes <= this.#slab.length) return
    this.#closeRun()
    this.#slab = Buffer.allocUnsafeSlow(Math.max(slabBytes, bytes))
    this.#start = 0
    this.#end = 0
  }
}

/** Why a stream can't be read on. */
export class MalformedStream extends Error {
  override name = 'MalformedStream'
}

/** `checksumOfPages`: see `PeerRequest`. */
export type OnFrame = (
  type: FrameType,
  request: number,
  kind: number,
  body: Buffer,
  checksumOfPages?: number,
) => void

/**
 * Takes a stream apart, however it was cut up. A body that lies within one piece of the stream is a view of it; one that
 * doesn't is put together once, in a buffer of its own.
 */
export class FrameReader {
  /** The largest body that is taken now. */
  lengthMax: number
  /** The lane of all frames: that of the first one. */
  lane: Lane | undefined
  readonly #onFrame: OnFrame
  readonly #header = Buffer.alloc(headerBytes)
  #headerHave = 0
  #body: Buffer | undefined
  #bodyHave = 0
  /** The last body was long, so the next may be: its header is read by itself, and then not a byte of the body is copied. */
  #lastWasLong = false

  constructor(lengthMax: number, onFrame: OnFrame) {
    this.lengthMax = lengthMax
    this.#onFrame = onFrame
  }

  /** Calls back for each frame that is whole now; throws MalformedStream for one that breaks the rules. */
  push(bytes: Buffer): void {
    let at = 0
    while (at < bytes.length) {
      if (this.#body !== undefined) at = this.#goOnWithBody(this.#body, bytes, at)
      else if (this.#headerHave === 0 && bytes.length - at >= headerBytes) {
        const length = this.#lengthIn(bytes, at)
        if (bytes.length - at >= headerBytes + length) {
          const end = at + headerBytes + length
          if (crc32c(bytes.subarray(at + 4, end)) !== bytes.readUInt32LE(at)) throw badChecksum()
          const start = at
          at = end
          this.#deliver(bytes, start, length === 0 ? noBytes : bytes.subarray(start + headerBytes, end))
        } else {
          bytes.copy(this.#header, 0, at, at + headerBytes)
          at += headerBytes
          this.#beginBody(length)
        }
      } else at = this.#goOnWithHeader(bytes, at)
    }
  }

  /** Where the next bytes of the stream belong: a long body's part that is still to come, or the header after one. */
  room(): Uint8Array | undefined {
    const body = this.#body
    if (body === undefined) return this.#lastWasLong ? this.#header.subarray(this.#headerHave) : undefined
    return body.length < readIntoBytesMin ? undefined : body.subarray(this.#bodyHave)
  }

  /** So many bytes were written where `room` said. Calls back, and throws, as `push` does. */
  filled(bytes: number): void {
    const body = this.#body
    const room = body === undefined ? headerBytes - this.#headerHave : body.length - this.#bodyHave
    assert(bytes <= room, 'more was filled than there was room')
    if (body === undefined) this.#headerGrew(bytes)
    else this.#bodyGrew(body, bytes)
  }

  #goOnWithHeader(bytes: Buffer, at: number): number {
    const count = Math.min(headerBytes - this.#headerHave, bytes.length - at)
    bytes.copy(this.#header, this.#headerHave, at, at + count)
    this.#headerGrew(count)
    return at + count
  }

  #headerGrew(bytes: number): void {
    this.#headerHave += bytes
    if (this.#headerHave < headerBytes) return
    this.#headerHave = 0
    this.#beginBody(this.#lengthIn(this.#header, 0))
  }

  #beginBody(length: number): void {
    this.#body = length === 0 ? noBytes : takeLarge(length)
    this.#bodyHave = 0
    this.#lastWasLong = length >= readIntoBytesMin
    if (length === 0) this.#finishBody(noBytes)
  }

  #goOnWithBody(body: Buffer, bytes: Buffer, at: number): number {
    const count = Math.min(body.length - this.#bodyHave, bytes.length - at)
    bytes.copy(body, this.#bodyHave, at, at + count)
    this.#bodyGrew(body, count)
    return at + count
  }

  #bodyGrew(body: Buffer, bytes: number): void {
    this.#bodyHave += bytes
    if (this.#bodyHave === body.length) this.#finishBody(body)
  }

  #finishBody(body: Buffer): void {
    this.#body = undefined
    const isPaged = body.length >= pagedBytesMin && this.#header[7] === frameTypes.request
    const past = isPaged ? body.length - (body.length % pageBytes) : 0
    const before = crc32c(this.#header.subarray(4))
    const through = isPaged ? crc32c(body.subarray(0, past), before) : before
    if (crc32c(body.subarray(past), through) !== this.#header.readUInt32LE(0)) throw badChecksum()
    const ofPages = isPaged ? crc32cOfLastPages(past / pageBytes, through, before) : undefined
    this.#deliver(this.#header, 0, body, ofPages)
  }

  #deliver(header: Buffer, at: number, body: Buffer, checksumOfPages?: number): void {
    this.#onFrame(
      header[at + 7] as FrameType,
      header.readUInt32LE(at + 8),
      header.readUInt16LE(at + 16),
      body,
      checksumOfPages,
    )
  }

  /** Checks all of a header but its crc, which needs the body, and returns the body's length. */
  #lengthIn(header: Buffer, at: number): number {
    if (header.readUInt16LE(at + 4) !== magic)
      throw new MalformedStream(
        header[at] === tlsHandshake && header[at + 1] === tlsMajor
          ? 'it speaks TLS, which is not spoken here: give this node certificates for its peers, or take them from the other'
          : 'it is not the peer protocol of NDFS',
      )
    const version = header[at + 6]
    if (version !== layoutVersion)
      throw new MalformedStream(`frames are of version ${version}, this node knows ${layoutVersion}`)
    const type = header[at + 7]
    const lane = header[at + 18]
    if (type < 1 || type > typeMax) throw new MalformedStream(`there is no frame of type ${type}`)
    if (header[at + 19] !== 0) throw new MalformedStream('a frame has flags that are not known here')
    if (lane !== laneNumber.terminal && lane !== laneNumber.forward)
      throw new MalformedStream(`there is no lane ${lane}`)
    this.lane ??= laneOf(lane)
    if (lane !== laneNumber[this.lane]) throw new MalformedStream('a frame is of another lane')
    const length = header.readUInt32LE(at + 12)
    if (length > this.lengthMax)
      throw new MalformedStream(`a body of ${length} bytes; at most ${this.lengthMax} are taken`)
    return length
  }
}

const badChecksum = (): MalformedStream => new MalformedStream('the checksum of a frame does not match')
