/**
 * A copy of the store on a second disk: files in a folder, touched by one thread alone (copy-worker.ts).
 *
 *   FOLDER/copy.json        which of the files is the copy: { "version": 1, "cluster": "…", "file": "copy-7.db" }
 *          copy-7.db        a store of its own, led through the same changes as the first one; and its write-ahead log
 *          copy-8.db        one that is being made: not yet the copy
 *          ndfs.json …      the small files of the cluster's directory, without which no node starts (copy-folder.ts)
 *
 *  1. `copy.json` names a whole, verified store at every moment: a new one takes the place of the last when its bytes were read
 *     back, its structure was checked, and it stands where the store stood; in one rename.
 *  2. A change is applied in one transaction with all that came with it, and only where the copy stands exactly before it and comes to
 *     the very answers that the store gave. Else it is left as it was, and is a copy no longer.
 *  3. What resolves here is on stable media.
 */
import type Database from 'better-sqlite3'
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { basename, join } from 'node:path'
import Type from 'typebox'
import { crc32c } from '../../base/crc32c.ts'
import { NdfsError } from '../../base/errors.ts'
import { MiB } from '../../base/units.ts'
import { parseVersioned } from '../versioned-file.ts'
import { StoreBatches, type StoreOutcome, type StoreRequest } from './store-batch.ts'
import { openStoreDatabase, positionOf, type StorePosition } from './store-database.ts'
import { WriteAheadLog } from './write-ahead-log.ts'

const copyVersion = 1
const copySchema = Type.Object(
  {
    version: Type.Literal(copyVersion),
    cluster: Type.String({ pattern: '^[0-9a-f]{16}$' }),
    file: Type.String({ pattern: '^copy-[0-9]+\\.db$' }),
  },
  { additionalProperties: false },
)

/** Changes that the store made in one batch. */
export interface StoreChanges {
  readonly requests: readonly StoreRequest[]
  /** How many changes the store had seen before them. */
  readonly from: number
  readonly upTo: number
  readonly wallTime: number
  /** crc32c over the answers. */
  readonly digest: number
}

export const digestOf = (answers: readonly Uint8Array[]): number =>
  answers.reduce((crc, answer) => crc32c(answer, crc), 0)

export const namePath = (folder: string): string => join(folder, 'copy.json')

/** The file that is the copy, or `undefined` where there is none. */
export function copyIn(folder: string): { readonly cluster: string; readonly file: string } | undefined {
  const path = namePath(folder)
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  const { cluster, file } = parseVersioned(path, text, copySchema, copyVersion)
  return { cluster, file: join(folder, file) }
}

interface OpenCopy {
  readonly file: string
  readonly database: Database.Database
  readonly batches: StoreBatches
  readonly log: WriteAheadLog
}

export class CopyFiles {
  readonly #folder: string
  readonly #clusterId: string
  #copy: OpenCopy | undefined

