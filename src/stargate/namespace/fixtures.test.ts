/** What the tests of the namespace stand on: Medusa in memory with faults, several nodes on it, and time that runs only as they wait. */
import Database from 'better-sqlite3'
import { dice } from '../../base/dice-for-tests.ts'
import { NdfsError } from '../../base/errors.ts'
import type { Millis } from '../../base/units.ts'
import type { Change, ChangeResult, Medusa, Partition, PartitionName } from '../../medusa/medusa.ts'
import { medusaSchema, SqliteMedusa } from '../../medusa/sqlite-medusa.ts'
import type { Chance, Clock, Log } from '../../platform/platform.ts'
import { createNamespace, createRoot, type NamespaceOptions } from './medusa-namespace.ts'
import {
  type FileCheckContext,
  FileError,
  type Inode,
  type InodeId,
  type Namespace,
  type NewInode,
} from './namespace.ts'

export const root = 1 as InodeId
export const secret = Buffer.alloc(32, 9)
export const bytesOf = (text: string): Buffer => Buffer.from(text)
export const aFile: NewInode = { type: 'file', mode: 0o644, uid: 1, gid: 2 }
export const aDirectory: NewInode = { type: 'directory', mode: 0o755, uid: 1, gid: 2 }

export const quietLog: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  with: () => quietLog,
}

/** Time goes on to the next sleeper when everything else has come to rest. */
export class RestingClock implements Clock {
  time = 1_700_000_000_000
  readonly #sleepers: { due: number; order: number; wake: () => void }[] = []
  #order = 0
  #armed = false

