import assert from 'node:assert/strict'
import { test } from 'node:test'
import { NdfsError } from '../../../base/errors.ts'
import type { Clock } from '../../../platform/platform.ts'
import { FileError, type InodeId } from '../../namespace/namespace.ts'
import { WriteTimes } from './write-times.ts'

const file = 2 as InodeId

interface Stage {
  readonly times: WriteTimes
  readonly notes: number[]
  /** As they were noted, in milliseconds. */
  readonly noted: number[]
  readonly second: () => Promise<void>
  readonly fail: (error?: Error) => void
  readonly clockSays: (ms: number) => void
}

function stage(): Stage {
  const noted: number[] = []
  let now = 5
  const notes: number[] = []
  let timers: (() => void)[] = []
  let failure: Error | undefined
  const clock = {
    wallTime: () => now + 0.9,
    after: (_: number, run: () => void) => {
      timers.push(run)
      return { cancel: () => undefined }
    },
  } as unknown as Clock
  const note = async (
    _: InodeId,
    { sizeBytes, modifyTime }: { sizeBytes: number; modifyTime: bigint },
  ): Promise<void> => {
    if (failure !== undefined) throw failure
    notes.push(sizeBytes)
    noted.push(Number(modifyTime / 1_000_000n))
  }
  const second = async (): Promise<void> => {
    const due = timers
    timers = []
    for (const run of due) run()
    await new Promise((resolve) => setImmediate(resolve))
  }
  return {
    ...{ times: new WriteTimes({ note }, clock), notes, noted, second },
    fail: (error) => void (failure = error),
    clockSays: (ms) => void (now = ms),
  }
}

test('the first write is noted at once, what follows once a second, and then nothing', async () => {
  const { times, notes, second } = stage()
  await times.written(file, 1)
  assert.deepEqual(notes, [1])
  for (const size of [2, 3, 4]) await times.written(file, size)
  assert.deepEqual(notes, [1])
  await second()
  assert.deepEqual(notes, [1, 4])
  await second()
  await second()
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

test('what is noted is the time of the write: one that a client sets after it is newer', async () => {
  const { times, noted, second, clockSays } = stage()
  clockSays(1000)
  await times.written(file, 1)
  clockSays(1100)
  await times.written(file, 2)
  clockSays(2000)
  await second()
  assert.deepEqual(noted, [1000, 1100])
})

test('a time that could not be noted is noted when Medusa answers again', async () => {
  const { times, noted, second, fail, clockSays } = stage()
  clockSays(1000)
  fail(new NdfsError('UNAVAILABLE', 'away'))
  await times.written(file, 1)
  for (let i = 0; i < 3; i++) await second()
  assert.deepEqual(noted, [])
  fail(undefined)
  clockSays(9000)
  await second()
  assert.deepEqual(noted, [1000])
  await second()
  assert.deepEqual(noted, [1000])
})
