import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { nodePlatform } from '../platform/node-platform.ts'
import {
  endProcess,
  factsOfStat,
  isAlive,
  nameOfProcess,
  noteThisProcess,
  runningProcess,
} from './processes.ts'
import { replaceJson } from './versioned-file.ts'

const { clock, files } = nodePlatform({ level: 'silent' })

/** A process that lives until it is ended; it is deaf to TERM where `deaf`. */
async function aProcess(t: TestContext, deaf = false): Promise<number> {
  const program = `${deaf ? "process.on('SIGTERM', () => {});" : ''} setInterval(() => {}, 1000); console.log('up')`
  const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.after(() => child.kill('SIGKILL'))
  await once(child.stdout, 'data')
  assert.ok(child.pid)
  return child.pid
}

test('a process is known by its id and the instant of its start', async (t) => {
  const pid = await aProcess(t)
  const name = await nameOfProcess(pid)
  assert.ok(name)
  assert.ok(await isAlive(name))
  assert.equal(await isAlive({ ...name, startTicks: name.startTicks - 1 }), false)
  assert.equal(await isAlive({ ...name, boot: 'another' }), false)
})

test('a process that got the id of one that is gone is not ended', async (t) => {
  const pid = await aProcess(t)
  const name = await nameOfProcess(pid)
  assert.ok(name)
  assert.equal(await endProcess({ ...name, startTicks: name.startTicks - 1 }, clock), 'was gone')
  assert.ok(await isAlive(name))
})

test('a process ends in order, and by force where it is deaf or frozen', async (t) => {
  const end = async (pid: number): Promise<string> => {
    const name = await nameOfProcess(pid)
    assert.ok(name)
    const ending = await endProcess(name, clock, 300)
    assert.equal(await isAlive(name), false)
    return ending
  }
  assert.equal(await end(await aProcess(t)), 'in order')
  assert.equal(await end(await aProcess(t, true)), 'killed')
  const frozen = await aProcess(t)
  process.kill(frozen, 'SIGSTOP')
  assert.equal(await end(frozen), 'killed')
})

test('what a process noted names it as long as it runs', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'ndfs-processes-'))
  t.after(() => rm(folder, { recursive: true }))
  const path = join(folder, 'process.json')
  assert.equal(await runningProcess(files, path), undefined)
  await noteThisProcess(files, path)
  const noted = await runningProcess(files, path)
  assert.equal(noted?.pid, process.pid)
  await replaceJson(files, path, { ...noted, startTicks: 1 })
  assert.equal(await runningProcess(files, path), undefined)
})

test('the name of a program may hold brackets and spaces', () => {
  const rest = `S ${Array.from({ length: 30 }, (_, index) => index + 4).join(' ')}`
  assert.deepEqual(factsOfStat(`12 (a) b (c)) ${rest}`), { state: 'S', startTicks: 22 })
})
