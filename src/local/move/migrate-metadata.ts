/**
 * `ndfs migrate-metadata`: from a store to engines (docs/decisions/0020).
 *
 *  1. Nothing of the cluster runs meanwhile, and the store's file is held, so that no store begins.
 *  2. The store counts until its file says that its metadata was moved, in one transaction; the engines count from when they hold the key
 *     `cluster`, which is set after that. So at no moment can both be used.
 *  3. Interrupted before that, the cluster can be started as it was, or the command given again; in between, only the latter, which then
 *     needs a moment; after it, the engines are what `ndfs up` starts on.
 *
 * The store's copy on a second disk is put aside before the store's file is marked: `ndfs store restore` would bring it back.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type Database from 'better-sqlite3'
import { NdfsError } from '../../base/errors.ts'
import type { EnginesPlaces } from '../../open-stores.ts'
import type { Platform } from '../../platform/platform.ts'
import type { ClusterValue } from '../../zeus/zeus.ts'
import { isConfigFile, readConfigFile, storeConfigOf } from '../config-file/config-file.ts'
import { existingCluster, layoutOf } from '../layout.ts'
import type { Output } from '../local.ts'
import { readEnginesFile, readStoreConfig, type StoreConfig } from '../node-config.ts'
import { copyIn, namePath } from '../store/copy-files.ts'
import { refuseRunning } from '../store/restore-store.ts'
import { markMoved, movedPlacesIn, openStoreDatabase } from '../store/store-database.ts'
import { endMove, type MovedMetadata, openPlace } from './move-metadata.ts'
import { StoredMetadata } from './stored-metadata.ts'

export interface MigrateOptions {
  /** The directory of a cluster of this machine, or the YAML configuration of the node beside the store. */
  readonly from: { readonly dir: string } | { readonly config: string }
  readonly engines: string
}

export interface MigratedMetadata {
  /** Absent where the move was made before, and only its last step was missing, or none. */
  readonly moved?: MovedMetadata
}

export async function migrateMetadata(
  options: MigrateOptions,
  platform: Platform,
  output: Output,
): Promise<MigratedMetadata> {
  const { files } = platform
  const { zookeeper, cassandra } = await readEnginesFile(files, options.engines)
  const wish: EnginesPlaces = { zookeeper, cassandra }
  if ('config' in options.from) {
    const { config } = options.from
    if (!isConfigFile(config))
      throw new NdfsError('REFUSED', `Cannot read ${config}: a node's configuration is a YAML file`, {
        path: config,
      })
    return migrateStore(storeConfigOf(config, await readConfigFile(files, config)), wish, platform, output)
  }
  const layout = layoutOf(options.from.dir)
  const lock = await files.lock(layout.dir)
  if (lock === undefined) throw running(layout.dir)
  try {
    await refuseRunning(layout, platform, 'move the metadata')
    await existingCluster(files, layout)
    return await migrateStore(await readStoreConfig(files, layout.store.config), wish, platform, output)
  } finally {
    await lock.release()
  }
}

async function migrateStore(
  { dir, cluster: { id }, copy }: StoreConfig,
  wish: EnginesPlaces,
  platform: Platform,
  output: Output,
): Promise<MigratedMetadata> {
  const file = join(dir, 'store.db')
  const lock = await platform.files.lock(dir)
  if (lock === undefined) throw running(dir)
  try {
    if (!existsSync(file))
      throw new NdfsError('NOT_FOUND', `Cannot move the metadata: there is no ${file}.`, { file })
    const before = movedPlacesIn(file) as EnginesPlaces | undefined
    if (before !== undefined) {
      await endMove(before, id, platform)
      return {}
    }
    const database = openStoreDatabase(file, id)
    try {
      return { moved: await move(database, id, copy?.folder, wish, platform, output) }
    } finally {
      database.close()
    }
  } finally {
    await lock.release()
  }
}

async function move(
  database: Database.Database,
  cluster: string,
  copyFolder: string | undefined,
  wish: EnginesPlaces,
  platform: Platform,
  output: Output,
): Promise<MovedMetadata> {
  const from = new StoredMetadata(database)
  const place = await openPlace(wish, from.cluster ?? madeNow(cluster, platform), platform, output)
  try {
    return await place.fill(from, async () => {
      if (copyFolder !== undefined) await putCopyAside(copyFolder, platform)
      markMoved(database, wish)
      output.line("The store's file says that its metadata was moved: it is never used again.")
    })
  } finally {
    await place.close()
  }
}

async function putCopyAside(folder: string, { files }: Platform): Promise<void> {
  if (copyIn(folder) === undefined) return
  await files.rename(namePath(folder), `${namePath(folder)}.moved`)
  await files.syncDirectory(folder)
}

const madeNow = (id: string, { clock }: Platform): ClusterValue => ({
  id,
  createdAt: Math.round(clock.wallTime()),
})

const running = (dir: string): NdfsError =>
  new NdfsError(
    'IN_USE',
    `Cannot move the metadata: the store, or \`ndfs up\`, still runs in ${dir}. End all nodes, and then the store.`,
    { dir },
  )
