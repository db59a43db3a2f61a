import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { SerialByKey } from './serial.ts'

test('tasks of one key run one after the other, in order, also behind one that fails; those of others do not wait', async () => {
  const serial = new SerialByKey()
  const done: string[] = []
  const task = (name: string, turns: number) => async () => {
    for (let i = 0; i < turns; i++) await turn()
    done.push(name)
    if (name.startsWith('bad')) throw new Error(name)
    return name
  }
  const results = await Promise.allSettled([
    serial.run('a', task('a1', 3)),
    serial.run('a', task('bad a2', 1)),
    serial.run('a', task('a3', 0)),
    serial.run('b', task('b1', 1)),
  ])
  assert.deepEqual(done, ['b1', 'a1', 'bad a2', 'a3'])
  assert.deepEqual(
    results.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled', 'fulfilled'],
  )
  assert.equal(await serial.run('a', task('a4', 0)), 'a4')
})
