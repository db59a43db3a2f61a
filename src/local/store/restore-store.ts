/**
 * `ndfs store restore`: puts the copy of the store in the place of one that was lost.
 *
 *  1. Nothing of the cluster runs meanwhile: no owner holds what an older state knows nothing of, and no message of one is on its way.
 *  2. Until the last rename nothing has happened; after it all has. What was there is kept beside it.
 *  3. No epoch, and no number of a counter, is given again that was given before, though the copy may not know of it: all go on from
 *     above whatever can have been given (`epochJump`). Sessions are over.
 *
 * What may be missing: nothing that was answered, where the copy was in step (store-copy.ts) when the store was lost; where it was
 * not, what was changed after its last change. How the store stood can't be known from the copy alone: status said so.
 */
import { existsSync } from 'node:fs'
import { copyFile, mkdir, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { NdfsError } from '../../base/errors.ts'
import type { Platform } from '../../platform/platform.ts'
import { epochFloorCounter } from '../../zeus/sqlite-zeus.ts'
import { existingCluster, layoutOf, readCluster, type Cluster, type Layout } from '../layout.ts'
import { readStoreConfig } from '../node-config.ts'
import { runningProcess } from '../processes.ts'
import { copyIn } from './copy-files.ts'
import { copyFolderAt, diskFolders, restoreSmallFiles } from './copy-folder.ts'
import {
  beginLineage,
  movedPlacesIn,
  openStoreDatabase,
  positionOf,
  type StorePosition,
} from './store-database.ts'

/**
 * More than can have been granted of one vDisk after the copy was made: a takeover takes a second, so this is two hours of nothing else;
 * and few enough that epochs last for a hundred restores.
 */
const epochJump = 8192
/** What a record of the log has room for: see vdisk-log.ts, which gives each epoch 4,096 episodes. */
const epochMax = 2 ** 20 - 1
const counterJump = 1_000_000

export interface Restored {
  readonly from: string
  readonly position: StorePosition
  /** Small files of the directory that were put back with it. */
  readonly files: readonly string[]
  /** Where the store's files went that were there. */
  readonly kept?: string
}

export interface RestoreOptions {
  readonly dir: string
  /** A folder with a copy; left out, it is looked for where the cluster keeps it. */
  readonly from?: string
  /** Also where the store's file is there. */
  readonly force: boolean
}

export async function restoreStore(options: RestoreOptions, platform: Platform): Promise<Restored> {
  const { files } = platform
  const layout = layoutOf(options.dir)
  await mkdir(layout.dir, { recursive: true })
  const lock = await files.lock(layout.dir)
  if (lock === undefined) throw running('ndfs up', layout)
  try {
    await refuseRunning(layout, platform)
    const target = join(layout.store.folder, 'store.db')
    if (movedPlacesIn(target) !== undefined)
      throw new NdfsError(
        'REFUSED',
        `Cannot restore the store: the metadata of ${layout.dir} was moved to engines, and lives on there. A copy of the store is older.`,
        { file: target },
      )
    const folder = await folderOf(options, layout, platform)
    const restoredFiles = await restoreSmallFiles(files, layout, folder)
    const cluster = await existingCluster(files, layout)
    await refuseRunning(layout, platform)
    if (existsSync(target) && !options.force)
      throw new NdfsError(
        'IN_USE',
        `Cannot restore the store: ${target} is there. If it can't be used, restore with --force, which keeps it beside the restored one.`,
        { file: target },
      )
    const made = await makeReady(folder, cluster, layout, platform)
    const kept = await moveAside(layout, platform)
    await files.rename(made.file, target)
    await rm(made.work, { recursive: true, force: true })
    return {
      from: folder,
      position: made.position,
      files: restoredFiles,
      ...(kept === undefined ? {} : { kept }),
    }
  } finally {
    await lock.release()
  }
}

async function folderOf({ from }: RestoreOptions, layout: Layout, { files }: Platform): Promise<string> {
  const cluster = await readCluster(files, layout)
  const config = await readStoreConfig(files, layout.store.config).catch(() => undefined)
  const places =
    from !== undefined
      ? [from]
      : [...(config?.copy ? [config.copy.folder] : []), ...(cluster ? diskFolders(layout, cluster) : [])]
  for (const place of places) {
    const folder = await copyFolderAt(place)
    if (folder !== undefined) return folder
  }
  throw new NdfsError(
    'NOT_FOUND',
    `Cannot find a copy of the store in ${places.join(', ') || layout.dir}. Name the folder that holds one with --from.`,
    { dir: layout.dir },
  )
}

/** In a folder of its own, beside the place that it is to take: whole, verified, and above all numbers that were given. */
async function makeReady(
  folder: string,
  { clusterId }: Cluster,
  layout: Layout,
  { files }: Platform,
): Promise<{ file: string; work: string; position: StorePosition }> {
  const copy = copyIn(folder)
  if (copy === undefined)
    throw new NdfsError('NOT_FOUND', `Cannot restore the store from ${folder}: no copy in it was finished.`, {
      folder,
    })
  const work = join(layout.store.folder, 'restoring')
  await rm(work, { recursive: true, force: true })
  await mkdir(work, { recursive: true })
  const file = join(work, 'store.db')
  await copyFile(copy.file, file)
  // What was committed last may stand in its log alone.
  if (existsSync(`${copy.file}-wal`)) await copyFile(`${copy.file}-wal`, `${file}-wal`)
  const database = openStoreDatabase(file, clusterId)
  let position: StorePosition
  try {
    const [found] = database.pragma('integrity_check') as { integrity_check: string }[]
    if (found.integrity_check !== 'ok')
      throw new NdfsError(
        'DISK_FAILED',
        `Cannot restore the store from ${copy.file}: ${found.integrity_check}. Look for another copy.`,
        { file: copy.file },
      )
    position = positionOf(database)
    raiseNumbers(database)
  } finally {
    database.close()
  }
  const bytes = await files.open(file, { writable: true })
  await bytes.sync().finally(() => bytes.close())
  return { file, work, position }
}

/** Of a store that is to take the place of one that knew more: nothing is granted or counted again. */
export function raiseNumbers(database: ReturnType<typeof openStoreDatabase>): void {
  const number = (sql: string): number => database.prepare<[], { n: number | null }>(sql).get()?.n ?? 0
  const highest = Math.max(
    number(`SELECT max(json_extract(json, '$.epoch')) AS n FROM zeus_keys WHERE key GLOB 'owner/*'`),
    number('SELECT max(epoch) AS n FROM medusa_partitions'),
    number(`SELECT max(number) AS n FROM zeus_counters WHERE name = '${epochFloorCounter}'`),
  )
  const floor = highest + epochJump
  if (floor > epochMax - epochJump)
    throw new NdfsError(
      'REFUSED',
      `Cannot restore the store once more: its epochs are used up (${highest} of ${epochMax}). ` +
        'Copy the vDisks to a new cluster.',
      { highest },
    )
  database.transaction(() => {
    database
      .prepare('UPDATE zeus_counters SET number = number + ? WHERE name <> ?')
      .run(counterJump, epochFloorCounter)
    database
      .prepare(
        `INSERT INTO zeus_counters (name, number) VALUES (?, ?)
         ON CONFLICT (name) DO UPDATE SET number = excluded.number`,
      )
      .run(epochFloorCounter, floor)
    database.exec(`DELETE FROM zeus_keys WHERE key GLOB 'session/*'`)
    beginLineage(database)
  })()
}

export async function moveAside(layout: Layout, { files, clock }: Platform): Promise<string | undefined> {
  const names = (await readdir(layout.store.folder)).filter((name) => name.startsWith('store.db'))
  if (names.length === 0) return undefined
  const kept = join(layout.store.folder, `before-restore-${Math.round(clock.wallTime())}`)
  await mkdir(kept)
  // The file first: one without its log would be an older store, and started as if nothing were missing.
  for (const name of names.sort()) await rename(join(layout.store.folder, name), join(kept, name))
  await files.syncDirectory(kept)
  await files.syncDirectory(layout.store.folder)
  return kept
}

/** IN_USE where a process of the cluster runs. `what` can't be done then. */
export async function refuseRunning(
  layout: Layout,
  { files }: Platform,
  what = 'restore the store',
): Promise<void> {
  const cluster = await readCluster(files, layout)
  const places = [
    ['ndfs up', layout.upProcess],
    ['its store', layout.store.process],
    ...(cluster?.nodes ?? []).map(({ id }) => [id, layout.node(id).process]),
  ]
  for (const [name, path] of places)
    if ((await runningProcess(files, path)) !== undefined) throw running(name, layout, what)
}

const running = (which: string, { dir }: Layout, what = 'restore the store'): NdfsError =>
  new NdfsError(
    'IN_USE',
    `Cannot ${what} of ${dir}: ${which} still runs. Owners of vDisks would go on by what the new store does not know. ` +
      `End all with \`ndfs down --dir ${dir}\` first.`,
    { dir },
  )
