import assert from 'node:assert/strict'
import { test } from 'node:test'
import { World } from '../world.ts'
import { FailedDisks } from './failed-disks.ts'

/** A file on a disk of n1, whose operations the checker sees; `faults`: what it found. */
async function begun(fail: { kind: string; code: string }) {
  const world = new World({ seed: 1 })
  const checker = new FailedDisks()
  const faults: string[] = []
  const disk = world.disk('n1')
  disk.observer = {
    began: (process, kind, path) => {
      const fault = checker.began(process, kind, path, world.now)
      if (fault !== undefined) faults.push(fault)
    },
    failed: (process, kind, path, code) => checker.failed(process, kind, path, code, world.now),
  }
  const { files } = world.platform('n1')
  const fileOn = (path: string) =>
    world.play(async () => {
      await files.makeDirectory(path)
      return files.open(`${path}/file`, { create: true })
    })
  const file = await fileOn('/disks/flash')
  const other = await fileOn('/disks/hdd')
  disk.onOperation = ({ kind, path }) =>
    kind === fail.kind && path.startsWith('/disks/flash') ? { fail: fail.code } : undefined
  return { world, file, other, faults, calm: () => (disk.onOperation = () => undefined) }
}

test('I6: after a failed sync nothing more is written to the disk, other disks go on', async () => {
  const { world, file, other, faults, calm } = await begun({ kind: 'sync', code: 'EIO' })
  await world.play(() => file.write([Buffer.from('a')], 0))
  await assert.rejects(
    world.play(() => file.sync()),
    { code: 'EIO' },
  )
  calm()
  await world.play(() => other.write([Buffer.from('a')], 0))
  await world.play(() => file.read(Buffer.alloc(1), 0))
  assert.deepEqual(faults, [])
  await world.play(() => file.write([Buffer.from('b')], 0))
  assert.equal(faults.length, 1)
  assert.match(faults[0], /n1\/1 began a write of .disks.flash.file, though a sync of .* failed with EIO/)
})

test('I6: what was under way may end, and another life of the process may begin', async () => {
  const { world, file, faults, calm } = await begun({ kind: 'write', code: 'EIO' })
  const both = world.play(() =>
    Promise.allSettled([file.write([Buffer.from('a')], 0), file.write([Buffer.from('b')], 1)]),
  )
  assert.deepEqual(
    (await both).map(({ status }) => status),
    ['rejected', 'rejected'],
  )
  calm()
  world.kill('n1')
  const { files } = world.platform('n1')
  const again = await world.play(() => files.open('/disks/flash/file', { writable: true }))
  await world.play(() => again.write([Buffer.from('c')], 0))
  assert.deepEqual(faults, [])
})

test('I6: a write that finds no room is no failure of the disk', async () => {
  const { world, file, faults, calm } = await begun({ kind: 'write', code: 'ENOSPC' })
  await assert.rejects(
    world.play(() => file.write([Buffer.from('a')], 0)),
    { code: 'ENOSPC' },
  )
  calm()
  await world.play(() => file.write([Buffer.from('b')], 0))
  assert.deepEqual(faults, [])
})
