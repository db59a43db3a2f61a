/** An NBD client for tests: it sends what it is told, byte for byte, and reads what comes, piece by piece. */
import { assert } from '../../../base/assert.ts'
import type { Socket } from '../../../platform/platform.ts'
import {
  encodeOption,
  encodeRequestHeader,
  numbers,
  option,
  optionReply,
  stringBytesMax,
} from './nbd-protocol.ts'

export interface OptionAnswer {
  readonly type: number
  readonly data: Buffer
}

export interface Reply {
  readonly cookie: bigint
  readonly error: number
  /** Of a structured reply. */
  readonly type?: number
  readonly flags?: number
  readonly data: Buffer
}

export class RawClient {
  /** The other side has closed. */
  ended = false
  readonly #socket: Socket
  readonly #pieces: Buffer[] = []
  #waiting = 0
  #wake: (() => void) | undefined

  constructor(socket: Socket) {
    this.#socket = socket
    socket.onData = (bytes) => {
      this.#pieces.push(bytes)
      this.#waiting += bytes.length
      this.#wake?.()
    }
    socket.onClose = () => {
      this.ended = true
      this.#wake?.()
    }
  }

  send(...buffers: readonly Uint8Array[]): void {
    this.#socket.write(buffers)
  }

  /** The next `count` bytes; fails when the other side closes before. */
  async take(count: number): Promise<Buffer> {
    while (this.#waiting < count) {
      assert(!this.ended, () => `the server closed: ${count} bytes were awaited`)
      await new Promise<void>((resolve) => (this.#wake = resolve))
    }
    this.#waiting -= count
    const taken: Buffer[] = []
    for (let left = count; left > 0;) {
      const piece = this.#pieces[0]
      taken.push(piece.subarray(0, left))
      if (piece.length > left) this.#pieces[0] = piece.subarray(left)
      else this.#pieces.shift()
      left -= Math.min(left, piece.length)
    }
    return taken.length === 1 ? taken[0] : Buffer.concat(taken)
  }

  /** Bytes that came and weren't taken. */
  get waiting(): number {
    return this.#waiting
  }

  async untilEnded(): Promise<void> {
    while (!this.ended) await new Promise<void>((resolve) => (this.#wake = resolve))
  }

  pause(): void {
    this.#socket.pause()
  }

  resume(): void {
    this.#socket.resume()
  }

  destroy(): void {
    this.#socket.destroy()
  }

  async greet(flags = 3): Promise<void> {
    await this.take(18)
    this.send(numbers([4, flags]))
  }

  /** All answers to one option, the last of which is an acknowledgement or an error. */
  async ask(code: number, data: Buffer = Buffer.alloc(0)): Promise<OptionAnswer[]> {
    this.send(encodeOption(code, data))
    const answers: OptionAnswer[] = []
    for (;;) {
      const header = await this.take(20)
      assert(header.readBigUInt64BE(0) === 0x3e889045565a9n, 'an option reply begins with its magic')
      assert(header.readUInt32BE(8) === code, 'an option reply names the option')
      const type = header.readUInt32BE(12)
      const length = header.readUInt32BE(16)
      assert(
        type <= optionReply.metaContext || length <= stringBytesMax,
        'an error message has a bounded length',
      )
      answers.push({ type, data: Buffer.from(await this.take(length)) })
      if (type === optionReply.ack || type > optionReply.metaContext) return answers
    }
  }

  /** Greets and enters an export. */
  async enter(name: string, wanted: { structured?: boolean; context?: boolean } = {}): Promise<void> {
    await this.greet()
    if (wanted.structured || wanted.context) await this.ask(option.structuredReply)
    const named = Buffer.concat([numbers([4, Buffer.byteLength(name)]), Buffer.from(name)])
    if (wanted.context) {
      const query = Buffer.from('base:allocation')
      await this.ask(option.setMetaContext, Buffer.concat([named, numbers([4, 1], [4, query.length]), query]))
    }
    const answers = await this.ask(option.go, Buffer.concat([named, numbers([2, 0])]))
    assert(answers.at(-1)?.type === optionReply.ack, () => `no way in: ${answers.at(-1)?.data.toString()}`)
  }

  request(
    command: number,
    cookie: bigint,
    offset = 0,
    length = 0,
    more: { flags?: number; payload?: Buffer } = {},
  ): void {
    const header = encodeRequestHeader({ command, cookie, offset: BigInt(offset), length, flags: more.flags })
    this.send(header, more.payload ?? Buffer.alloc(0))
  }

  /** The next reply of either kind; `readBytes`: what a simple reply without an error carries. */
  async reply(readBytes = 0): Promise<Reply> {
    const start = await this.take(16)
    const cookie = start.readBigUInt64BE(8)
    if (start.readUInt32BE(0) === 0x67446698) {
      const error = start.readUInt32BE(4)
      return { cookie, error, data: Buffer.from(await this.take(error === 0 ? readBytes : 0)) }
    }
    assert(start.readUInt32BE(0) === 0x668e33ef, 'a reply begins with one of two magics')
    const flags = start.readUInt16BE(4)
    const type = start.readUInt16BE(6)
    const length = (await this.take(4)).readUInt32BE(0)
    const data = Buffer.from(await this.take(length))
    return { cookie, error: type & 0x8000 ? data.readUInt32BE(0) : 0, type, flags, data }
  }
}
