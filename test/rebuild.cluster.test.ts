/** Nothing but the nodes' disks is left, and `ndfs rebuild-metadata` brings everything back (M11). */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { ClusterStatus } from '../src/management/management.ts'
import { type Cluster, withCluster } from './support/cluster.ts'
import { NbdClient } from './support/nbd-client.ts'
import { NfsClient } from './support/nfs-client.ts'
import { figure } from './support/run.ts'

const MiB = 1024 * 1024
const KiB = 1024
/** Above what a vDisk keeps undrained. */
const fillBytes = 34 * MiB
const fillPiece = 1 * MiB

/** A vDisk, and what it must read as. */
class Guest {
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

const nodes = ['n1', 'n2', 'n3']

async function loseStore(cluster: Cluster): Promise<void> {
  await cluster.killAll()
  rmSync(join(cluster.dir, 'store'), { recursive: true })
}

test(
  'the store is deleted, and the metadata is rebuilt from the disks: every byte of vDisks and files',
  { timeout: 240_000 },
  () =>
    withCluster({}, async (cluster) => {
      const make = async (name: string, mib: number): Promise<Guest> =>
        new Guest(cluster, await cluster.createVDisk(`${mib}MiB`, name), mib * MiB)
      const drained = await make('drained', 48)
      await drained.change(150)
      await drained.fill()
      await drained.change(100)
      const gone = await make('gone', 16)
      await gone.change(20)
      await cluster.ndfs('vdisk', 'delete', gone.name, '--force')

      const nfs = await NfsClient.connect(cluster, 'n1')
      const root = await nfs.mount('/vms')
      assert.ok(typeof root !== 'string')
      const files = new Map<string, Buffer>()
      const store = async (name: string, length: number): Promise<void> => {
        const bytes = randomBytes(length)
        const file = await nfs.create(root, name)
        for (let at = 0; at < length; at += 256 * KiB)
          assert.equal(await nfs.write(file, at, bytes.subarray(at, at + 256 * KiB)), 'OK')
        files.set(name, bytes)
      }
      for (let i = 0; i < 5; i++) await store(`small-${i}`, 1 + i * 30_000)
      await store('large', 3 * MiB)

      const undrained = await make('undrained', 16)
      const backup = await cluster.json<{ places: string[] }>('metadata', 'backup')
      assert.equal(backup.places.length, 3)
      assert.ok((await cluster.json<ClusterStatus>('status')).metadataBackupAt! > 0)

      const late = await make('late', 40)
      await late.fill()
      await late.change(50)
      await drained.fill()
      await drained.change(80)
      await cluster.ndfs('vdisk', 'resize', drained.name, '--size', '32MiB', '--force')
      drained.bytes = drained.bytes.subarray(0, 32 * MiB)
      await cluster.ndfs('vdisk', 'resize', drained.name, '--size', '40MiB')
      drained.bytes = Buffer.concat([drained.bytes, Buffer.alloc(8 * MiB)])
      await undrained.change(40)
      await drained.change(40)

      await loseStore(cluster)
      const began = performance.now()
      const said = await cluster.ndfs('rebuild-metadata')
      figure(`the metadata rebuilt in ${((performance.now() - began) / 1000).toFixed(1)} s`)
      assert.match(said, /those of the backup of 20.*, 0 minutes ago/)
      assert.match(said, /vms\/late is in no backup/)
      assert.doesNotMatch(said, /vms\/gone/)
      await assert.rejects(cluster.ndfs('rebuild-metadata'), /store\.db is there, and not empty/)
      await cluster.up()
      for (const guest of [drained, late, undrained]) await guest.verify()
      assert.notEqual((await cluster.tryNdfs('vdisk', 'show', gone.name)).code, 0)
      const again = await NfsClient.connect(cluster, 'n2')
      const rootAgain = await again.mount('/vms')
      assert.ok(typeof rootAgain !== 'string')
      for (const [name, bytes] of files)
        assert.ok((await again.readAll(await again.lookup(rootAgain, name))).equals(bytes), name)
      const check = await cluster.tryNdfs('check')
      assert.equal(check.code, 0, check.stdout)

      // And without a backup: names are those that extent groups bear.
      await drained.change(30)
      await loseStore(cluster)
      for (const id of nodes)
        for (const disk of ['flash-0', 'hdd-0'])
          rmSync(join(cluster.dir, 'nodes', id, 'disks', `${id}-${disk}`, 'metadata'), {
            recursive: true,
            force: true,
          })
      assert.match(await cluster.ndfs('rebuild-metadata'), /No backup was found/)
      await cluster.up()
      for (const guest of [drained, late]) await guest.verify()
    }),
)
