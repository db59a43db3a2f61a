/**
 * What an NBD server sends after negotiation, as its client reads it; the pictures stand in nbd-protocol.ts. Besides
 * those there are chunks that other servers than ours send:
 *
 *   OFFSET_HOLE     offset: 8 bytes, length of the zeros: 4 bytes
 *   ERROR_OFFSET    as ERROR, then offset: 8 bytes
 *
 * Data goes straight to where the reader of it wants it, in whatever pieces it arrives.
 */
import { allocationState } from '../stargate/front-end-adapter/nbd/nbd-protocol.ts'
import type { Run } from '../stargate/io/io.ts'

const simpleReplyMagic = 0x67446698
const structuredReplyMagic = 0x668e33ef
const magicBytes = 4
const simpleBytes = 16
const structuredBytes = 20
const doneFlag = 1
const chunk = {
  none: 0,
  offsetData: 1,
  offsetHole: 2,
  blockStatus: 5,
  error: 0x8001,
  errorOffset: 0x8002,
} as const
const errorBit = 0x8000
/** Of what is not data: runs of a block status, the text of an error. A server that sends more is none of ours. */
const smallBytesMax = 256 * 1024

/** A request whose reply is awaited. */
export interface Awaited {
  readonly offset: number
  readonly length: number
  /** Where a read's bytes go. */
  readonly target?: Buffer
  /** Where a block status' runs go. */
  readonly runs?: Run[]
}

export interface ReplyEvents {
  /** `undefined`: no such request. */
  awaited(cookie: number): Awaited | undefined
  /** The request is answered: `error` is 0, or the protocol's number. */
  answered(cookie: number, error: number, message: string): void
}

/** The stream makes no sense: nothing behind this place can be trusted. */
export class SenselessReply extends Error {
  override name = 'SenselessReply'
}

type Part =
  | { readonly kind: 'magic' }
  | { readonly kind: 'simple' }
  | { readonly kind: 'structured' }
  | { readonly kind: 'data offset'; readonly length: number }
  | { readonly kind: 'small'; readonly type: number }

const magic: Part = { kind: 'magic' }

export class NbdReplies {
  readonly #events: ReplyEvents
  #part: Part = magic
  /** What was gathered of the part, and how much of it is here. */
  #bytes = Buffer.allocUnsafe(64)
  #have = 0
  #wanted = magicBytes
  /** Data that is still to come, and where it goes. */
  #dataLeft = 0
  #target: Buffer | undefined
  #targetAt = 0
  #cookie = 0
  #done = false
  /** The first error among a reply's chunks. */
  #error = 0
  #message = ''

  constructor(events: ReplyEvents) {
    this.#events = events
  }