  /** Opens what is there, if anything is. */
  constructor(folder: string, clusterId: string) {
    this.#folder = folder
    this.#clusterId = clusterId
    mkdirSync(folder, { recursive: true })
    const found = copyIn(folder)
    if (found !== undefined && this.#names().includes(basename(found.file)))
      this.#copy = openCopy(found.file, clusterId)
  }

  get position(): StorePosition | undefined {
    return this.#copy && positionOf(this.#copy.database)
  }

  /** `source` is a descriptor of a store's file that nobody writes to now, and that stands at `position`. */
  make(source: number, position: StorePosition): void {
    const numbers = this.#names().map((name) => Number(/^copy-(\d+)\.db/.exec(name)?.[1] ?? 0))
    const name = `copy-${Math.max(0, ...numbers) + 1}.db`
    const file = join(this.#folder, name)
    copyBytes(source, file)
    const made = openCopy(file, this.#clusterId)
    try {
      verify(made, position)
    } catch (error) {
      made.database.close()
      throw error
    }
    syncFolder(this.#folder)
    this.#replaceName({ version: copyVersion, cluster: this.#clusterId, file: name })
    this.#copy?.database.close()
    this.#copy = made
    for (const other of this.#names())
      if (/^copy-\d+\.db/.test(other) && !other.startsWith(name)) rmSync(join(this.#folder, other))
  }

  /** Those that the copy has already are passed over. */
  apply(all: readonly StoreChanges[]): void {
    const { batches, log, file } = this.#opened()
    const rest = all.filter(({ upTo }) => upTo > batches.changes)
    if (rest.length === 0) return
    if (rest[0].from !== batches.changes)
      throw differs(file, `changes ${batches.changes + 1} to ${rest[0].from} are missing in it`)
    const requests = rest.flatMap((changes) => changes.requests)
    const last = rest[rest.length - 1]
    const check = (outcomes: readonly StoreOutcome[]): void => {
      let at = 0
      for (const { requests: those, digest, upTo } of rest) {
        const answers = outcomes.slice(at, (at += those.length))
        const refusal = answers.find((answer) => answer instanceof NdfsError)
        if (refusal) throw refusal
        if (digestOf(answers as Uint8Array[]) !== digest)
          throw differs(file, `up to change ${upTo} the store answered otherwise`)
      }
    }
    // Where there is no room each is tried alone, and refused by that check: a copy has all of a batch, or none of it.
    batches.run(requests, { wallTime: last.wallTime, check })
    if (batches.changes !== last.upTo)
      throw new NdfsError('OUT_OF_SPACE', `Cannot go on with the copy ${file}: its disk is full`, { file })
    log.grew(
      requests.length,
      requests.reduce((sum, { body }) => sum + body.length, 0),
    )
  }

  close(): void {
    this.#copy?.database.close()
  }

  #opened(): OpenCopy {
    if (!this.#copy) throw differs(this.#folder, 'there is none yet')
    return this.#copy
  }

  #names(): string[] {
    return readdirSync(this.#folder)
  }

  #replaceName(value: object): void {
    const path = namePath(this.#folder)
    const fd = openSync(`${path}.tmp`, 'w')
    try {
      writeSync(fd, `${JSON.stringify(value, undefined, 2)}\n`)
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
    renameSync(`${path}.tmp`, path)
    syncFolder(this.#folder)
  }
}

function openCopy(file: string, clusterId: string): OpenCopy {
  const database = openStoreDatabase(file, clusterId)
  return { file, database, batches: new StoreBatches(database), log: new WriteAheadLog(database) }
}

function verify({ database, file }: OpenCopy, position: StorePosition): void {
  const { lineage, changes } = positionOf(database)
  if (lineage !== position.lineage || changes !== position.changes)
    throw differs(file, `it stands at change ${changes}, and the store at ${position.changes}`)
  const [found] = database.pragma('integrity_check') as { integrity_check: string }[]
  if (found.integrity_check !== 'ok') throw differs(file, found.integrity_check)
}

/** All bytes of `source`; synced, and read back. */
function copyBytes(source: number, file: string): void {
  const buffer = Buffer.allocUnsafe(1 * MiB)
  const fd = openSync(file, 'wx+')
  try {
    const read = (from: number, each: (part: Buffer) => void): number => {
      let crc = 0
      for (let at = 0, count = 1; count > 0; at += count) {
        count = readSync(from, buffer, 0, buffer.length, at)
        const part = buffer.subarray(0, count)
        each(part)
        crc = crc32c(part, crc)
      }
      return crc
    }
    const written = read(source, (part) => {
      for (let at = 0; at < part.length;) at += writeSync(fd, part, at)
    })
    fsyncSync(fd)
    if (read(fd, () => undefined) !== written)
      throw differs(file, 'other bytes are read from it than were written')
  } finally {
    closeSync(fd)
  }
}

function syncFolder(folder: string): void {
  const fd = openSync(folder, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

const differs = (file: string, how: string): NdfsError =>
  new NdfsError('DISK_FAILED', `Cannot use the copy of the store in ${file}: ${how}`, { file })
