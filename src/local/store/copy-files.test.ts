import assert from 'node:assert/strict'
import { closeSync, openSync, readdirSync, readFileSync, rmSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { encodeControl } from '../../base/control.ts'
import { CopyFiles, copyIn, digestOf, type StoreChanges } from './copy-files.ts'
import { changesAmong, StoreBatches, type StoreRequest } from './store-batch.ts'
import { openStoreDatabase, positionOf } from './store-database.ts'
import { testCluster, withDirectory } from './store-for-tests.ts'
import { WriteAheadLog } from './write-ahead-log.ts'

const { clusterId } = testCluster
const request = (kind: string, asks: unknown): StoreRequest => ({ kind, body: encodeControl(asks) })
const set = (key: string, value: string, expected?: number): StoreRequest =>
  request('zeus.set', { key, json: JSON.stringify(value), ...(expected === undefined ? {} : { expected }) })
const claim = (vdisk: number): StoreRequest =>
  request('zeus.claim', { vdisk, by: { node: 'n1', incarnation: 'a' }, reason: 'no-service', atLeast: 0 })
const medusaChange = (key: string, version: number): StoreRequest =>
  request('medusa.change', {
    partition: { table: 'map', key },
    change: {
      id: String(version).padStart(32, '0'),
      expected: { epoch: 0, version },
      epoch: 0,
      put: [{ key: String(version), value: Buffer.alloc(300, version) }],
    },
  })

/** A store and the folder of its copy. */
function withStore(body: (stand: Stand) => void): Promise<void> {
  return withDirectory(async (directory) => body(new Stand(directory)))
}

class Stand {
  readonly file: string
  readonly folder: string
  readonly database
  readonly batches
  readonly source: number

  constructor(directory: string) {
    this.file = join(directory, 'store.db')
    this.folder = join(directory, 'two')
    this.database = openStoreDatabase(this.file, clusterId)
    this.batches = new StoreBatches(this.database)
    this.source = openSync(this.file, 'r')
  }

  /** Does a batch, and says what a copy is told of it. */
  run(...requests: StoreRequest[]): StoreChanges {
    const from = this.batches.changes
    const outcomes = this.batches.run(requests, { wallTime: 7 })
    const changes = changesAmong(requests, outcomes)
    return {
      requests: changes.requests,
      from,
      upTo: this.batches.changes,
      wallTime: 7,
      digest: digestOf(changes.answers),
    }
  }

  copy(): CopyFiles {
    const copy = new CopyFiles(this.folder, clusterId)
    assert.ok(new WriteAheadLog(this.database).freeze())
    copy.make(this.source, positionOf(this.database))
    return copy
  }
}

/** Every row of every table, so that two stores can be compared. */
function rowsOf(file: string): unknown {
  const database = openStoreDatabase(file, clusterId)
  const tables = ['zeus_keys', 'zeus_counters', 'medusa_partitions', 'medusa_rows', 'store']
  const rows = tables.map((table) => database.prepare(`SELECT * FROM ${table}`).all())
  database.close()
  return rows
}

const fileOf = (folder: string): string => {
  const found = copyIn(folder)
  assert.ok(found)
  return found.file
}

test('a copy holds what the store holds: what was there, and what was changed since', () =>
  withStore((stand) => {
    stand.run(set('a', 'one'), medusaChange('x', 0))
    const copy = stand.copy()
    const first = stand.run(
      set('a', 'two', 1),
      set('a', 'refused', 1),
      claim(1),
      request('zeus.list', { prefix: '' }),
    )
    const second = stand.run(
      medusaChange('x', 1),
      medusaChange('y', 0),
      request('zeus.next', { counter: 'c' }),
    )
    copy.apply([first, second])
    // A batch that the copy has already is no harm.
    copy.apply([second, stand.run(claim(1), request('zeus.delete', { key: 'a' }))])
    copy.close()
    stand.database.close()
    assert.deepEqual(rowsOf(fileOf(stand.folder)), rowsOf(stand.file))
    const again = new CopyFiles(stand.folder, clusterId)
    assert.equal(again.position?.changes, stand.batches.changes)
    assert.equal(again.position.changedAt, 7)
    again.close()
  }))

test('a change that does not follow on what the copy has is refused, and the copy left as it was', () =>
  withStore((stand) => {
    const copy = stand.copy()
    copy.apply([stand.run(set('a', 'one'))])
    const lost = stand.run(set('a', 'two'))
    const next = stand.run(set('a', 'three'))
    assert.throws(() => copy.apply([next]), /changes 2 to 2 are missing in it/)
    assert.equal(copy.position?.changes, 1)
    copy.apply([lost, next])
    assert.equal(copy.position.changes, 3)
    copy.close()
  }))

test('a change that comes out otherwise than in the store is refused, with all that came with it', () =>
  withStore((stand) => {
    const copy = stand.copy()
    const first = stand.run(set('a', 'one'))
    const second = stand.run(set('a', 'two', 1))
    assert.throws(() => copy.apply([first, { ...second, digest: second.digest + 1 }]), /answered otherwise/)
    assert.equal(copy.position?.changes, 0)
    copy.close()
  }))

test('a copy takes the place of the last one only when it is whole', () =>
  withStore((stand) => {
    stand.run(set('a', 'x'.repeat(200_000)))
    const copy = stand.copy()
    copy.close()
    const before = readFileSync(fileOf(stand.folder))
    const position = positionOf(stand.database)
    stand.database.close()
    const again = new CopyFiles(stand.folder, clusterId)
    assert.throws(() => again.make(stand.source, { ...position, changes: 9 }), /it stands at change 1/)
    truncateSync(stand.file, before.length - 8192)
    assert.throws(() => again.make(stand.source, position), /copy-3\.db/)
    again.close()
    assert.equal(fileOf(stand.folder), join(stand.folder, 'copy-1.db'))
    assert.deepEqual(readFileSync(fileOf(stand.folder)), before)
    closeSync(stand.source)
  }))

test('what an interrupted copying left behind goes with the next one', () =>
  withStore((stand) => {
    stand.copy().close()
    stand.copy().close()
    const names = readdirSync(stand.folder).sort()
    assert.deepEqual(names, ['copy-2.db', 'copy.json'])
    rmSync(join(stand.folder, 'copy-2.db'))
    assert.equal(new CopyFiles(stand.folder, clusterId).position, undefined)
  }))
