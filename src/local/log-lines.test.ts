import assert from 'node:assert/strict'
import { appendFile, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { nodePlatform } from '../platform/node-platform.ts'
import { lastLines, LogFollower, readableLine } from './log-lines.ts'

const { clock } = nodePlatform({ level: 'silent' })

async function aLog(t: TestContext, text: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'ndfs-log-'))
  t.after(() => rm(folder, { recursive: true }))
  const path = join(folder, 'n1.log')
  await writeFile(path, text)
  return path
}

test('a line of the log is readable, and what is no JSON stays as it is', () => {
  const line = JSON.stringify({
    level: 'warn',
    time: '2026-01-02T08:03:20.123Z',
    node: 'n1',
    vdisk: 7,
    name: 'vms/disk1',
    msg: 'A copy was bad.',
  })
  assert.equal(readableLine('n1', line), '08:03:20 n1     warn  A copy was bad.  vdisk=7  name=vms/disk1')
  assert.equal(readableLine('store', 'Error: x'), '         store  Error: x')
  assert.equal(readableLine('store', '{broken'), '         store  {broken')
})

test('a log is followed from a place on, over a cut letter and a file that begins anew', async (t) => {
  const path = await aLog(t, 'old\n')
  const lines: string[] = []
  const follower = new LogFollower(path, 4, clock, (line) => lines.push(line))
  const seen = async (count: number): Promise<void> => {
    while (lines.length < count) await clock.sleep(10)
  }
  const letter = Buffer.from('ä\nb')
  await appendFile(path, letter.subarray(0, 1))
  await clock.sleep(150)
  await appendFile(path, letter.subarray(1))
  await seen(1)
  await truncate(path, 0)
  await clock.sleep(150)
  await appendFile(path, 'c\n')
  await seen(2)
  await appendFile(path, 'end')
  await follower.stop()
  assert.deepEqual(lines, ['ä', 'bc', 'end'])
})

test('the last lines of a process are those after its start', async (t) => {
  const path = await aLog(t, 'before\none\ntwo\nthree\n')
  assert.deepEqual(await lastLines('n1', path, 7, 2), ['         n1     two', '         n1     three'])
  assert.deepEqual(await lastLines('n1', path, 17, 2), ['         n1     ree'])
  assert.deepEqual(await lastLines('n1', `${path}.none`, 0, 2), [])
})
