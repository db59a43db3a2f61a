/**
 * Zeus in SQLite: the state machine, without a clock and without waiting. Requests run one after the other inside a
 * transaction of the caller's, who answers them when it is committed.
 *
 *  1. Every change raises the revision by one and leaves it with the key that it changed; a key that was deleted stays
 *     behind as a tombstone (no value), so that watchers who were away learn of it.
 *  2. At most `tombstonesMax` tombstones are kept. Whoever saw less than what was removed gets all keys anew (`full`).
 *  3. A session is its key: it lives while `session/NODE` is there with its incarnation. A claim judges by the same rows
 *     that watchers see.
 *  4. A request that is refused has changed nothing.
 *  5. No epoch below the floor is granted. It is 0, until the store is restored from a copy: what was granted after that copy
 *     was made is not known any more, and is not granted again (I4).
 */
import type Database from 'better-sqlite3'
import { assert } from '../base/assert.ts'
import type { Epoch } from '../base/ids.ts'
import type { Owner } from './zeus.ts'
import type {
  Claimant,
  Entry,
  EntryChange,
  WatchNews,
  WatchSince,
  ZeusAnswer,
  ZeusAsks,
  ZeusEngineKind,
} from './zeus-requests.ts'
import {
  checkJson,
  checkKey,
  checkSettable,
  inUse,
  isFreeFor,
  otherVersion,
  ownerKey,
  sessionKey,
  sessionOver,
  withIncarnation,
} from './zeus-requests.ts'

export const zeusSchema = `
  CREATE TABLE zeus_keys (
    key TEXT PRIMARY KEY,
    json TEXT,                  -- NULL: a tombstone
    version INTEGER NOT NULL,   -- of a tombstone: the version that was deleted
    revision INTEGER NOT NULL
  ) WITHOUT ROWID;
  CREATE UNIQUE INDEX zeus_keys_by_revision ON zeus_keys (revision);
  CREATE TABLE zeus_counters (name TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE zeus_forgotten (revision INTEGER NOT NULL);  -- one row: tombstones up to here were removed
  INSERT INTO zeus_forgotten VALUES (0);
`

/** Raised by whoever restores a store (src/local/store/restore-store.ts). */
export const epochFloorCounter = 'epoch-floor'

/** Enough for watchers that were away for minutes of busy deleting; few enough that they cost nothing. */
const tombstonesMax = 2000

interface KeyRow {
  readonly key: string
  readonly json: string | null
  readonly version: number
  readonly revision: number
}

type Handlers = { [K in ZeusEngineKind]: (asks: ZeusAsks<K>) => ZeusAnswer<K> }

export class SqliteZeus {
  readonly #sql: ReturnType<typeof prepare>
  #revision = 1
  #forgotten = 0
  #tombstones = 0
  #epochFloor = 0

  constructor(database: Database.Database) {
    this.#sql = prepare(database)
    this.reload()
  }

  /** The number of the last change; watchers with the same number have seen all. */
  get revision(): number {
    return this.#revision
  }

  /** Reads anew what is kept in memory: to be called when a transaction was rolled back. */
  reload(): void {
    this.#forgotten = this.#sql.forgotten.get()?.revision ?? 0
    // From 1, since a watcher says 0 when it has seen nothing.
    this.#revision = Math.max(1, this.#forgotten, this.#sql.lastRevision.get()?.revision ?? 0)
    this.#tombstones = this.#sql.countTombstones.get()?.count ?? 0
    this.#epochFloor = this.#sql.counter.get(epochFloorCounter)?.number ?? 0
  }

  run<K extends ZeusEngineKind>(kind: K, asks: ZeusAsks<K>): ZeusAnswer<K> {
    return this.#handlers[kind](asks)
  }

