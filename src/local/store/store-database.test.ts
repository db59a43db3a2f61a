import Database from 'better-sqlite3'
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { hasCode } from '../../base/errors.ts'
import { markMoved, movedPlacesIn, openStoreDatabase } from './store-database.ts'
import { withDirectory } from './store-for-tests.ts'

test('a store is opened again by its cluster, and syncs each commit', () =>
  withDirectory(async (directory) => {
    const file = join(directory, 'store.db')
    openStoreDatabase(file, 'one').close()
    const database = openStoreDatabase(file, 'one')
    assert.equal(database.pragma('journal_mode', { simple: true }), 'wal')
    assert.equal(database.pragma('synchronous', { simple: true }), 2)
    database.close()
    assert.equal((await readFile(file)).toString('latin1', 68, 72), 'NDFS')
  }))

test('a store of another cluster is refused', () =>
  withDirectory(async (directory) => {
    const file = join(directory, 'store.db')
    openStoreDatabase(file, 'one').close()
    assert.throws(
      () => openStoreDatabase(file, 'two'),
      (error) =>
        hasCode(error, 'REFUSED') && /belongs to cluster one, and this is cluster two/.test(error.message),
    )
  }))

test('a store of an unknown version is refused, and left as it is', () =>
  withDirectory(async (directory) => {
    const file = join(directory, 'store.db')
    const later = openStoreDatabase(file, 'one')
    later.pragma('user_version = 7')
    later.close()
    const before = await readFile(file)
    assert.throws(
      () => openStoreDatabase(file, 'one'),
      (error) => hasCode(error, 'REFUSED') && /version 7, and this NDFS knows version 2/.test(error.message),
    )
    assert.deepEqual(await readFile(file), before)
  }))

test('what is no store of NDFS is refused, and left as it is', () =>
  withDirectory(async (directory) => {
    const file = join(directory, 'store.db')
    const foreign = new Database(file)
    foreign.exec('CREATE TABLE somebody_elses (a)')
    foreign.close()
    const before = await readFile(file)
    assert.throws(
      () => openStoreDatabase(file, 'one'),
      (error) => hasCode(error, 'REFUSED') && /not a store of NDFS/.test(error.message),
    )
    assert.deepEqual(await readFile(file), before)
  }))

test('a file that is open is not opened twice', () =>
  withDirectory(async (directory) => {
    const file = join(directory, 'store.db')
    const database = openStoreDatabase(file, 'one')
    assert.throws(
      () => openStoreDatabase(file, 'one'),
      (error) => hasCode(error, 'IN_USE'),
    )
    database.close()
    openStoreDatabase(file, 'one').close()
  }))

test('a store whose metadata was moved is never opened again, and says where that is', () =>
  withDirectory(async (directory) => {
    const file = join(directory, 'store.db')
    const database = openStoreDatabase(file, 'one')
    assert.equal(movedPlacesIn(file), undefined)
    const places = { zookeeper: { servers: ['a:2181'] } }
    markMoved(database, places)
    database.close()
    assert.throws(() => openStoreDatabase(file, 'one'), /its metadata was moved to engines/)
    assert.deepEqual(movedPlacesIn(file), places)
    assert.equal(movedPlacesIn(join(directory, 'none.db')), undefined)
  }))
