/**
 * File systems of the kernel, each on a disk that forgets what was not flushed when its power is cut.
 *
 *   a folder ── ext4, xfs ── /dev/loopN ── a file ── FUSE ── disk-server.ts ── an image
 *
 * What a program synced reaches the disk's flush by the file system's own ways, and what it didn't, names of files
 * too, lies in the page cache, in the journal's next commit or in the disk's cache: all of that goes.
 *
 * Everything is mounted in the mount namespace of this process (inside.ts): nothing of it outlives the processes in there.
 */
import { fork, type ChildProcess } from 'node:child_process'
import { closeSync, ftruncateSync, mkdirSync, openSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { SeededChance } from '../../sim/seeded-chance.ts'
import { run, tryRun, until } from '../support/run.ts'
import type { Order, Settled } from './disk-server.ts'
import { shares } from './forgetful-disk.ts'

export type FileSystem = 'ext4' | 'xfs'

export interface Volume {
  readonly name: string
  readonly fileSystem: FileSystem
  /** Where it is mounted. */
  readonly path: string
  readonly sizeBytes: number
}

/** A cut comes after so many writes more at most: in the midst of what one request makes the disks do. */
const writesMax = 20

/** For each volume, by name. */
export type CutReport = ReadonlyMap<string, Settled>

const makers: Readonly<Record<FileSystem, readonly string[]>> = {
  ext4: ['mkfs.ext4', '-q', '-F', '-E', 'nodiscard,lazy_itable_init=0'],
  xfs: ['mkfs.xfs', '-q', '-f', '-K'],
}
export const makerOf = (fileSystem: FileSystem): string => makers[fileSystem][0]

export class ForgetfulVolumes {
  readonly #folder: string
  readonly #seed: number
  /** Nothing arrives that was not flushed; else the seed says for each cut how much does. */
  readonly #forgetAll: boolean
  readonly #server: ChildProcess
  readonly #waiting = new Map<
    number,
    { resolve: (answer?: Settled) => void; reject: (error: Error) => void }
  >()
  /** What was mounted first comes first. */
  readonly #mounted: Volume[] = []
  #orders = 0
  #cuts = 0

  /** `folder` holds the images and what stands between them and the file systems. */
  constructor(folder: string, seed: number, forgetAll = false) {
    this.#folder = folder
    this.#seed = seed
    this.#forgetAll = forgetAll
    for (const name of ['images', 'disks']) mkdirSync(join(folder, name), { recursive: true })
    // One thread of the pool waits for each disk.
    const env = { ...process.env, UV_THREADPOOL_SIZE: '64' }
    this.#server = fork(join(import.meta.dirname, 'disk-server.ts'), { env })
    this.#server.on('message', (message: { id: number; answer?: Settled; error?: string }) => {
      const waiting = this.#waiting.get(message.id)
      this.#waiting.delete(message.id)
      if (message.error === undefined) waiting?.resolve(message.answer)
      else waiting?.reject(new Error(message.error))
    })
    this.#server.on('exit', (code, signal) => {
      const error = new Error(`the disks' process ended: ${signal ?? code}`)
      for (const { reject } of this.#waiting.values()) reject(error)
      this.#waiting.clear()
    })
  }

  /** Makes a disk with an empty file system. */
  async make({ name, fileSystem, sizeBytes }: Volume): Promise<void> {
    const fd = openSync(this.#image(name), 'wx')
    ftruncateSync(fd, sizeBytes)
    closeSync(fd)
    const [command, ...words] = makers[fileSystem]
    await run(command, [...words, this.#image(name)])
  }

  get mounted(): readonly Volume[] {
    return this.#mounted
  }

  /** The file system finds by itself what a cut has left. */
  async mount(volume: Volume): Promise<void> {
    const { name, fileSystem, path, sizeBytes } = volume
    const disk = this.#disk(name)
    writeFileSync(disk, '')
    mkdirSync(path, { recursive: true })
    await this.#order({ order: 'attach', disk: name, image: this.#image(name), sizeBytes, at: disk })
    await run('mount', ['-t', fileSystem, '-o', 'loop', disk, path])
    this.#mounted.push(volume)
  }

  /**
   * The power of these fails when one of the next writes has come to them and was not answered: then `kill` is called, and
   * `gone` resolves when nobody uses them any more. Resolves when they are unmounted, those that were mounted last first.
   */
  async cut(volumes: readonly Volume[], kill: () => void, gone: () => Promise<void>): Promise<CutReport> {
    const disks = volumes.map(({ name }) => name)
    this.#cuts++
    const writes = new SeededChance(this.#seed, `moment of cut ${this.#cuts}`).below(writesMax)
    await this.#order({ order: 'hold', disks, writes })
    kill()
    // Without an answer who waits for one could not even be killed.
    await this.#order({ order: 'off', disks })
    await gone()
    const report = new Map<string, Settled>()
    for (const volume of volumes.toReversed()) report.set(volume.name, await this.#unmount(volume))
    return report
  }

  /** In order: the file systems write what they have. */
  async unmountAll(): Promise<void> {
    this.#cuts++
    for (const volume of this.#mounted.toReversed()) await this.#unmount(volume)
  }

  stop(): void {
    this.#server.disconnect()
  }

  async #unmount(volume: Volume): Promise<Settled> {
    const { name, path } = volume
    const [cut, seed] = [`cut ${this.#cuts}`, this.#seed]
    const share = this.#forgetAll ? 0 : shares[new SeededChance(seed, cut).below(shares.length)]
    const settled = this.#order({ order: 'settle', disk: name, share, seed, purpose: `${cut} of ${name}` })
    settled.catch(() => undefined)
    await unmountSoon(path)
    await unmountSoon(this.#disk(name))
    this.#mounted.splice(this.#mounted.indexOf(volume), 1)
    const answer = await settled
    if (answer === undefined) throw new Error(`${name} was not settled`)
    return answer
  }

  readonly #image = (name: string): string => join(this.#folder, 'images', name)
  readonly #disk = (name: string): string => join(this.#folder, 'disks', name)

  #order(order: Order): Promise<Settled | undefined> {
    const id = ++this.#orders
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      this.#server.send({ id, order })
    })
  }
}

/** A process that was just killed, or the loop device, may hold it for a moment longer. */
export const unmountSoon = (path: string): Promise<void> =>
  until(`${path} is unmounted`, async () => (await tryRun('umount', [path])).code === 0, 20, 20)
