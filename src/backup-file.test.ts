import assert from 'node:assert/strict'
import { test } from 'node:test'
import { backupName, type BackupEntry, encodeEntry, readBackup, wholeBackup } from './backup-file.ts'
import type { Epoch } from './base/ids.ts'
import type { DiskFile } from './disk/disk.ts'

const entries: BackupEntry[] = [
  { kind: 'begin', version: 1, cluster: 'c1', takenAt: 1_700_000_000_000 },
  { kind: 'key', key: 'container/vms', value: { copies: 2, createdAt: 1 } },
  {
    kind: 'rows',
    partition: { table: 'inode', key: '2' },
    epoch: 0 as Epoch,
    rows: [{ key: 'inode', value: Buffer.from('bytes') }],
  },
]

const fileOf = (bytes: Buffer): DiskFile =>
  ({
    name: backupName(1),
    read: (target: Uint8Array, at: number) => Promise.resolve(bytes.copy(target, 0, at)),
  }) as unknown as DiskFile

const bytesOf = (all: readonly BackupEntry[]): Buffer =>
  Buffer.concat(all.flatMap((entry) => encodeEntry(entry)))
const whole = bytesOf([...entries, { kind: 'end', entries: entries.length }])

test('a backup reads back entry by entry', async () => {
  const read: BackupEntry[] = []
  for await (const entry of readBackup(fileOf(whole))) read.push(entry)
  assert.equal(bytesOf(read).toString('hex'), whole.toString('hex'))
  assert.deepEqual(await wholeBackup(fileOf(whole), 'c1'), { takenAt: 1_700_000_000_000, format: 1 })
  assert.equal(await wholeBackup(fileOf(whole), 'c2'), undefined, "another cluster's")
})

test('a backup that was not finished, or has one other byte, is none', async () => {
  for (let at = 0; at < whole.length; at++) {
    assert.equal(await wholeBackup(fileOf(whole.subarray(0, at)), 'c1'), undefined, `cut to ${at}`)
    const changed = Buffer.from(whole)
    changed[at] ^= 1
    assert.equal(await wholeBackup(fileOf(changed), 'c1'), undefined, `byte ${at}`)
  }
})
