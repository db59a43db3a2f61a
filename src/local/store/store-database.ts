/**
 * The one SQLite file of the machine's store. Zeus and Medusa lie in it side by side, so that one sync serves both.
 *
 * It is opened by one process alone: in exclusive mode SQLite itself refuses a second one, also where the directory's
 * lock does not reach (another network namespace).
 */
import { existsSync } from 'node:fs'
import Database from 'better-sqlite3'
import { assert } from '../../base/assert.ts'
import { messageOf, NdfsError } from '../../base/errors.ts'
import { medusaSchema } from '../../medusa/sqlite-medusa.ts'
import { zeusSchema } from '../../zeus/sqlite-zeus.ts'

/** Raise it with every change of a schema. */
const schemaVersion = 2
/** A file of it is raised to the present one when it is opened. */
const schemaVersionBefore = 1
/** Of a file whose metadata was moved to engines: programs that know nothing of that refuse it as well. */
const movedVersion = -1
/** `NDFS`: what tells our file from any other SQLite file. */
const applicationId = 0x4e_44_46_53

/**
 * Where a store stands. Two files of one lineage with the same number of changes hold the same: the lineage is new when a
 * store is made, and when it is restored.
 */
export interface StorePosition {
  readonly lineage: string
  /** Requests that changed something, since the store was made. */
  readonly changes: number
  /** When the last of them was made: milliseconds since 1970, 0 before the first. */
  readonly changedAt: number
}

/** Opens the file, or makes it. `:memory:` is one that ends with the object. */
export function openStoreDatabase(file: string, clusterId: string): Database.Database {
  let database: Database.Database | undefined
  try {
    database = new Database(file, { timeout: 0 })
    database.pragma('locking_mode = EXCLUSIVE')
    // Before anything is changed: a stranger's file is left as it is.
    const isNew = checkSchema(database, file)
    database.pragma('journal_mode = WAL')
    // In WAL mode FULL syncs the log at each commit: what is committed survives a power cut.
    database.pragma('synchronous = FULL')
    // The worker does it, between two batches.
    database.pragma('wal_autocheckpoint = 0')
    database.pragma('cache_size = -65536')
    // What that does not hold is read where the system has it: half the processor time of looking up rows at random in a million.
    database.pragma('mmap_size = 1073741824')
    // A log that grew large in a burst gives its space back.
    database.pragma('journal_size_limit = 67108864')
    if (isNew) create(database, clusterId)
    checkCluster(database, file, clusterId)
    if (database.pragma('user_version', { simple: true }) !== schemaVersion) addPosition(database)
    return database
  } catch (error) {
    database?.close()
    throw error instanceof Database.SqliteError ? cannotOpen(file, error) : error
  }
}

function checkSchema(database: Database.Database, file: string): boolean {
  const version = database.pragma('user_version', { simple: true })
  const application = database.pragma('application_id', { simple: true })
  const isEmpty = database.prepare('SELECT 1 FROM sqlite_master').get() === undefined
  if (isEmpty && version === 0 && application === 0) return true
  if (application !== applicationId)
    throw new NdfsError('REFUSED', `Cannot open ${file}: it is not a store of NDFS. Move it away`, { file })
  if (version === movedVersion)
    throw new NdfsError(
      'REFUSED',
      `Cannot open ${file}: its metadata was moved to engines, and lives on there. What it holds is old, and would destroy what was written since`,
      { file },
    )
  if (version !== schemaVersion && version !== schemaVersionBefore)
    throw new NdfsError(
      'REFUSED',
      `Cannot open ${file}: its format is version ${String(version)}, and this NDFS knows version ${schemaVersion}. ` +
        'Use the NDFS that wrote it',
      { file, version },
    )
  return false
}

function create(database: Database.Database, clusterId: string): void {
  database.transaction(() => {
    database.exec(zeusSchema)
    database.exec(medusaSchema)
    database.exec('CREATE TABLE store (cluster TEXT NOT NULL)')
    database.prepare('INSERT INTO store VALUES (?)').run(clusterId)
    database.pragma(`application_id = ${applicationId}`)
    addPosition(database)
  })()
}

/** What version 2 has and version 1 had not. A new file goes the same way, so that the two can't differ. */
const addPosition = (database: Database.Database): void =>
  database.transaction(() => {
    database.exec(`
      ALTER TABLE store ADD COLUMN lineage TEXT NOT NULL DEFAULT '';
      ALTER TABLE store ADD COLUMN changes INTEGER NOT NULL DEFAULT 0;
      ALTER TABLE store ADD COLUMN changed_at INTEGER NOT NULL DEFAULT 0;
    `)
    beginLineage(database)
    database.pragma(`user_version = ${schemaVersion}`)
  })()

export function beginLineage(database: Database.Database): void {
  database.exec('UPDATE store SET lineage = lower(hex(randomblob(8)))')
}

export function positionOf(database: Database.Database): StorePosition {
  const position = database
    .prepare<[], StorePosition>('SELECT lineage, changes, changed_at AS changedAt FROM store')
    .get()
  assert(position, 'a store without its one row')
  return position
}

/** The file is never opened again when it resolves: what it held is at `places` from now on. In one transaction, durable. */
export function markMoved(database: Database.Database, places: unknown): void {
  database.transaction(() => {
    database.exec('CREATE TABLE moved (places TEXT NOT NULL)')
    database.prepare('INSERT INTO moved VALUES (?)').run(JSON.stringify(places))
    database.pragma(`user_version = ${movedVersion}`)
  })()
}

/** Where the metadata was moved that a store's file held; undefined where it was not, or there is no such file, or none that can be read. */
export function movedPlacesIn(file: string): unknown {
  if (!existsSync(file)) return undefined
  try {
    const database = new Database(file, { readonly: true })
    try {
      if (database.pragma('user_version', { simple: true }) !== movedVersion) return undefined
      const moved = database.prepare<[], { places: string }>('SELECT places FROM moved').get()
      assert(moved, 'a store that was moved, and not whereto')
      return JSON.parse(moved.places)
    } finally {
      database.close()
    }
  } catch (error) {
    if (error instanceof Database.SqliteError) return undefined
    throw error
  }
}

function checkCluster(database: Database.Database, file: string, clusterId: string): void {
  const { cluster } = database.prepare<[], { cluster: string }>('SELECT cluster FROM store').get() ?? {}
  if (cluster !== clusterId)
    throw new NdfsError(
      'REFUSED',
      `Cannot open ${file}: it belongs to cluster ${cluster}, and this is cluster ${clusterId}. ` +
        'Use the directory of this cluster',
      { file, cluster },
    )
}

function cannotOpen(file: string, error: InstanceType<typeof Database.SqliteError>): NdfsError {
  const inUse = error.code.startsWith('SQLITE_BUSY') || error.code.startsWith('SQLITE_LOCKED')
  const facts = { file, sqlite: error.code }
  if (inUse)
    return new NdfsError(
      'IN_USE',
      `Cannot open ${file}: another process has it open. End that one first`,
      facts,
    )
  return new NdfsError('DISK_FAILED', `Cannot open ${file}: ${messageOf(error)}`, facts, { cause: error })
}
