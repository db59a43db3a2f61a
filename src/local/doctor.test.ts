import assert from 'node:assert/strict'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { GiB, MiB } from '../base/units.ts'
import {
  doctor,
  freeSpaceFinding,
  hardOpenFilesLimitOf,
  nodeVersionFinding,
  openFilesFinding,
  processorsFinding,
  socketPathFinding,
  syncTimeFinding,
} from './doctor.ts'

test('the doctor calls a Node.js that is too old fatal', () => {
  assert.equal(nodeVersionFinding('20.20.2').state, 'fatal')
  assert.equal(nodeVersionFinding('22.12.0').state, 'fatal')
  assert.equal(nodeVersionFinding('22.13.0').state, 'ok')
  assert.equal(nodeVersionFinding('24.0.0').state, 'ok')
})

test('the doctor warns of a sync that is too fast to be true, of a slow one, and of memory', () => {
  assert.match(syncTimeFinding(2, 'other').text, /too fast to be true/)
  assert.equal(syncTimeFinding(2, 'other').state, 'warning')
  assert.equal(syncTimeFinding(100, 'other').state, 'ok')
  assert.equal(syncTimeFinding(30_000, 'other').state, 'warning')
  assert.match(syncTimeFinding(100, 'tmpfs').text, /lies in memory/)
})

test('the doctor measures space, socket paths and open files', () => {
  assert.deepEqual(
    [100 * MiB, 10 * GiB, 100 * GiB].map((free) => freeSpaceFinding(free, '/d').state),
    ['fatal', 'warning', 'ok'],
  )
  assert.equal(socketPathFinding('/d', 3).state, 'ok')
  const long = socketPathFinding(`/${'d'.repeat(100)}`, 3)
  assert.equal(long.state, 'fatal')
  assert.match(long.text, /bytes shorter/)
  assert.deepEqual(
    [256, 1024, 20_000].map((limit) => openFilesFinding(limit).state),
    ['fatal', 'warning', 'ok'],
  )
  assert.equal(
    hardOpenFilesLimitOf('Max open files            1024                 4096                 files'),
    4096,
  )
  assert.equal(
    hardOpenFilesLimitOf('Max open files            1024                 unlimited            files'),
    Infinity,
  )
  assert.deepEqual(
    [1, 2].map((count) => processorsFinding(count, 3).state),
    ['warning', 'ok'],
  )
})

test('each finding of the doctor on this machine says something, and a directory need not be there', async () => {
  const findings = await doctor(join(tmpdir(), 'ndfs-not-there', 'deeper'))
  assert.deepEqual(
    findings.map(({ check }) => check),
    ['node', 'processors', 'space', 'sync', 'socket-path', 'open-files'],
  )
  for (const { text } of findings) assert.match(text, /\.$/)
})
