/** Guests and files whose bytes a test knows. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import type { Cluster } from './cluster.ts'
import { NbdClient } from './nbd-client.ts'
import { NfsClient } from './nfs-client.ts'

const MiB = 1024 * 1024
const KiB = 1024
/** Above what a vDisk keeps undrained. */
const fillBytes = 34 * MiB
const fillPiece = 1 * MiB

/** A vDisk, and what it must read as. */
export class Guest {
  readonly name: string
  bytes: Buffer
  readonly #cluster: Cluster

  constructor(cluster: Cluster, name: string, sizeBytes: number) {
    this.#cluster = cluster
    this.name = name
    this.bytes = Buffer.alloc(sizeBytes)
  }

  async with(work: (client: NbdClient) => Promise<void>): Promise<void> {
    const client = await NbdClient.open(this.#cluster.node('n1').nbd.address, this.name)
    await work(client).finally(() => client.close())
  }

  /** Writes of all sizes at all places; one in four takes bytes away again. */
  change(count: number): Promise<void> {
    return this.with(async (client) => {
      for (let i = 0; i < count; i++) {
        const length = 512 * (1 + Math.floor(Math.random() * (Math.random() < 0.2 ? 1024 : 16)))
        const at = 512 * Math.floor((Math.random() * (this.bytes.length - length)) / 512)
        if (i % 4 === 3) {
          await client.trim(at, length)
          this.bytes.fill(0, at, at + length)
        } else {
          const data = randomBytes(length)
          await client.write(at, data)
          data.copy(this.bytes, at)
        }
      }
    })
  }

  /** So much, in pieces in no order, that a drain begins at once. */
  fill(): Promise<void> {
    return this.with(async (client) => {
      const pieces = Array.from({ length: fillBytes / fillPiece }, (_, i) => i).sort(
        () => Math.random() - 0.5,
      )
      for (const piece of pieces) {
        const data = randomBytes(fillPiece)
        await client.write(piece * fillPiece, data)
        data.copy(this.bytes, piece * fillPiece)
      }
    })
  }

  async verify(): Promise<void> {
    await this.with(async (client) => {
      for (let at = 0; at < this.bytes.length; at += MiB) {
        const expected = this.bytes.subarray(at, at + MiB)
        const found = await client.read(at, expected.length)
        const wrong = expected.findIndex((byte, i) => byte !== found[i])
        assert.equal(wrong, -1, `${this.name}: byte ${at + wrong} is wrong`)
      }
    })
    // Whoever reads has it taken by a node; before that its size is in its log alone.
    assert.equal((await this.#cluster.vdisk(this.name)).sizeBytes, this.bytes.length, this.name)
  }
}

/** Files of the container `vms`, and what they must read as. */
export class KnownFiles {
  readonly #cluster: Cluster
  readonly #files = new Map<string, Buffer>()

  constructor(cluster: Cluster) {
    this.#cluster = cluster
  }

  async store(lengths: ReadonlyMap<string, number>): Promise<void> {
    await this.#with(async (nfs, root) => {
      for (const [name, length] of lengths) {
        const bytes = randomBytes(length)
        const file = await nfs.create(root, name)
        for (let at = 0; at < length; at += 256 * KiB)
          assert.equal(await nfs.write(file, at, bytes.subarray(at, at + 256 * KiB)), 'OK')
        this.#files.set(name, bytes)
      }
    })
  }

  async remove(name: string): Promise<void> {
    await this.#with((nfs, root) => nfs.remove(root, name))
    this.#files.delete(name)
  }

  async verify(): Promise<void> {
    await this.#with(async (nfs, root) => {
      for (const [name, bytes] of this.#files)
        assert.ok((await nfs.readAll(await nfs.lookup(root, name))).equals(bytes), name)
    })
  }

  async #with(work: (nfs: NfsClient, root: Buffer) => Promise<unknown>): Promise<void> {
    const nfs = await NfsClient.connect(this.#cluster, 'n2')
    const root = await nfs.mount('/vms')
    assert.ok(typeof root !== 'string')
    await work(nfs, root)
    nfs.close()
  }
}
