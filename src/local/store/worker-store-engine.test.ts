import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { decodeControl, encodeControl } from '../../base/control.ts'
import { hasCode } from '../../base/errors.ts'
import type { NdfsError } from '../../base/errors.ts'
import { openStoreDatabase } from './store-database.ts'
import { testPlatform, withDirectory } from './store-for-tests.ts'
import { WorkerStoreEngine } from './worker-store-engine.ts'

const { clock } = testPlatform
const set = (key: string, expected?: number) =>
  encodeControl({ key, json: '1', ...(expected === undefined ? {} : { expected }) })

function withEngine(body: (engine: WorkerStoreEngine, directory: string) => Promise<void>): Promise<void> {
  return withDirectory(async (directory) => {
    const engine = await WorkerStoreEngine.open(join(directory, 'store.db'), 'test', clock)
    await body(engine, directory).finally(() => engine.close())
  })
}

test('requests take effect, and are answered, in the order of the calls', () =>
  withEngine(async (engine) => {
    const answered: number[] = []
    const versions = await Promise.all(
      Array.from({ length: 600 }, async (_, i) => {
        const answer = await engine.run('zeus.set', set('a', i))
        answered.push(i)
        return decodeControl<{ version: number }>(answer).version
      }),
    )
    assert.deepEqual(
      versions,
      Array.from({ length: 600 }, (_, i) => i + 1),
    )
    assert.deepEqual(
      answered,
      versions.map((version) => version - 1),
    )
  }))

test('changes of Zeus are told with their revision, after they are durable', () =>
  withEngine(async (engine) => {
    const revisions: number[] = []
    engine.onZeusChanged = (revision) => revisions.push(revision)
    await engine.run('zeus.set', set('a'))
    await engine.run('zeus.get', encodeControl({ key: 'a' }))
    await engine.run('zeus.set', set('b'))
    assert.deepEqual(revisions, [2, 3])
  }))

test('I9: more than may wait is told to come back, and what waits is done', () =>
  withEngine(async (engine) => {
    const tries = await Promise.allSettled(
      Array.from({ length: 9000 }, () => engine.run('zeus.get', set('a'))),
    )
    const refused = tries.flatMap((tried) => (tried.status === 'rejected' ? [tried.reason as unknown] : []))
    assert.equal(refused.length, 9000 - 8192)
    assert.ok(refused.every((error) => hasCode(error, 'UNAVAILABLE')))
  }))

test('a file that can not be opened is said so', () =>
  withDirectory(async (directory) => {
    openStoreDatabase(join(directory, 'store.db'), 'another').close()
    await assert.rejects(
      WorkerStoreEngine.open(join(directory, 'store.db'), 'test', clock),
      (error) => hasCode(error, 'REFUSED') && /belongs to cluster another/.test(error.message),
    )
    await assert.rejects(
      WorkerStoreEngine.open(join(directory, 'nowhere', 'store.db'), 'test', clock),
      (error) => hasCode(error, 'DISK_FAILED'),
    )
  }))

test('I6: a worker that can not go on ends the engine, and every outcome is unknown', () =>
  withEngine(async (engine) => {
    const failures: NdfsError[] = []
    engine.onFailed = (error) => failures.push(error)
    // Bytes that no client sends: a bug somewhere, and nobody knows what it did.
    const bad = engine.run('zeus.open-session', encodeControl({ node: 'n1', incarnation: 'a', json: '{' }))
    const beside = engine.run('zeus.set', set('a'))
    for (const work of [bad, beside]) await assert.rejects(work, (error) => hasCode(error, 'UNAVAILABLE'))
    await assert.rejects(engine.run('zeus.set', set('b')), (error) => hasCode(error, 'UNAVAILABLE'))
    assert.equal(failures.length, 1)
  }))
