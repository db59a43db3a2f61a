/**
 * Where the copy of the store lies: on another disk than the store, as the system tells disks apart (`st_dev`).
 *
 *   given with --store-copy DIR    DIR/store-copy-CLUSTER; kept for later starts; refused where DIR is on the store's own disk
 *   given nothing                  in the folder of the first of the nodes' disks that is on another one: flash first
 *   no such disk                   no copy, and status says so
 *
 * Two file systems of one physical disk look like two: whoever partitions a disk knows it, and NDFS can't.
 *
 * Beside the copy lie the small files of the cluster's directory: with them, and it, a cluster whose directory was lost with its disk
 * starts again.
 */
import { mkdir, readdir, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { NdfsError } from '../../base/errors.ts'
import type { Files } from '../../platform/platform.ts'
import type { Cluster, Layout } from '../layout.ts'

export const copyFolderIn = (dir: string, clusterId: string): string => join(dir, `store-copy-${clusterId}`)

export interface CopyPlace {
  readonly folder: string
  /** Whether a person chose it: then it is not left for another. */
  readonly given: boolean
}

/** `before`: where it was until now. */
export async function chooseCopyFolder(
  layout: Layout,
  cluster: Cluster,
  wish: string | undefined,
  before: CopyPlace | undefined,
): Promise<CopyPlace | undefined> {
  const storeDisk = await deviceOf(layout.store.folder)
  if (wish !== undefined) {
    await mkdir(wish, { recursive: true })
    if ((await deviceOf(wish)) === storeDisk)
      throw new NdfsError(
        'REFUSED',
        `Cannot keep the copy of the store in ${wish}: that is on the same disk as the store, in ${layout.store.folder}. ` +
          'Name a folder on another one with --store-copy.',
        { folder: wish },
      )
    return { folder: copyFolderIn(wish, cluster.clusterId), given: true }
  }
  if (before?.given === true) return before
  const folders = diskFolders(layout, cluster)
  const others: string[] = []
  for (const folder of folders) {
    const device = await deviceOf(folder)
    if (device !== undefined && device !== storeDisk) others.push(copyFolderIn(folder, cluster.clusterId))
  }
  // Where it was before it stands already.
  const folder = others.find((one) => one === before?.folder) ?? others.at(0)
  return folder === undefined ? undefined : { folder, given: false }
}

/** Of all nodes' disks, flash first. */
export const diskFolders = (layout: Layout, cluster: Cluster): string[] =>
  (['flash', 'hdd'] as const).flatMap((tier) =>
    cluster.nodes.flatMap(({ id, disks }) =>
      disks.filter((disk) => disk.tier === tier).map((disk) => layout.node(id).disk(disk.id)),
    ),
  )

/** Without them no process of the cluster starts. They never change once the cluster is made. */
const smallFiles = (layout: Layout): readonly string[] => [layout.cluster, layout.key, layout.token]
const ownersEyesOnly = 0o600

export async function copySmallFiles(files: Files, layout: Layout, folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  for (const path of smallFiles(layout)) {
    const bytes = await files.readWhole(path)
    if (bytes) await files.replaceWhole(join(folder, basename(path)), bytes, ownersEyesOnly)
  }
}

/** Puts back those that are missing. Resolves to their names. */
export async function restoreSmallFiles(files: Files, layout: Layout, folder: string): Promise<string[]> {
  const restored: string[] = []
  for (const path of smallFiles(layout)) {
    if ((await files.readWhole(path)) !== undefined) continue
    const bytes = await files.readWhole(join(folder, basename(path)))
    if (bytes === undefined)
      throw new NdfsError(
        'NOT_FOUND',
        `Cannot restore ${path}: it is not there, and not in ${folder} either. Put it back from a backup.`,
        { path },
      )
    await files.replaceWhole(path, bytes, ownersEyesOnly)
    restored.push(basename(path))
  }
  return restored
}

/** A folder that holds a copy, or one in which such a folder lies; `undefined` where neither is so. */
export async function copyFolderAt(path: string): Promise<string | undefined> {
  const names: readonly string[] = await readdir(path).catch(() => [])
  if (names.includes('copy.json')) return path
  const inside = names.find((name) => name.startsWith('store-copy-'))
  return inside === undefined ? undefined : join(path, inside)
}

async function deviceOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).dev
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
