/**
 * A forgetful disk as a file of this machine: the system's loop device makes a block device of it, and any file system of
 * the kernel then lies on it. Served over /dev/fuse from this process.
 *
 *   on      → holding   the power fails: what is asked is no longer answered, and what is written may still arrive  [hold]
 *   holding → off       all that waits, and all that comes, is answered with EIO, so that nobody hangs              [off]
 *   any     → ended     it was unmounted                                                                            [#serve]
 *
 * `mount` passes the open /dev/fuse on to mount(8) as its file descriptor 3: no helper of its own is needed for that.
 */
import { spawn } from 'node:child_process'
import { closeSync, openSync, read, writeSync } from 'node:fs'
import type { ForgetfulDisk } from './forgetful-disk.ts'
import {
  decodeRead,
  decodeRequest,
  decodeWrite,
  encodeAnswer,
  encodeAttributes,
  encodeInit,
  encodeOpened,
  encodeStatfs,
  encodeWritten,
  errno,
  opcodes,
  requestBytesMax,
  wantsAnswer,
  type Request,
} from './fuse-protocol.ts'

export class FuseFile {
  readonly #disk: ForgetfulDisk
  readonly #fd: number
  readonly #buffer = Buffer.alloc(requestBytesMax)
  #state: 'on' | 'holding' | 'off' = 'on'
  #held: bigint[] = []
  readonly #ended = Promise.withResolvers<void>()
  /** Called when a write lies in the disk's cache, and nobody was told so yet: where power fails at the worst moment. */
  onWrite: () => void = () => undefined

  /** `at`: an empty file. Resolves when it is mounted there. */
  static async mount(disk: ForgetfulDisk, at: string): Promise<FuseFile> {
    const file = new FuseFile(disk, openSync('/dev/fuse', 'r+'))
    const words = ['-i', '-t', 'fuse', '-o', 'fd=3,rootmode=100000,user_id=0,group_id=0', 'forgetful', at]
    const mount = spawn('mount', words, { stdio: ['ignore', 'ignore', 'pipe', file.#fd] })
    let complaints = ''
    mount.stderr?.on('data', (bytes: Buffer) => (complaints += bytes.toString()))
    const code = await new Promise<number | null>((resolve, reject) => {
      mount.once('error', reject)
      mount.once('close', resolve)
    })
    if (code !== 0) throw new Error(`Cannot mount a FUSE file at ${at}: ${complaints}`)
    file.#serve()
    return file
  }

  private constructor(disk: ForgetfulDisk, fd: number) {
    this.#disk = disk
    this.#fd = fd
  }

  /** Resolves when it was unmounted, and nobody can ask any more. */
  get ended(): Promise<void> {
    return this.#ended.promise
  }

  hold(): void {
    this.#state = 'holding'
  }

  off(): void {
    this.#state = 'off'
    for (const unique of this.#held.splice(0)) this.#send(encodeAnswer(unique, errno.EIO))
  }

  /** One request at a time: the kernel keeps the others. */
  #serve(): void {
    read(this.#fd, this.#buffer, 0, this.#buffer.length, null, (error, count) => {
      if (error === null) this.#take(decodeRequest(this.#buffer.subarray(0, count)))
      else if (error.code === 'ENODEV') {
        closeSync(this.#fd)
        return this.#ended.resolve()
      } else if (error.code !== 'ENOENT' && error.code !== 'EINTR' && error.code !== 'EAGAIN') throw error
      this.#serve()
    })
  }

  #take(request: Request): void {
    const { opcode, unique, body } = request
    if (!wantsAnswer(opcode)) return
    if (this.#state === 'off') return this.#send(encodeAnswer(unique, errno.EIO))
    // What is on its way when the power fails may arrive or not.
    if (opcode === opcodes.write) this.#write(body)
    if (this.#isOn) this.#send(this.#answer(request))
    else this.#held.push(unique)
  }

  get #isOn(): boolean {
    return this.#state === 'on'
  }

  #write(body: Buffer): void {
    const { bytes, position } = decodeWrite(body)
    this.#disk.write(bytes, position)
    this.onWrite()
  }

  #answer({ opcode, unique, body }: Request): Buffer {
    const { sizeBytes } = this.#disk
    switch (opcode) {
      case opcodes.init:
        return encodeAnswer(unique, 0, encodeInit())
      case opcodes.getattr:
      case opcodes.setattr: // times only: nobody asks this disk for them
        return encodeAnswer(unique, 0, encodeAttributes(sizeBytes))
      case opcodes.open:
        return encodeAnswer(unique, 0, encodeOpened())
      case opcodes.statfs:
        return encodeAnswer(unique, 0, encodeStatfs(sizeBytes))
      case opcodes.read: {
        const { position, length } = decodeRead(body)
        const bytes = Buffer.alloc(Math.max(0, Math.min(length, sizeBytes - position)))
        this.#disk.read(bytes, position)
        return encodeAnswer(unique, 0, bytes)
      }
      case opcodes.write:
        return encodeAnswer(unique, 0, encodeWritten(decodeWrite(body).bytes.length))
      case opcodes.fsync:
        this.#disk.flush()
        return encodeAnswer(unique, 0)
      case opcodes.flush:
      case opcodes.release:
      case opcodes.access:
      case opcodes.destroy:
        return encodeAnswer(unique, 0)
      default:
        return encodeAnswer(unique, errno.ENOSYS)
    }
  }

  #send(answer: Buffer): void {
    try {
      writeSync(this.#fd, answer)
    } catch (error) {
      // Whoever asked was killed meanwhile, or it is being unmounted.
      if (!['ENOENT', 'ENODEV'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error
    }
  }
}
