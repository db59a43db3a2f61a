import assert from 'node:assert/strict'
import { closeSync, openSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { decodeControl, encodeControl } from '../../base/control.ts'
import { hasCode } from '../../base/errors.ts'
import { GiB } from '../../base/units.ts'
import type { Owner } from '../../zeus/zeus.ts'
import { makeStoreFile } from '../format-disk.ts'
import { layoutOf, openOrMakeCluster } from '../layout.ts'
import { noteThisProcess } from '../processes.ts'
import { CopyFiles, copyIn } from './copy-files.ts'
import { copyFolderIn, copySmallFiles } from './copy-folder.ts'
import { restoreStore } from './restore-store.ts'
import { StoreBatches } from './store-batch.ts'
import { openStoreDatabase, positionOf } from './store-database.ts'
import { testPlatform, withDirectory } from './store-for-tests.ts'
import { WriteAheadLog } from './write-ahead-log.ts'

const request = (kind: string, asks: unknown) => ({ kind, body: encodeControl(asks) })
const claim = (vdisk: number) =>
  request('zeus.claim', { vdisk, by: { node: 'n1', incarnation: 'a' }, reason: 'no-service', atLeast: 0 })
const answerOf = <T>(batches: StoreBatches, kind: string, asks: unknown): T => {
  const [outcome] = batches.run([request(kind, asks)])
  assert.ok(outcome instanceof Uint8Array)
  return decodeControl<T>(outcome)
}

/** A cluster that nothing runs in, with a store that has seen some changes, and its copy elsewhere. */
async function stand(directory: string) {
  const layout = layoutOf(join(directory, 'cluster'))
  await testPlatform.files.makeDirectory(layout.dir)
  const disks = [{ tier: 'flash', capacityBytes: GiB }] as const
  const options = { dir: layout.dir, nodes: 2, disks }
  const noFormat = async (): Promise<void> => undefined
  const { cluster } = await openOrMakeCluster(layout, options, testPlatform, noFormat, makeStoreFile)
  const file = join(layout.store.folder, 'store.db')
  const database = openStoreDatabase(file, cluster.clusterId)
  const batches = new StoreBatches(database)
  batches.run(
    [
      claim(1),
      claim(1),
      claim(2),
      request('zeus.next', { counter: 'vdisk' }),
      request('zeus.open-session', { node: 'n1', incarnation: 'a', json: '{}' }),
    ],
    { wallTime: 1_700_000_000_000 },
  )
  const folder = copyFolderIn(join(directory, 'two'), cluster.clusterId)
  const copy = new CopyFiles(folder, cluster.clusterId)
  assert.ok(new WriteAheadLog(database).freeze())
  const source = openSync(file, 'r')
  copy.make(source, positionOf(database))
  copy.close()
  // After the copy: what a restored store must not give again.
  batches.run([claim(1), request('zeus.next', { counter: 'vdisk' })])
  database.close()
  closeSync(source)
  await copySmallFiles(testPlatform.files, layout, folder)
  const restore = (force = false) =>
    restoreStore({ dir: layout.dir, from: join(directory, 'two'), force }, testPlatform)
  const loseStore = (): void => {
    for (const name of readdirSync(layout.store.folder))
      if (name.startsWith('store.db')) rmSync(join(layout.store.folder, name))
  }
  return { layout, cluster, file, folder, restore, loseStore }
}

test('I4: what a restored store grants lies above all that can have been granted before', () =>
  withDirectory(async (directory) => {
    const { cluster, file, restore, loseStore } = await stand(directory)
    loseStore()
    const { position, files } = await restore()
    assert.deepEqual([position.changes, position.changedAt, files], [5, 1_700_000_000_000, []])
    const database = openStoreDatabase(file, cluster.clusterId)
    assert.notEqual(positionOf(database).lineage, position.lineage)
    const batches = new StoreBatches(database)
    const { sessions } = answerOf<{ sessions: unknown[] }>(batches, 'zeus.sessions', {})
    assert.deepEqual(sessions, [])
    // The copy knew of epochs 2 and 1, and of the counter's first number.
    for (const vdisk of [1, 2, 3]) {
      const [outcome] = batches.run([claim(vdisk)])
      assert.ok(outcome instanceof Uint8Array)
      const { owner } = decodeControl<{ owner: Owner }>(outcome)
      assert.ok(owner.epoch >= 2 + 8192 && owner.epoch < 10_000, `epoch ${owner.epoch}`)
    }
    assert.ok(answerOf<{ number: number }>(batches, 'zeus.next', { counter: 'vdisk' }).number > 1_000_000)
    database.close()
  }))

test('restored once more, it grants what lies above that', () =>
  withDirectory(async (directory) => {
    const { cluster, file, folder, restore, loseStore } = await stand(directory)
    loseStore()
    await restore()
    const first = openStoreDatabase(file, cluster.clusterId)
    const copy = new CopyFiles(folder, cluster.clusterId)
    const source = openSync(file, 'r')
    assert.ok(new WriteAheadLog(first).freeze())
    copy.make(source, positionOf(first))
    copy.close()
    first.close()
    closeSync(source)
    loseStore()
    await restore()
    const database = openStoreDatabase(file, cluster.clusterId)
    const [outcome] = new StoreBatches(database).run([claim(1)])
    assert.ok(outcome instanceof Uint8Array)
    assert.ok(decodeControl<{ owner: Owner }>(outcome).owner.epoch >= 2 * 8192)
    database.close()
  }))

test('a store that is there is kept, and replaced only where that was asked for', () =>
  withDirectory(async (directory) => {
    const { file, restore } = await stand(directory)
    const before = readFileSync(file)
    await assert.rejects(restore(), (error) => hasCode(error, 'IN_USE') && /--force/.test(error.message))
    assert.deepEqual(readFileSync(file), before)
    const { kept } = await restore(true)
    assert.ok(kept)
    assert.deepEqual(readFileSync(join(kept, 'store.db')), before)
  }))

test('while anything of the cluster runs nothing is restored', () =>
  withDirectory(async (directory) => {
    const { layout, restore, loseStore } = await stand(directory)
    loseStore()
    await testPlatform.files.makeDirectory(layout.node('n2').folder)
    await noteThisProcess(testPlatform.files, layout.node('n2').process)
    await assert.rejects(
      restore(),
      (error) => hasCode(error, 'IN_USE') && /n2 still runs/.test(error.message),
    )
    assert.deepEqual(
      readdirSync(layout.store.folder).filter((name) => name.startsWith('store.db')),
      [],
    )
  }))

test('a copy that is damaged is not restored, and one that is cut off before the end is found to be', () =>
  withDirectory(async (directory) => {
    const { layout, folder, restore, loseStore } = await stand(directory)
    loseStore()
    const copy = copyIn(folder)
    assert.ok(copy)
    truncateSync(copy.file, readFileSync(copy.file).length - 4096)
    await assert.rejects(restore(), (error) => hasCode(error, 'DISK_FAILED'))
    writeFileSync(copy.file, 'no store')
    await assert.rejects(restore(), (error) => hasCode(error, 'REFUSED', 'DISK_FAILED'))
    assert.ok(!readdirSync(layout.store.folder).includes('store.db'))
  }))

test('the small files of a directory that was lost come back with the store', () =>
  withDirectory(async (directory) => {
    const { layout, restore } = await stand(directory)
    const key = readFileSync(layout.key)
    rmSync(layout.dir, { recursive: true })
    const { files } = await restore()
    assert.deepEqual(files, ['ndfs.json', 'cluster.key', 'token'])
    assert.deepEqual(readFileSync(layout.key), key)
  }))
