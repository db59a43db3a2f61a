/**
 * Files that show what a power cut does to a file system: some that were synced, with their names, and as many that nobody
 * synced. The first must be there after the cut, whole; of the others it is told how many are not.
 */
import assert from 'node:assert/strict'
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'

const files = 4
const content = (index: number): Buffer => Buffer.alloc(20_000, index + 1)

export class Witnesses {
  readonly #folder: string
  #left = false
  /** Over all cuts: files that nobody synced, and those of them that were gone or not whole. */
  unsynced = 0
  forgotten = 0

  constructor(folder: string) {
    this.#folder = folder
  }

  /** Just before the cut. */
  leave(): void {
    mkdirSync(this.#folder, { recursive: true })
    for (let index = 0; index < files; index++) {
      const path = this.#path('synced', index)
      writeFileSync(path, content(index))
      sync(path)
    }
    sync(this.#folder)
    for (let index = 0; index < files; index++) writeFileSync(this.#path('unsynced', index), content(index))
    this.#left = true
  }

  /** When the file system is there again. */
  ask(): void {
    if (!this.#left) return
    const isWhole = (kind: string, index: number): boolean => {
      const path = this.#path(kind, index)
      return existsSync(path) && readFileSync(path).equals(content(index))
    }
    for (let index = 0; index < files; index++) {
      assert(
        isWhole('synced', index),
        `the file system lost ${this.#path('synced', index)}, which was synced`,
      )
      this.unsynced++
      if (!isWhole('unsynced', index)) this.forgotten++
    }
    rmSync(this.#folder, { recursive: true })
    this.#left = false
  }

  #path(kind: string, index: number): string {
    return join(this.#folder, `${kind}-${index}`)
  }
}

function sync(path: string): void {
  const fd = openSync(path, 'r')
  fsyncSync(fd)
  closeSync(fd)
}