  now(): Millis {
    return this.time as Millis
  }
  wallTime(): number {
    return this.time
  }
  after(ms: number, callback: () => void) {
    const sleeper = { due: this.time + ms, order: this.#order++, wake: callback }
    this.#sleepers.push(sleeper)
    this.#arm()
    const cancel = (): void => {
      const at = this.#sleepers.indexOf(sleeper)
      if (at >= 0) this.#sleepers.splice(at, 1)
    }
    return { cancel }
  }
  sleep(ms: number): Promise<void> {
    return new Promise((wake) => this.after(ms, wake))
  }
  soon(callback: () => void): void {
    this.after(0, callback)
  }

  /** All promises run between two turns of the loop, for nothing here waits for the machine. */
  #arm(): void {
    if (this.#armed) return
    this.#armed = true
    setImmediate(() => {
      this.#armed = false
      this.#sleepers.sort((a, b) => a.due - b.due || a.order - b.order)
      const next = this.#sleepers.shift()
      if (next === undefined) return
      this.time = Math.max(this.time, next.due)
      next.wake()
      if (this.#sleepers.length > 0) this.#arm()
    })
  }
}

export interface Faults {
  /** Asked before a change: what becomes of it. */
  onChange?(
    partition: PartitionName,
    change: Change,
  ): 'made' | 'made, unknown' | 'not made, unknown' | 'dead' | undefined
  dead?: boolean
  /** How long a change of such a partition is on its way. */
  readonly slow?: (partition: PartitionName) => number
  /** How long the answer to a read is on its way. */
  readonly slowAnswer?: () => number
}

/** Nothing is answered any more: the node has died. */
const never = <T>(): Promise<T> => new Promise<T>(() => undefined)

export class World {
  readonly clock = new RestingClock()
  readonly roll: (below: number) => number
  readonly #database = new Database(':memory:')
  readonly engine: SqliteMedusa
  changes = 0
  changesOf = new Map<string, number>()
  /** A request takes up to so many milliseconds, drawn by chance. */
  delayMs = 0
  readonly ended: Inode[] = []

  constructor(seed = 1) {
    this.roll = dice(seed)
    this.#database.exec(medusaSchema)
    this.engine = new SqliteMedusa(this.#database)
  }

  get chance(): Chance {
    return {
      below: this.roll,
      bytes: (count) => Buffer.from(Array.from({ length: count }, () => this.roll(256))),
    }
  }

  medusa(faults: Faults = {}): Medusa {
    const wait = () =>
      this.delayMs > 0 ? this.clock.sleep(this.roll(this.delayMs * 10) / 10) : Promise.resolve()
    const alive = async <T>(value: () => T): Promise<T> => {
      await wait()
      if (faults.dead) return never()
      const result = value()
      await wait()
      if (faults.slowAnswer) await this.clock.sleep(faults.slowAnswer())
      return faults.dead ? never() : result
    }
    return {
      get: (partition, rowKeys) =>
        alive((): Partition =>
          rowKeys
            ? this.engine.run('medusa.get', { partition, rowKeys: [...rowKeys].sort() })
            : this.engine.run('medusa.scan', { partition, limit: 1e9 }),
        ),
      scan: (partition, { after, before, limit = 1000 } = {}) =>
        alive((): Partition => this.engine.run('medusa.scan', { partition, after, before, limit })),
      getOfMany: (table, keys, rowKey) =>
        alive(() =>
          this.engine
            .run('medusa.get-of-many', { table, keys, rowKey })
            .values.map((value) => value ?? undefined),
        ),
      change: async (partition, change): Promise<ChangeResult> => {
        await wait()
        await this.clock.sleep(faults.slow?.(partition) ?? 0)
        if (faults.dead) return never()
        const fate = faults.onChange?.(partition, change) ?? 'made'
        if (fate === 'dead') {
          faults.dead = true
          return never()
        }
        if (fate === 'not made, unknown') throw new NdfsError('TIMED_OUT', 'the test lost the request')
        const result = this.engine.run('medusa.change', { partition, change })
        this.changes++
        const key = `${partition.table}/${partition.key}`
        this.changesOf.set(key, (this.changesOf.get(key) ?? 0) + 1)
        if (fate === 'made, unknown') throw new NdfsError('TIMED_OUT', 'the test lost the answer')
        await wait()
        return faults.dead ? never() : result
      },
      close: async () => undefined,
    }
  }

  options(faults?: Faults): NamespaceOptions {
    return {
      medusa: this.medusa(faults),
      platform: { clock: this.clock, chance: this.chance, log: quietLog },
      container: 'default',
      root,
      secret,
      ended: (inode) => this.ended.push(inode),
    }
  }

  /** Another node's. */
  node(faults?: Faults, more: Partial<NamespaceOptions> = {}): Namespace {
    return createNamespace({ ...this.options(faults), ...more })
  }

  /** All partitions with their rows. */
  dump(table: PartitionName['table']): Map<string, Map<string, Buffer>> {
    const found = new Map<string, Map<string, Buffer>>()
    const rows = this.#database
      .prepare<[string], { partition: string; key: string | null; value: Buffer }>(
        `SELECT p.key AS partition, r.key AS key, r.value AS value FROM medusa_partitions p
         LEFT JOIN medusa_rows r ON r.partition = p.id WHERE p.table_name = ?`,
      )
      .all(table)
    for (const { partition, key, value } of rows) {
      const into = found.get(partition) ?? new Map<string, Buffer>()
      found.set(partition, into)
      if (key !== null) into.set(key, value)
    }
    return found
  }

  putRow(partition: PartitionName, key: string, value: Buffer | undefined): void {
    const { static: at } = this.engine.run('medusa.get', { partition, rowKeys: [] })
    this.engine.run('medusa.change', {
      partition,
      change: {
        id: this.chance.bytes(16).toString('hex'),
        expected: at,
        epoch: at.epoch,
        ...(value ? { put: [{ key, value }] } : { delete: [key] }),
      },
    })
  }

  close(): void {
    this.#database.close()
  }
}

export async function newWorld(seed?: number): Promise<World> {
  const world = new World(seed)
  await createRoot(world.options())
  return world
}

/** The code of the error that it rejects with; of an NdfsError too. */
export async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work
    return 'done'
  } catch (error) {
    if (error instanceof FileError || error instanceof NdfsError) return error.code
    throw error
  }
}

export async function namesIn(namespace: Namespace, directory: InodeId, limit = 1000): Promise<string[]> {
  const names: string[] = []
  for (let after = 0n; ;) {
    const { entries, done } = await namespace.list(directory, after, limit)
    names.push(...entries.map(({ name }) => name.toString('latin1')))
    if (done) return names.sort()
    after = entries[entries.length - 1].cookie
  }
}

/** What a check tells, each finding as `kind: what`. */
export async function checked(
  namespace: Namespace,
  more: Partial<FileCheckContext> = {},
): Promise<{
  found: string[]
  leftOver: string[]
  unfinished: string[]
  files: number
  directories: number
  bytes: number
}> {
  const told = {
    found: [] as string[],
    leftOver: [] as string[],
    unfinished: [] as string[],
    files: 0,
    directories: 0,
    bytes: 0,
  }
  await namespace.check({
    faultOfVDisk: () => Promise.resolve(undefined),
    vdisks: [],
    admit: () => Promise.resolve(() => undefined),
    found: ({ kind, what }) => told.found.push(`${kind}: ${what}`),
    checked: (what, bytes) => {
      told[what === 'file' ? 'files' : 'directories']++
      told.bytes += bytes
    },
    leftOver: (_, sentence) => told.leftOver.push(sentence),
    unfinished: (what) => told.unfinished.push(what),
    stopped: () => false,
    ...more,
  })
  return told
}