  /** Throws SenselessReply. */
  receive(piece: Buffer): void {
    let at = 0
    while (at < piece.length) {
      if (this.#dataLeft > 0) {
        const count = Math.min(this.#dataLeft, piece.length - at)
        piece.copy(this.#target as Buffer, this.#targetAt, at, at + count)
        at += count
        this.#targetAt += count
        this.#dataLeft -= count
        if (this.#dataLeft === 0) this.#endOfChunk()
        continue
      }
      const count = Math.min(this.#wanted - this.#have, piece.length - at)
      piece.copy(this.#bytes, this.#have, at, at + count)
      at += count
      this.#have += count
      if (this.#have === this.#wanted) this.#read(this.#part)
    }
  }

  #read(part: Part): void {
    const bytes = this.#bytes
    switch (part.kind) {
      case 'magic': {
        const found = bytes.readUInt32BE(0)
        if (found === simpleReplyMagic) return this.#gatherOn({ kind: 'simple' }, simpleBytes)
        if (found === structuredReplyMagic) return this.#gatherOn({ kind: 'structured' }, structuredBytes)
        throw new SenselessReply('a reply begins with the wrong bytes')
      }
      case 'simple':
        return this.#simple(bytes.readUInt32BE(4), cookieAt(bytes, 8))
      case 'structured':
        this.#done = (bytes.readUInt16BE(4) & doneFlag) !== 0
        this.#cookie = cookieAt(bytes, 8)
        return this.#chunk(bytes.readUInt16BE(6), bytes.readUInt32BE(16))
      case 'data offset':
        return this.#dataInto(this.#placeOf(Number(bytes.readBigUInt64BE(0)), part.length), part.length)
      case 'small':
        this.#small(part.type, bytes.subarray(0, this.#have))
        return this.#endOfChunk()
      default:
        return part satisfies never
    }
  }

  #simple(error: number, cookie: number): void {
    this.#cookie = cookie
    this.#done = true
    this.#error = error
    const { target } = this.#request()
    if (error === 0 && target) this.#dataInto({ target, at: 0 }, target.length)
    else this.#endOfChunk()
  }

  #chunk(type: number, length: number): void {
    if (type === chunk.offsetData) {
      if (length <= 8) throw new SenselessReply('a chunk of data without data')
      return this.#gather({ kind: 'data offset', length: length - 8 }, 8)
    }
    if (type === chunk.none || length === 0) return this.#endOfChunk()
    if (length > smallBytesMax) throw new SenselessReply(`a chunk of ${length} bytes`)
    this.#gather({ kind: 'small', type }, length)
  }

  #small(type: number, bytes: Buffer): void {
    if ((type & errorBit) !== 0) {
      if (bytes.length < 6) throw new SenselessReply('an error without a number')
      const message = bytes.toString('utf8', 6, 6 + bytes.readUInt16BE(4))
      if (this.#error === 0) [this.#error, this.#message] = [bytes.readUInt32BE(0), message]
    } else if (type === chunk.offsetHole) {
      if (bytes.length !== 12) throw new SenselessReply('a hole of the wrong form')
      const length = bytes.readUInt32BE(8)
      const { target, at } = this.#placeOf(Number(bytes.readBigUInt64BE(0)), length)
      target.fill(0, at, at + length)
    } else if (type === chunk.blockStatus) {
      const { runs } = this.#request()
      for (let at = 4; at + 8 <= bytes.length; at += 8)
        runs?.push({
          length: bytes.readUInt32BE(at),
          kind: (bytes.readUInt32BE(at + 4) & allocationState.holeAndZero) === 0 ? 'data' : 'zero',
        })
    } else throw new SenselessReply(`a chunk of the unknown type ${type}`)
  }

  #dataInto({ target, at }: { target: Buffer; at: number }, length: number): void {
    this.#target = target
    this.#targetAt = at
    this.#dataLeft = length
  }

  #placeOf(offset: number, length: number): { target: Buffer; at: number } {
    const request = this.#request()
    const at = offset - request.offset
    if (!request.target || at < 0 || at + length > request.length)
      throw new SenselessReply('data that was not asked for')
    return { target: request.target, at }
  }

  #request(): Awaited {
    const request = this.#events.awaited(this.#cookie)
    if (!request) throw new SenselessReply('an answer to nothing')
    return request
  }

  #endOfChunk(): void {
    this.#target = undefined
    this.#gather(magic, magicBytes)
    if (!this.#done) return
    const [error, message] = [this.#error, this.#message]
    this.#error = 0
    this.#message = ''
    this.#events.answered(this.#cookie, error, message)
  }

  #gather(part: Part, wanted: number): void {
    this.#have = 0
    this.#gatherOn(part, wanted)
  }

  /** What is here already belongs to the part. */
  #gatherOn(part: Part, wanted: number): void {
    this.#part = part
    this.#wanted = wanted
    if (this.#bytes.length >= wanted) return
    const larger = Buffer.allocUnsafe(wanted)
    this.#bytes.copy(larger, 0, 0, this.#have)
    this.#bytes = larger
  }
}

/** Our cookies count from 1 and stay below 2^53. */
const cookieAt = (bytes: Buffer, at: number): number =>
  bytes.readUInt32BE(at) * 2 ** 32 + bytes.readUInt32BE(at + 4)
