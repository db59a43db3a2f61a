import assert from 'node:assert/strict'
import { test } from 'node:test'
import { NdfsError } from '../../base/errors.ts'
import { MiB } from '../../base/units.ts'
import { TestClock } from './fixtures.test.ts'
import { SpaceWait, SpaceWaiting } from './space-wait.ts'

const none = new NdfsError('OUT_OF_SPACE', 'none')

class Place {
  readonly clock = new TestClock()
  readonly waiting = new SpaceWaiting()
  /** What making room is given back with, each time; it hangs where nothing is left of it. */
  readonly gains: number[] = []
  liveBytes = 1000
  isLacking = true
  made = 0
  readonly wait = new SpaceWait({
    clock: this.clock,
    waiting: this.waiting,
    lacking: () => (this.isLacking ? none : undefined),
    taken: () => ({ liveBytes: this.liveBytes, dead: 0 }),
    makeRoom: async () => {
      this.made++
      await this.clock.sleep(this.gains.length > 0 ? 100 : 1e9)
      this.liveBytes -= this.gains.shift() ?? 0
      this.isLacking = this.liveBytes >= 900
    },
    hear: () => Promise.resolve(),
  })
  answers: string[] = []

  write(bytes = 4096): void {
    const at = this.answers.push('none') - 1
    this.wait.wait(bytes, none).then(
      () => (this.answers[at] = 'room'),
      (error: unknown) => (this.answers[at] = error === none ? 'refused' : String(error)),
    )
  }
}

test('room is made once for all that wait, again while something is gained, and not for a while where nothing was', async () => {
  const place = new Place()
  place.gains.push(50, 50, 50)
  for (let i = 0; i < 3; i++) place.write()
  await place.clock.pass(150)
  assert.deepEqual(place.answers, ['none', 'none', 'none'])
  await place.clock.pass(150)
  assert.deepEqual(place.answers, ['none', 'none', 'none'])
  await place.clock.pass(150)
  assert.deepEqual([place.answers, place.made], [['room', 'room', 'room'], 3])

  place.isLacking = true
  place.liveBytes = 2000
  place.gains.push(0)
  place.write()
  await place.clock.pass(150)
  place.write()
  await place.clock.pass(4_000)
  assert.deepEqual([place.answers.slice(3), place.made], [['refused', 'refused'], 4])
  await place.clock.pass(2_000)
  place.gains.push(1_500)
  place.write()
  await place.clock.pass(150)
  assert.deepEqual([place.answers.slice(5), place.made], [['room'], 5])
})

test('where making room hangs who waits is refused after ten seconds, and who comes after that at once', async () => {
  const place = new Place()
  place.write()
  await place.clock.pass(9_000)
  place.write()
  await place.clock.pass(900)
  assert.deepEqual(place.answers, ['none', 'none'])
  await place.clock.pass(200)
  place.write()
  await place.clock.pass(1)
  assert.deepEqual(place.answers, ['refused', 'refused', 'refused'])
})

test('no more waits than leaves others room in memory, and nothing of a vDisk that is no longer served', async () => {
  const place = new Place()
  for (let i = 0; i < 3; i++) place.write(30 * MiB)
  await place.clock.pass(1)
  assert.deepEqual(place.answers, ['none', 'none', 'refused'])
  place.wait.end()
  place.write(4096)
  await place.clock.pass(1)
  // Who waited goes on, and is told by the vDisk.
  assert.deepEqual(place.answers, ['room', 'room', 'refused', 'refused'])
  assert.equal(place.waiting.bytes, 0)
})
