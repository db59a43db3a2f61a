/**
 * A small NBD client that knows what was acknowledged: it speaks the simplest of the protocol (simple replies), sends many
 * requests at once, and tells each answer from a lost connection. Written from the protocol's text alone, so that it
 * doesn't share the server's mistakes.
 */
import { connect, type Socket } from 'node:net'

/** An answer of the protocol: the server refused, the connection lives on. */
export class NbdError extends Error {
  readonly errno: number
  constructor(errno: number, what: string) {
    super(`${what}: the server answered error ${errno}`)
    this.errno = errno
  }
}
/** The connection is gone: whether the request was done nobody knows. */
export class ConnectionLost extends Error {}

export const errno = { EIO: 5, EINVAL: 22, ENOSPC: 28 } as const

interface UnderWay {
  readonly what: string
  readonly readBytes: number
  readonly resolve: (data: Buffer) => void
  readonly reject: (error: Error) => void
}

/** `host:port`, or the path of a Unix socket. */
export const openSocket = (address: string): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const [, host, port] = /^([^/]+):(\d+)$/.exec(address) ?? []
    const socket = port === undefined ? connect(address) : connect(Number(port), host)
    socket.once('connect', () => resolve(socket))
    socket.once('error', reject)
  })

export class NbdClient {
  sizeBytes = 0
  readonly #socket: Socket
  readonly #underWay = new Map<bigint, UnderWay>()
  #received: Buffer = Buffer.alloc(0)
  #wake: () => void = () => undefined
  #lost: Error | undefined
  #cookie = 0n

  static async open(address: string, name: string): Promise<NbdClient> {
    const client = new NbdClient(await openSocket(address))
    await client.#enter(name)
    void client.#readReplies()
    return client
  }

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.on('data', (piece) => {
      this.#received = this.#received.length === 0 ? piece : Buffer.concat([this.#received, piece])
      this.#wake()
    })
    socket.on('error', (error) => this.#lose(new ConnectionLost(error.message)))
    socket.on('close', () => this.#lose(new ConnectionLost('the server closed the connection')))
  }

  read(offset: number, length: number): Promise<Buffer> {
    return this.#request(0, offset, length, length)
  }
  async write(offset: number, payload: Buffer): Promise<void> {
    await this.#request(1, offset, payload.length, 0, payload)
  }
  async flush(): Promise<void> {
    await this.#request(3, 0, 0, 0)
  }
  async trim(offset: number, length: number): Promise<void> {
    await this.#request(4, offset, length, 0)
  }

  close(): void {
    if (!this.#lost) this.#socket.write(header(2, 0n, 0, 0))
    this.#socket.end()
    this.#socket.destroySoon()
  }

  async #enter(name: string): Promise<void> {
    const greeting = await this.#take(18)
    if (greeting.toString('latin1', 0, 16) !== 'NBDMAGICIHAVEOPT') throw new Error('no NBD server')
    const data = Buffer.alloc(4 + Buffer.byteLength(name) + 2)
    data.writeUInt32BE(Buffer.byteLength(name), 0)
    data.write(name, 4)
    const option = Buffer.alloc(4 + 16)
    option.writeUInt32BE(3, 0) // fixed newstyle, no zeroes
    option.write('IHAVEOPT', 4, 'latin1')
    option.writeUInt32BE(7, 12) // GO
    option.writeUInt32BE(data.length, 16)
    this.#socket.write(Buffer.concat([option, data]))
    for (;;) {
      const reply = await this.#take(20)
      const [type, length] = [reply.readUInt32BE(12), reply.readUInt32BE(16)]
      const body = await this.#take(length)
      if (type === 1) return
      if (type >= 0x8000_0000) throw new Error(`the server refuses ${name}: ${body.toString()}`)
      if (body.readUInt16BE(0) === 0) this.sizeBytes = Number(body.readBigUInt64BE(2))
    }
  }

  #request(
    type: number,
    offset: number,
    length: number,
    readBytes: number,
    payload?: Buffer,
  ): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      if (this.#lost) return reject(this.#lost)
      const cookie = ++this.#cookie
      const what = `${['read', 'write', 'disconnect', 'flush', 'trim'][type]} of ${length} at ${offset}`
      this.#underWay.set(cookie, { what, readBytes, resolve, reject })
      this.#socket.write(header(type, cookie, offset, length))
      if (payload) this.#socket.write(payload)
    })
  }

  async #readReplies(): Promise<void> {
    try {
      for (;;) {
        const reply = await this.#take(16)
        const cookie = reply.readBigUInt64BE(8)
        const request = this.#underWay.get(cookie)
        if (reply.readUInt32BE(0) !== 0x6744_6698 || request === undefined)
          throw new Error(`what the server sent is no reply: ${reply.toString('hex')}`)
        const error = reply.readUInt32BE(4)
        const data = await this.#take(error === 0 ? request.readBytes : 0)
        this.#underWay.delete(cookie)
        if (error === 0) request.resolve(data)
        else request.reject(new NbdError(error, request.what))
      }
    } catch (error) {
      this.#lose(error instanceof Error ? error : new Error(String(error)))
      this.#socket.destroy()
    }
  }

  async #take(count: number): Promise<Buffer> {
    while (this.#received.length < count) {
      if (this.#lost) throw this.#lost
      await new Promise<void>((resolve) => (this.#wake = resolve))
    }
    const taken = this.#received.subarray(0, count)
    this.#received = this.#received.subarray(count)
    return taken
  }

  #lose(error: Error): void {
    if (this.#lost) return
    this.#lost = error
    this.#wake()
    for (const { reject } of this.#underWay.values()) reject(error)
    this.#underWay.clear()
  }
}

export function header(type: number, cookie: bigint, offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(28)
  bytes.writeUInt32BE(0x2560_9513, 0)
  bytes.writeUInt16BE(type, 6)
  bytes.writeBigUInt64BE(cookie, 8)
  bytes.writeBigUInt64BE(BigInt(offset), 16)
  bytes.writeUInt32BE(length, 24)
  return bytes
}
