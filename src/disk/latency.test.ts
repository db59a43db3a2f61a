import assert from 'node:assert/strict'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { HandClock } from '../platform/clock-for-tests.ts'
import { nodePlatform } from '../platform/node-platform.ts'
import type { Clock, File, Files } from '../platform/platform.ts'
import { latencyIntervalMs, LatencyMeter, medianOf } from './latency.ts'
import { selfTest } from './self-test.ts'

function stand() {
  const clock = new HandClock()
  const meter = new LatencyMeter(clock as unknown as Clock)
  const medians: number[] = []
  meter.onInterval = (median) => medians.push(median)
  const operation = async (ms: number, bytes = 4096): Promise<void> => {
    const { promise, resolve } = Promise.withResolvers<void>()
    const measured = meter.measure(bytes, promise)
    clock.moveTo(clock.time + ms)
    resolve()
    await measured
  }
  return { clock, meter, medians, operation }
}

const isAbout = (value: number | undefined, ms: number): void =>
  assert.ok(value !== undefined && value > 0.8 * ms && value < 1.25 * ms, `${value} is not about ${ms}`)

test('an interval says how long the median operation took, large ones by their size', async () => {
  const { clock, meter, medians, operation } = stand()
  for (let i = 0; i < 10; i++) await operation(4)
  for (let i = 0; i < 4; i++) await operation(500)
  // 4 MiB in 64 ms are 4 ms for each 256 KiB.
  for (let i = 0; i < 10; i++) await operation(64, 4 * 1024 * 1024)
  clock.moveTo(latencyIntervalMs)
  assert.equal(medians.length, 1)
  isAbout(medians[0], 4)
  isAbout(meter.medianMs, 4)
})

test('a disk that nobody uses is not measured, and sets no timer', async () => {
  const { clock, medians, operation } = stand()
  assert.equal(clock.timers.size, 0)
  for (let i = 0; i < 10; i++) await operation(1)
  clock.moveTo(3 * latencyIntervalMs)
  assert.equal(medians.length, 1)
  assert.equal(clock.timers.size, 0)
})

test('a few operations say nothing', async () => {
  const { clock, meter, medians, operation } = stand()
  for (let i = 0; i < 4; i++) await operation(900)
  clock.moveTo(2 * latencyIntervalMs)
  assert.deepEqual(medians, [])
  assert.equal(meter.medianMs, undefined)
})

test('an operation that does not end counts with its age: a disk that hangs is slow', () => {
  const { clock, meter, medians } = stand()
  void meter.measure(4096, new Promise(() => undefined))
  clock.moveTo(4 * latencyIntervalMs)
  assert.equal(medians.length, 4)
  isAbout(medians[3], 20_000)
  meter.stop()
  assert.equal(clock.timers.size, 0)
})

test('an operation without an answer is told after ten seconds, and only while it has none', async () => {
  const { clock, meter, operation } = stand()
  const told: number[] = []
  meter.onOverdue = () => told.push(clock.time)
  for (let i = 0; i < 4; i++) await operation(4_000)
  const { promise, resolve } = Promise.withResolvers<void>()
  const hanging = meter.watch(promise)
  clock.moveTo(27_000)
  assert.deepEqual(told, [26_000])
  assert.equal(meter.oldestMs, 11_000)
  resolve()
  await hanging
  clock.moveTo(60_000)
  assert.deepEqual(told, [26_000])
  assert.equal(meter.oldestMs, 0)
})

test('the median of some numbers is the one in the middle', () => {
  assert.equal(medianOf([]), undefined)
  assert.equal(medianOf([3]), 3)
  assert.equal(medianOf([9, 1, 5]), 5)
  assert.equal(medianOf([9, 1, 5, 7]), 5)
})

const { files, clock } = nodePlatform({ level: 'silent' })

test('a sound disk passes its test and keeps nothing of it; one that is slow, fails or lies does not', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'ndfs-self-test-'))
  t.after(() => rm(folder, { recursive: true }))
  const path = join(folder, 'test')
  assert.equal(await selfTest(files, clock, path, 10_000), undefined)
  assert.match(String(await selfTest(files, clock, path, -1)), /an operation took \d+ ms, and -1 ms would do/)
  const broken = (change: (file: File) => Partial<File>): Files => {
    const open: Files['open'] = async (...args) => {
      const file = await files.open(...args)
      return Object.assign(Object.create(file) as File, delegated(file), change(file))
    }
    return { ...files, open }
  }
  const failing = broken(() => ({ sync: () => Promise.reject(new Error('EIO: it fails')) }))
  assert.match(String(await selfTest(failing, clock, path, 10_000)), /it fails/)
  const lying = broken((file) => ({
    read: async (target, position) => {
      const count = await file.read(target, position)
      target[7] ^= 1
      return count
    },
  }))
  assert.match(String(await selfTest(lying, clock, path, 10_000)), /other bytes/)
  assert.deepEqual(await readdir(folder), [])
})

const delegated = (file: File): File => ({
  read: (target, position) => file.read(target, position),
  write: (buffers, position) => file.write(buffers, position),
  sync: () => file.sync(),
  size: () => file.size(),
  truncate: (bytes) => file.truncate(bytes),
  close: () => file.close(),
})
