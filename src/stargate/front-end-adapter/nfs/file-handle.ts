/**
 * File handles: which inode of which container, for as long as there is one, whichever node is asked, and after every restart. Nobody can
 * make one up: a client has only those that it was given.
 *
 *   0         1              8              15         16        32
 *   ┌─────────┬──────────────┬──────────────┬──────────┬─────────┐
 *   │ version │ root's inode │ inode        │ reserved │ MAC     │   numbers big-endian
 *   └─────────┴──────────────┴──────────────┴──────────┴─────────┘
 *
 * The root's inode stands for the container: one that is deleted and made again under the same name has another. The MAC is the beginning
 * of SHA-256 over a key and what stands before; as its input always has the same length, and only half of it is told, nobody can go on
 * from one to another.
 */
import { hash, timingSafeEqual } from 'node:crypto'
import { assert } from '../../../base/assert.ts'
import type { InodeId } from '../../namespace/namespace.ts'

export const fileHandleBytes = 32
const handleVersion = 1
const idBytes = 7
const macAt = 16
/** Handles seen to be right lately: a client shows the same few with each of its calls. */
const knownMax = 16 * 1024

export interface FileOfHandle {
  /** The container, by its root. */
  readonly root: InodeId
  readonly inode: InodeId
}

export class FileHandles {
  /** The key, and room for what stands before the MAC. */
  readonly #told: Buffer
  readonly #keyBytes: number
  readonly #known = new Map<string, FileOfHandle>()

  /** The key is the same on all nodes, and theirs alone; at least 32 bytes. */
  constructor(key: Buffer) {
    assert(key.length >= 32, 'a short key for file handles')
    this.#told = Buffer.concat([key, Buffer.alloc(macAt)])
    this.#keyBytes = key.length
  }

  encode(root: InodeId, inode: InodeId): Buffer {
    const handle = Buffer.allocUnsafe(fileHandleBytes)
    handle.fill(0, 0, macAt)
    handle[0] = handleVersion
    writeId(handle, root, 1)
    writeId(handle, inode, 1 + idBytes)
    handle.write(this.#mac(handle), macAt, 'hex')
    return handle
  }

  /** `undefined` where it is none of ours. */
  decode(handle: Buffer): FileOfHandle | undefined {
    if (handle.length !== fileHandleBytes) return undefined
    const text = handle.toString('latin1')
    const known = this.#known.get(text)
    if (known !== undefined) return known
    if (
      handle[0] !== handleVersion ||
      !timingSafeEqual(Buffer.from(this.#mac(handle), 'hex'), handle.subarray(macAt))
    )
      return undefined
    const file = { root: readId(handle, 1), inode: readId(handle, 1 + idBytes) }
    if (this.#known.size === knownMax) this.#known.clear()
    this.#known.set(text, file)
    return file
  }

  /** In hex: a listing has a handle for each entry, and a buffer of its own costs four times the digest. */
  #mac(handle: Buffer): string {
    handle.copy(this.#told, this.#keyBytes, 0, macAt)
    return hash('sha256', this.#told, 'hex').slice(0, 2 * (fileHandleBytes - macAt))
  }
}

function writeId(handle: Buffer, id: InodeId, at: number): void {
  assert(Number.isSafeInteger(id) && id > 0, () => `no inode has the id ${id}`)
  handle.writeUIntBE(Math.floor(id / 2 ** 32), at, 3)
  handle.writeUInt32BE(id % 2 ** 32, at + 3)
}

const readId = (handle: Buffer, at: number): InodeId =>
  (handle.readUIntBE(at, 3) * 2 ** 32 + handle.readUInt32BE(at + 3)) as InodeId
