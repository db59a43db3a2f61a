import assert from 'node:assert/strict'
import { test } from 'node:test'
import { NdfsError } from '../../../base/errors.ts'
import type { Clock } from '../../../platform/platform.ts'
import { FileError, type InodeId } from '../../namespace/namespace.ts'
import { WriteTimes } from './write-times.ts'

const file = 2 as InodeId

function stage(): { times: WriteTimes; notes: number[]; second: () => void; fail: (error: Error) => void } {
  const notes: number[] = []
  let timers: (() => void)[] = []
  let failure: Error | undefined
  const clock = {
    wallTime: () => 5,
    after: (_: number, run: () => void) => {
      timers.push(run)
      return { cancel: () => undefined }
    },
  } as unknown as Clock
  const note = async (_: InodeId, { sizeBytes }: { sizeBytes: number }): Promise<void> => {
    if (failure !== undefined) throw failure
    notes.push(sizeBytes)
  }
  const second = (): void => {
    const due = timers
    timers = []
    for (const run of due) run()
  }
  return { times: new WriteTimes({ note }, clock), notes, second, fail: (error) => (failure = error) }
}

test('the first write is noted at once, what follows once a second, and then nothing', async () => {
  const { times, notes, second } = stage()
  await times.written(file, 1)
  assert.deepEqual(notes, [1])
  for (const size of [2, 3, 4]) await times.written(file, size)
  assert.deepEqual(notes, [1])
  second()
  assert.deepEqual(notes, [1, 4])
  second()
  second()
  assert.deepEqual(notes, [1, 4])
  await times.written(file, 5)
  assert.deepEqual(notes, [1, 4, 5])
})

test('a time that can not be noted fails no write', async () => {
  const { times, fail } = stage()
  fail(new FileError('STALE', 'gone'))
  await times.written(file, 1)
  fail(new NdfsError('UNAVAILABLE', 'away'))
  await times.written(4 as InodeId, 1)
  fail(new NdfsError('DAMAGED_METADATA', 'bad'))
  await times.written(6 as InodeId, 1)
  fail(new TypeError('a bug'))
  await assert.rejects(times.written(8 as InodeId, 1))
})
