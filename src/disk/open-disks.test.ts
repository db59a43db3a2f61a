import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { hasCode } from '../base/errors.ts'
import type { DiskId, NodeId } from '../base/ids.ts'
import { MiB } from '../base/units.ts'
import { nodePlatform } from '../platform/node-platform.ts'
import { formatDisk } from './folder-disk.ts'
import { openDisks } from './open-disks.ts'

const platform = nodePlatform({ level: 'silent' })
const cluster = 'c-test'

test('disks that are not there, or are others, are missing, and keep nobody from the rest; their folders stay as they are', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'ndfs-disks-'))
  const place = (id: string) => ({
    ...{ path: join(directory, id), node: 'n1' as NodeId, cluster, disk: id as DiskId },
  })
  const format = (id: string, others: { cluster?: string; disk?: DiskId } = {}) =>
    formatDisk(platform, { ...place(id), tier: 'flash', capacityBytes: 10 * MiB, ...others })
  try {
    await format('good')
    await mkdir(place('not-mounted').path)
    await format('of-another-cluster', { cluster: 'c-other' })
    await format('swapped', { disk: 'another' as DiskId })
    await writeFile(place('no-folder').path, '')
    const ids = ['no-such-folder', 'not-mounted', 'of-another-cluster', 'swapped', 'no-folder', 'good']
    const { disks, missing } = await openDisks(platform, ids.map(place))
    assert.deepEqual(
      disks.map(({ ref }) => ref.disk),
      ['good'],
    )
    assert.deepEqual(
      missing.map(({ id }) => id),
      ids.slice(0, -1),
    )
    for (const [i, why] of [
      /no superblock\. Is the file system mounted\?/,
      /no superblock/,
      /belongs to cluster c-other/,
      /is the disk another/,
      /ENOTDIR/,
    ].entries())
      assert.match(missing[i].reason, why)
    assert.equal(existsSync(place('no-such-folder').path), false)
    assert.deepEqual(await readdir(place('not-mounted').path), [])

    // A second process of the node is no reason to call its disks missing.
    await assert.rejects(openDisks(platform, [place('good')]), (error) => hasCode(error, 'IN_USE'))
    for (const disk of disks) await disk.close()
  } finally {
    await rm(directory, { recursive: true })
  }
})
