/**
 * The one SQLite file of the machine's store. Zeus and Medusa lie in it side by side, so that one sync serves both.
 *
 * It is opened by one process alone: in exclusive mode SQLite itself refuses a second one, also where the directory's
 * lock does not reach (another network namespace).
 */
import Database from 'better-sqlite3'
import { messageOf, NdfsError } from '../../base/errors.ts'
import { medusaSchema } from '../../medusa/sqlite-medusa.ts'
import { zeusSchema } from '../../zeus/sqlite-zeus.ts'

/** Raise it with every change of a schema. */
const schemaVersion = 1
/** `NDFS`: what tells our file from any other SQLite file. */
const applicationId = 0x4e_44_46_53

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
    // A log that grew large in a burst gives its space back.
    database.pragma('journal_size_limit = 67108864')
    if (isNew) create(database, clusterId)
    checkCluster(database, file, clusterId)
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
  if (version !== schemaVersion)
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
    database.pragma(`user_version = ${schemaVersion}`)
  })()
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
