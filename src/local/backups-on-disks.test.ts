import assert from 'node:assert/strict'
import { test } from 'node:test'
import { backupFolder, backupName, type BackupEntry, encodeEntry, fileVersion } from '../backup-file.ts'
import type { Release } from '../base/formats.ts'
import { formatKey } from '../cluster-format.ts'
import type { Disk, DiskFile } from '../disk/disk.ts'
import { readBackupsOnDisks } from './backups-on-disks.ts'

const release: Release = { version: '0.3.0', oldest: 2, newest: 3 }

function diskWith(path: string, takenAt: number, format: number, cut = 0): Disk {
  const begin: BackupEntry = { kind: 'begin', version: fileVersion, cluster: 'c1', takenAt }
  const key: BackupEntry = { kind: 'key', key: formatKey, value: { format, nodes: {} } }
  const all = Buffer.concat([begin, key, { kind: 'end' as const, entries: 2 }].flatMap(encodeEntry))
  const bytes = all.subarray(0, all.length - cut)
  const file = {
    name: backupName(takenAt),
    read: (target: Uint8Array, at: number) => Promise.resolve(bytes.copy(target, 0, at)),
    close: () => Promise.resolve(),
  } as unknown as DiskFile
  return {
    path,
    list: () => Promise.resolve([`${backupFolder}/${file.name}`]),
    open: () => Promise.resolve(file),
  } as unknown as Disk
}

test('names come from the newest backup that is whole, and the format is the highest of all: clocks may stand anyhow', async () => {
  const disks = [diskWith('/a', 1000, 3), diskWith('/b', 3000, 3, 1), diskWith('/c', 2000, 2)]
  const { newest, damaged, format } = await readBackupsOnDisks(disks, 'c1', release)
  assert.deepEqual([newest?.disk.path, newest?.takenAt], ['/c', 2000])
  assert.deepEqual(damaged, [`/b/${backupName(3000)}`])
  assert.equal(format, 3)
})

test('a release that serves the format no more is refused as one that does not yet', async () => {
  const refused = async (disk: Disk, message: RegExp) =>
    assert.rejects(readBackupsOnDisks([disk], 'c1', release), { code: 'REFUSED', message })
  await refused(diskWith('/a', 1000, 4), /format is 4. Install a newer release/)
  await refused(diskWith('/a', 1000, 1), /format is 1. Install an older release/)
})

test('without a backup the format is the newest that the release serves', async () => {
  assert.deepEqual(await readBackupsOnDisks([], 'c1', release), { damaged: [], format: 3 })
})
