import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { backupName, type BackupEntry, encodeEntry, fileVersion } from '../backup-file.ts'
import { thisRelease } from '../base/formats.ts'
import type { DiskId, NodeId } from '../base/ids.ts'
import { GiB } from '../base/units.ts'
import { formatKey } from '../cluster-format.ts'
import { openDisk } from '../disk/folder-disk.ts'
import type { FormatValue } from '../zeus/zeus.ts'
import { formatClusterDisk } from './format-disk.ts'
import { layoutOf, openOrMakeCluster } from './layout.ts'
import { configVersion, type LocalNodeConfig } from './node-config.ts'
import { loopback } from './ports.ts'
import { rebuildMetadata } from './rebuild-metadata.ts'
import { testPlatform, withDirectory } from './store/store-for-tests.ts'
import { openStoreDatabase } from './store/store-database.ts'
import { StoredMetadata } from './move/stored-metadata.ts'
import { replaceJson } from './versioned-file.ts'

/** A cluster of two nodes whose store is gone. */
async function stand(directory: string) {
  const { files } = testPlatform
  const layout = layoutOf(join(directory, 'cluster'))
  await files.makeDirectory(layout.dir)
  const disks = [{ tier: 'flash', capacityBytes: GiB }] as const
  const options = { dir: layout.dir, nodes: 2, disks }
  const noStore = async (): Promise<void> => undefined
  const { cluster } = await openOrMakeCluster(
    layout,
    options,
    testPlatform,
    formatClusterDisk(testPlatform),
    noStore,
  )
  for (const { id, block, disks } of cluster.nodes) {
    const there = disks.map((disk) => ({ ...disk, path: layout.node(id).disk(disk.id) }))
    const address = `${loopback}:9`
    const config: LocalNodeConfig = {
      version: configVersion,
      cluster: { id: cluster.clusterId, keyFile: layout.key },
      ...{ node: id, block, dir: layout.node(id).folder, storeSocket: layout.storeSocket },
      listen: { http: address, peer: address, nbd: address, nfs: address },
      ...{ nbdSocket: layout.node(id).nbdSocket, tokenFile: layout.token, disks: there },
      ...{ cacheBytes: 1, writeWaitMaxMs: 1 },
    }
    await replaceJson(files, layout.node(id).config, config)
  }
  /** Of a format; undefined: of before there were any. */
  const layBackup = async (node: string, takenAt: number, format?: number, version = fileVersion) => {
    const [disk] = cluster.nodes.find(({ id }) => id === node)!.disks
    const path = layout.node(node).disk(disk.id)
    const opened = await openDisk(testPlatform, {
      ...{ path, node: node as NodeId, cluster: cluster.clusterId, disk: disk.id as DiskId },
    })
    const nodes = { n1: { version: '0.1.0', oldest: 1, newest: 1 } }
    const keys: BackupEntry[] = [
      ...(format === undefined
        ? []
        : [{ kind: 'key' as const, key: formatKey, value: { format, nodes } satisfies FormatValue }]),
      { kind: 'key', key: 'node/n1', value: {} },
    ]
    const entries: BackupEntry[] = [{ kind: 'begin', version, cluster: cluster.clusterId, takenAt }, ...keys]
    const bytes = [...entries, { kind: 'end' as const, entries: entries.length }].flatMap(encodeEntry)
    const file = await opened.create(backupName(takenAt), 0, 'guest')
    await file.write(bytes, 0)
    await file.close()
    await opened.close()
  }
  const rebuild = () =>
    rebuildMetadata({ dir: layout.dir, force: false, withoutDisks: false }, testPlatform, {
      line: () => undefined,
      event: () => undefined,
    })
  const keyOf = (key: string): unknown => {
    const database = openStoreDatabase(join(layout.store.folder, 'store.db'), cluster.clusterId)
    try {
      return new StoredMetadata(database).keys().find((one) => one.key === key)?.value
    } finally {
      database.close()
    }
  }
  const isUntouched = (): boolean =>
    !existsSync(join(layout.store.folder, 'rebuilding')) && !existsSync(join(layout.store.folder, 'store.db'))
  return { layBackup, rebuild, keyOf, isUntouched }
}

test('a rebuild is refused where a backup is of a newer format than the release serves, also where another backup seems newer', () =>
  withDirectory(async (directory) => {
    const { layBackup, rebuild, isUntouched } = await stand(directory)
    await layBackup('n1', 1000, thisRelease.newest + 1)
    await layBackup('n2', 2000, thisRelease.newest)
    await assert.rejects(rebuild(), {
      code: 'REFUSED',
      message: new RegExp(`the cluster's format is ${thisRelease.newest + 1}. Install a newer release`),
      facts: {
        clusterFormat: thisRelease.newest + 1,
        oldest: thisRelease.oldest,
        newest: thisRelease.newest,
      },
    })
    assert.ok(isUntouched())
  }))

test('a rebuild is refused where the file of a backup is of a newer version', () =>
  withDirectory(async (directory) => {
    const { layBackup, rebuild, isUntouched } = await stand(directory)
    await layBackup('n1', 1000, thisRelease.newest, fileVersion + 1)
    await layBackup('n2', 2000, thisRelease.newest)
    await assert.rejects(rebuild(), { code: 'REFUSED', message: /is of version 2, and this release reads/ })
    assert.ok(isUntouched())
  }))

test('a rebuilt cluster has the format of its backups, with the releases that its nodes had', () =>
  withDirectory(async (directory) => {
    const { layBackup, rebuild, keyOf } = await stand(directory)
    const format = thisRelease.oldest
    await layBackup('n1', 1000, format)
    await layBackup('n2', 2000, format)
    await rebuild()
    assert.deepEqual(keyOf(formatKey), {
      format,
      nodes: { n1: { version: '0.1.0', oldest: 1, newest: 1 } },
    })
  }))

test('a cluster that is rebuilt without a backup has the newest format; a backup of before there were formats is refused', () =>
  withDirectory(async (directory) => {
    const none = await stand(join(directory, 'none'))
    await none.rebuild()
    assert.deepEqual(none.keyOf(formatKey), { format: thisRelease.newest, nodes: {} })
    const old = await stand(join(directory, 'old'))
    await old.layBackup('n1', 1000)
    await assert.rejects(old.rebuild(), { code: 'REFUSED', message: /format is 1. Install an older release/ })
    assert.ok(old.isUntouched())
  }))