  handles(kind: string): kind is ZeusEngineKind {
    return Object.hasOwn(this.#handlers, kind)
  }

  readonly #handlers: Handlers = {
    'zeus.get': ({ key }) => {
      const row = this.#find(key)
      return row ? { entry: entryOf(row) } : {}
    },
    'zeus.list': ({ prefix }) => ({ entries: this.#sql.list.all(prefix, endOfPrefix(prefix)).map(entryOf) }),
    'zeus.set': ({ key, json, expected }) => {
      checkKey(key)
      checkSettable('set', key)
      this.#compare('set', key, expected)
      return { version: this.#put(key, json) }
    },
    'zeus.delete': ({ key, expected }) => {
      checkKey(key)
      checkSettable('delete', key)
      this.#compare('delete', key, expected)
      this.#remove(key)
      return {}
    },
    'zeus.next': ({ counter }) => {
      checkKey(counter)
      const number = this.#sql.next.get(counter)?.number
      assert(number !== undefined, 'a counter that gives no number')
      return { number }
    },
    'zeus.claim': ({ vdisk, by, reason, atLeast }) => {
      const key = ownerKey(vdisk)
      const row = this.#find(key)
      const last = row && ownerOf(row)
      if (last && reason === 'free' && !isFreeFor(last, by) && this.#lives(last)) throw inUse(vdisk, by, last)
      const owner: Owner = {
        node: by.node,
        incarnation: by.incarnation,
        epoch: Math.max((last?.epoch ?? 0) + 1, atLeast, this.#epochFloor) as Epoch,
      }
      assert(owner.epoch > (last?.epoch ?? 0), 'I4: an epoch that does not grow')
      this.#put(key, JSON.stringify(owner))
      return { owner }
    },
    'zeus.release': ({ vdisk, epoch, next }) => {
      const row = this.#find(ownerKey(vdisk))
      const last = row && ownerOf(row)
      if (last?.epoch !== epoch) return {}
      const { node, incarnation } = last
      const released: Owner = { node, incarnation, epoch, released: true, ...(next ? { next } : {}) }
      this.#put(ownerKey(vdisk), JSON.stringify(released))
      return {}
    },
    'zeus.open-session': ({ node, incarnation, json }) => {
      // Whatever incarnation had the key has lost its session with this change (m15).
      this.#put(sessionKey(node), JSON.stringify(withIncarnation(JSON.parse(json), incarnation)))
      return {}
    },
    'zeus.update-session': ({ node, incarnation, json }) => {
      if (!this.#lives({ node, incarnation })) throw sessionOver({ node, incarnation })
      this.#put(sessionKey(node), JSON.stringify(withIncarnation(JSON.parse(json), incarnation)))
      return {}
    },
    'zeus.end-session': (session) => {
      if (this.#lives(session)) this.#remove(sessionKey(session.node))
      return {}
    },
    'zeus.sessions': () => ({
      sessions: this.#sql.list.all('session/', endOfPrefix('session/')).map((row) => ({
        node: row.key.slice('session/'.length) as Claimant['node'],
        incarnation: incarnationOf(row),
      })),
    }),
    'zeus.changes': ({ watches }) => ({
      revision: this.#revision,
      news: watches.map((watch) => this.#newsFor(watch)),
    }),
  }

  #newsFor({ prefix, since }: WatchSince): WatchNews {
    const end = endOfPrefix(prefix)
    // A watcher from after the last revision has seen another database than this one.
    if (since === 0 || since < this.#forgotten || since > this.#revision) {
      const present = this.#sql.listSince.all(0, prefix, end).filter(({ json }) => json !== null)
      return { full: true, changes: present.map(changeOf) }
    }
    if (since === this.#revision) return { full: false, changes: [] }
    return { full: false, changes: this.#sql.listSince.all(since, prefix, end).map(changeOf) }
  }

  #find(key: string): KeyRow | undefined {
    const row = this.#sql.find.get(key)
    return row?.json === null ? undefined : row
  }

  #lives({ node, incarnation }: Claimant): boolean {
    const row = this.#find(sessionKey(node))
    return row !== undefined && incarnationOf(row) === incarnation
  }

  #compare(verb: string, key: string, expected: number | undefined): void {
    const version = this.#find(key)?.version ?? 0
    if (expected !== undefined && expected !== version) throw otherVersion(verb, key, expected, version)
  }

  #put(key: string, json: string): number {
    checkKey(key)
    checkJson(key, json)
    const before = this.#sql.find.get(key)
    if (before?.json === null) this.#tombstones--
    // Of a key whose tombstone was forgotten, no version was higher than the revision up to which they were.
    const version = (before?.version ?? this.#forgotten) + 1
    this.#sql.put.run(key, json, version, ++this.#revision)
    return version
  }

  #remove(key: string): void {
    const row = this.#find(key)
    if (!row) return
    this.#sql.put.run(key, null, row.version, ++this.#revision)
    if (++this.#tombstones > tombstonesMax) this.#forgetTombstones()
  }

  /** Removes the older half, so that it is seldom done. */
  #forgetTombstones(): void {
    const oldest = this.#sql.oldestTombstones.all(Math.floor(tombstonesMax / 2))
    for (const { key } of oldest) this.#sql.erase.run(key)
    this.#tombstones -= oldest.length
    this.#forgotten = oldest[oldest.length - 1].revision
    this.#sql.forget.run(this.#forgotten)
  }
}

function prepare(database: Database.Database) {
  return {
    find: database.prepare<[string], KeyRow>('SELECT * FROM zeus_keys WHERE key = ?'),
    list: database.prepare<[string, string], KeyRow>(
      'SELECT * FROM zeus_keys WHERE key >= ? AND key < ? AND json IS NOT NULL ORDER BY key',
    ),
    listSince: database.prepare<[number, string, string], KeyRow>(
      'SELECT * FROM zeus_keys WHERE revision > ? AND key >= ? AND key < ? ORDER BY revision',
    ),
    put: database.prepare<[string, string | null, number, number]>(
      `INSERT INTO zeus_keys (key, json, version, revision) VALUES (?, ?, ?, ?) ON CONFLICT (key)
       DO UPDATE SET json = excluded.json, version = excluded.version, revision = excluded.revision`,
    ),
    erase: database.prepare<[string]>('DELETE FROM zeus_keys WHERE key = ?'),
    oldestTombstones: database.prepare<[number], KeyRow>(
      'SELECT * FROM zeus_keys WHERE json IS NULL ORDER BY revision LIMIT ?',
    ),
    countTombstones: database.prepare<[], { count: number }>(
      'SELECT count(*) AS count FROM zeus_keys WHERE json IS NULL',
    ),
    lastRevision: database.prepare<[], { revision: number | null }>(
      'SELECT max(revision) AS revision FROM zeus_keys',
    ),
    forgotten: database.prepare<[], { revision: number }>('SELECT revision FROM zeus_forgotten'),
    forget: database.prepare<[number]>('UPDATE zeus_forgotten SET revision = ?'),
    counter: database.prepare<[string], { number: number }>(
      'SELECT number FROM zeus_counters WHERE name = ?',
    ),
    next: database.prepare<[string], { number: number }>(
      `INSERT INTO zeus_counters (name, number) VALUES (?, 1) ON CONFLICT (name)
       DO UPDATE SET number = number + 1 RETURNING number`,
    ),
  }
}

function entryOf({ key, json, version }: KeyRow): Entry {
  assert(json !== null, 'a tombstone taken for a key')
  return { key, json, version }
}

const changeOf = ({ key, json, version, revision }: KeyRow): EntryChange =>
  json === null ? { key, version, revision } : { key, json, version, revision }

const ownerOf = (row: KeyRow): Owner => JSON.parse(entryOf(row).json) as Owner
const incarnationOf = (row: KeyRow): Claimant['incarnation'] =>
  (JSON.parse(entryOf(row).json) as Claimant).incarnation

/** After every key with that prefix in the order of bytes: U+10FFFF is the last character of UTF-8. */
const endOfPrefix = (prefix: string): string => `${prefix}\u{10ffff}`
