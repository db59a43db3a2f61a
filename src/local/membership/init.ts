/** `ndfs init`: the first machine of a new cluster. */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { NdfsError, hasCode } from '../../base/errors.ts'
import { takeName } from '../../joining.ts'
import type { Platform } from '../../platform/platform.ts'
import { clusterKey, type ClusterValue, type Zeus } from '../../zeus/zeus.ts'
import { type ConfigFile, storesOf } from '../config-file/config-file.ts'
import { makeStoreFile } from '../format-disk.ts'
import { syncFoldersAbove } from '../layout.ts'
import { readClusterKey } from '../node-config.ts'
import { newToken } from '../token.ts'
import { newInvitation, usualInvitation, withStores } from './invite.ts'
import {
  begin,
  finish,
  type Member,
  type MembershipOptions,
  newClusterId,
  refuseForeignSecrets,
  withMembership,
  writeSecrets,
} from './membership.ts'
import { confirmFormat, disksToFormat, formatDisks } from './new-disks.ts'

export interface Initiated {
  readonly cluster: string
  /** By which the next machine joins. */
  readonly token: string
}

export function initCluster({ file, confirm }: MembershipOptions, platform: Platform): Promise<Initiated> {
  return withMembership(file, 'init', platform, async (config, begun) => {
    const { files, chance } = platform
    if (config.cluster.id !== undefined && config.cluster.id !== begun?.cluster)
      throw new NdfsError(
        'REFUSED',
        `Cannot make a cluster: ${file} names one already, ${config.cluster.id}. Join it, or take the id out.`,
        { path: file },
      )
    if (config.zeus.store !== undefined && config.zeus.store.dir === undefined)
      throw new NdfsError(
        'REFUSED',
        `Cannot make a cluster: ${file} has no zeus.store.dir, and the store is made on the first machine.`,
        { path: file },
      )
    await refuseForeignSecrets(files, config, begun)
    const blank = await disksToFormat(files, config, begun?.cluster)
    await confirmFormat(blank, confirm)
    const member = await begin(platform, config, 'init', newClusterId(chance), begun)
    await writeSecrets(files, config, { key: chance.bytes(32).toString('hex'), token: newToken(chance) })
    await formatDisks(platform, blank, member.cluster)
    const key = await readClusterKey(files, config.cluster.keyFile)
    const token = await withNewStores(config, member, key, platform, async (zeus) => {
      await writeCluster(zeus, config, member, platform)
      const api = config.listen.http
      return newInvitation(zeus, { ...usualInvitation, cluster: member.cluster, key, api }, platform)
    })
    await finish(platform, file, config, member)
    return { cluster: member.cluster, token }
  })
}

/** A store is made here, and runs only as long as it is needed: from then on `ndfs store` runs it. */
async function withNewStores<T>(
  config: ConfigFile,
  { cluster }: Member,
  key: Buffer,
  platform: Platform,
  work: (zeus: Zeus) => Promise<T>,
): Promise<T> {
  const dir = config.zeus.store?.dir
  if (dir === undefined)
    return withStores(storesOf(config), cluster, key, platform, ({ zeus }) => work(zeus), true)
  await mkdir(dir, { recursive: true })
  await makeStoreFile(dir, cluster)
  await syncFoldersAbove(platform.files, dir)
  const { runStore } = await import('../store/store-process.ts')
  const socketPath = join(dir, 'store.sock')
  const store = await runStore({ platform, dir, mustExist: true, socketPath, clusterId: cluster, key })
  try {
    const address = `unix:${socketPath}`
    return await withStores({ kind: 'store', address }, cluster, key, platform, ({ zeus }) => work(zeus))
  } finally {
    await store.close()
  }
}

/** Zeus is this cluster's from now on, and no other's. */
async function writeCluster(
  zeus: Zeus,
  { node }: ConfigFile,
  { cluster, machine }: Member,
  { clock }: Platform,
): Promise<void> {
  const now = Math.round(clock.wallTime())
  const value: ClusterValue = { id: cluster, createdAt: now }
  await zeus.set(clusterKey, value, 0).catch(async (error: unknown) => {
    if (!hasCode(error, 'CONFLICT')) throw error
    const there = (await zeus.get(clusterKey))?.value as ClusterValue | undefined
    if (there?.id === cluster) return
    throw new NdfsError(
      'REFUSED',
      `Cannot make a cluster: Zeus is that of the cluster ${there?.id} already. Join that one, or name another place for Zeus.`,
      { cluster: there?.id },
    )
  })
  await takeName(zeus, node, machine, now)
}
