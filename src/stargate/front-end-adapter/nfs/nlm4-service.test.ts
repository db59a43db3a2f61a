/** Locks as clients have them: two servers over one store, real connections, and clients with lock managers and port mappers of their own. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { nodePlatform } from '../../../platform/node-platform.ts'
import { LockWorld } from '../../file-locks/fixtures.test.ts'
import { type Faults, aDirectory, aFile, bytesOf } from '../../namespace/fixtures.test.ts'
import { createNamespace, createRoot } from '../../namespace/medusa-namespace.ts'
import type { InodeId, Namespace } from '../../namespace/namespace.ts'
import { defaultExportRules, Export, type ExportRules } from './export-rules.ts'
import { FileHandles } from './file-handle.ts'
import { LockManagers } from './lock-managers.ts'
import { LockWaiters } from './lock-waiters.ts'
import { createNfsServer, type NfsServer } from './nfs.ts'
import { decodeTestResult, type Nlm4Lock, type Nlm4Status } from './nlm4-messages.ts'
import { asking, call, cookie, LockingMachine, lockOf, statusOf, writeLock } from './nlm4-client-for-tests.ts'
import { clientOf, LockService } from './nlm4-service.ts'
import { encodeNsmNotice, nsm1Procedure, nsm1ProgramNumber } from './nsm1-protocol.ts'
import { StatusService } from './nsm1-service.ts'
import type { Caller } from './rpc-program.ts'
import type { Credentials } from './rpc.ts'
import type { Share, Shares } from './shares.ts'

const platform = nodePlatform({ level: 'silent' })
const key = Buffer.alloc(32, 'k')
const timeoutMs = 5000
const sys = (uid: number): Credentials => ({ flavour: 'sys', machine: 'c', uid, gid: uid, gids: [] })
const from = (host: string, uid = 0): Caller => ({
  ...{ host, port: 700, localHost: '127.0.0.1' },
  credentials: sys(uid),
})

class Stage {
  readonly locks = new LockWorld(5)
  readonly handles = new FileHandles(key)
  readonly namespace: Namespace
  readonly shares: Shares
  readonly #root: InodeId

  static async begin(rules: Partial<ExportRules> = {}): Promise<Stage> {
    const stage = new Stage({ ...defaultExportRules, ...rules })
    await createRoot(stage.locks.world.options())
    return stage
  }

  private constructor(rules: ExportRules) {
    const options = this.locks.world.options()
    this.#root = options.root
    this.namespace = createNamespace(options)
    const share = { name: 'vms', namespace: this.namespace, export: new Export(rules) } as unknown as Share
    this.shares = {
      exports: () => [{ name: 'vms', rules }],
      named: () => share,
      ofRoot: (root) => (root === this.#root ? share : undefined),
    }
  }

  async make(name: string, what = aFile): Promise<Buffer> {
    const { inode } = await this.namespace.create(this.#root, bytesOf(name), what)
    return this.handles.encode(this.#root, inode.id)
  }

  /** Without a server around it. */
  service(
    faults?: Faults,
    managers = new LockManagers({ platform }),
  ): LockService & { readonly waiters: LockWaiters; readonly status: StatusService } {
    const { shares, handles } = this
    const locks = this.locks.node('n1', faults)
    const { clock, chance, log } = platform
    const waiters = new LockWaiters({ ...{ locks, clock, chance, log }, tell: async () => 'later' })
    const status = new StatusService({ locks, waiters, shares })
    return Object.assign(new LockService({ locks, shares, handles, waiters, managers }), { waiters, status })
  }

  async server(t: TestContext, node: string, portMapperPort: number): Promise<[NfsServer, string]> {
    const { shares } = this
    const server = createNfsServer({ platform, shares, locks: this.locks.node(node), key, portMapperPort })
    t.after(() => server.close())
    return [server, await server.listen('127.0.0.9:0')]
  }
}

const exclusive = true
const locking = (lock: Nlm4Lock, block = false, state = 0) => ({
  ...{ cookie, exclusive, lock, block, state, reclaim: false },
})

async function until(isSo: () => boolean, what: string): Promise<void> {
  for (let tries = 0; !isSo(); tries++) {
    assert.ok(tries < 500, `not in 5 s: ${what}`)
    await sleep(10)
  }
}

test('clients of two servers have the same locks, and who waits is told by a call from where it has mounted', async (t) => {
  const stage = await Stage.begin()
  const [one, mapperPort] = await LockingMachine.start(platform, t, '127.0.0.2')
  const [two] = await LockingMachine.start(platform, t, '127.0.0.3', mapperPort)
  const [, near] = await stage.server(t, 'near', mapperPort)
  const [far, farAddress] = await stage.server(t, 'far', mapperPort)
  const handle = await stage.make('disk')
  const [ones, twos] = [await one.connect(near), await two.connect(farAddress)]

  const held = lockOf(handle, 'vm1', 1, 10n, 20n)
  assert.equal(await statusOf(asking(ones, held)), 'GRANTED')
  const wanted = lockOf(handle, 'vm2.example.com', 5, 15n)
  const tested = await call(twos, 'test', (writer) => {
    writer.bool(false)
    writeLock(writer, wanted)
  })
  assert.deepEqual(decodeTestResult(tested), {
    ...{ cookie, status: 'DENIED' },
    holder: { exclusive: true, svid: 1, owner: Buffer.from('1@vm1'), offset: 10n, length: 20n },
  })
  assert.equal(await statusOf(asking(twos, wanted)), 'DENIED')
  assert.equal(await statusOf(asking(twos, wanted, true)), 'BLOCKED')
  assert.equal(far.statistics().lockWaiters, 1)
  assert.equal(await statusOf(call(ones, 'unlock', (writer) => writeLock(writer, held))), 'GRANTED')
  await until(() => two.granted.length > 0, 'GRANTED')
  const [{ args, from: server }] = two.granted
  assert.deepEqual([args.lock, args.exclusive, server], [wanted, true, '127.0.0.9'])
  assert.equal(args.cookie.length, 8)
  await until(() => far.statistics().lockWaiters === 0, 'the waiter is gone')
  assert.equal(await statusOf(asking(ones, held)), 'DENIED')

  // The other form: the answer is a call.
  await asking(ones, lockOf(handle, 'vm1', 1, 0n, 2n), false, 'lockMsg')
  await until(() => one.results.length > 0, 'LOCK_RES')
  assert.deepEqual(one.results, [['lockRes', 'GRANTED']])

  // One that denies has nothing.
  one.answer = 'DENIED'
  assert.equal(await statusOf(asking(ones, held, true)), 'BLOCKED')
  assert.equal(await statusOf(call(twos, 'unlock', (writer) => writeLock(writer, wanted))), 'GRANTED')
  await until(() => one.granted.length > 0, 'GRANTED to the other')
  await sleep(100)
  assert.equal(await statusOf(asking(twos, wanted)), 'GRANTED')

  // It starts again, and says so.
  const notice = { name: 'VM2', state: 5 }
  const target = { program: nsm1ProgramNumber, version: 1, procedure: nsm1Procedure.notify }
  await ones.call(target, (writer) => encodeNsmNotice(writer, notice), timeoutMs)
  assert.equal(await statusOf(asking(ones, held)), 'DENIED')
  await twos.call(target, (writer) => encodeNsmNotice(writer, notice), timeoutMs)
  assert.equal(await statusOf(asking(ones, held)), 'GRANTED')
  assert.ok(far.statistics().callsByProcedure['NSM1.NOTIFY'] === 1)
})

test('a lock is for files that are there, and for who may read or write them', async () => {
  const stage = await Stage.begin()
  const service = stage.service()
  const file = await stage.make('file')
  const status = async (handle: Buffer, caller = from('127.0.0.2')): Promise<Nlm4Status> =>
    (await service.lock(locking(lockOf(handle)), caller)).status
  assert.equal(await status(Buffer.from('nonsense')), 'STALE_FH')
  assert.equal(await status(stage.handles.encode(77 as InodeId, 4 as InodeId)), 'STALE_FH')
  assert.equal(await status(await stage.make('dir', aDirectory)), 'FAILED')
  const secret = await stage.make('secret', { ...aFile, mode: 0o600 })
  assert.equal(await status(secret, from('127.0.0.2', 9)), 'FAILED')
  assert.equal(await status(secret, from('127.0.0.2', 1)), 'GRANTED')
  assert.equal(await status(file, from('10.0.0.1')), 'FAILED')
  assert.equal(await status(file), 'GRANTED')
  await stage.namespace.remove(1 as InodeId, bytesOf('file'))
  assert.equal(await status(file), 'STALE_FH')
  const unlocked = await service.unlock({ cookie, lock: lockOf(file) }, from('127.0.0.2'))
  assert.deepEqual(unlocked, { cookie, status: 'GRANTED' })
  const readOnly = await Stage.begin({ readOnly: true })
  const there = readOnly.handles.encode(
    1 as InodeId,
    (await readOnly.namespace.create(1 as InodeId, bytesOf('f'), aFile)).inode.id,
  )
  const tested = (exclusively: boolean) =>
    readOnly.service().test({ cookie, exclusive: exclusively, lock: lockOf(there) }, from('127.0.0.2'))
  assert.deepEqual([(await tested(true)).status, (await tested(false)).status], ['ROFS', 'GRANTED'])
})

test('what clients may ask for, and is not there, is refused', async () => {
  const stage = await Stage.begin()
  const service = stage.service()
  const handle = await stage.make('file')
  const shared = { cookie, caller: 'pc', handle, owner: cookie, mode: 0, access: 3, reclaim: false }
  assert.deepEqual(service.share(shared), { cookie, status: 'FAILED', sequence: 0 })
  assert.equal(service.unshare(shared).status, 'GRANTED')
  assert.equal(service.granted(locking(lockOf(handle))).status, 'DENIED')
  const { status } = service
  assert.deepEqual(
    [status.stat(), status.mon()],
    [
      { done: false, state: 1 },
      { done: false, state: 1 },
    ],
  )
  assert.deepEqual([status.unmon(), status.unmonAll()], [1, 1])
})

test('a client without a status monitor loses all by FREE_ALL, from its own address only', async () => {
  const stage = await Stage.begin()
  const service = stage.service()
  const handle = await stage.make('file')
  const [pc, other] = [from('127.0.0.2'), from('127.0.0.3')]
  assert.equal((await service.nmLock(locking(lockOf(handle, 'pc')), pc)).status, 'GRANTED')
  const waits = locking(lockOf(handle, 'vm'), true, 3)
  assert.equal((await service.lock(waits, other)).status, 'BLOCKED')
  await service.freeAll({ name: 'pc', state: 0 }, other)
  await service.freeAll({ name: 'vm', state: 0 }, pc)
  await service.freeAll({ name: 'pc', state: 0 }, from('10.1.1.1'))
  assert.equal((await service.nmLock(locking(lockOf(handle, 'pc2')), pc)).status, 'DENIED')
  assert.equal(service.waiters.count, 1)
  // A notice of the state in which it waits ends nothing.
  await service.status.notify({ name: 'vm', state: 3 }, other)
  assert.equal(service.waiters.count, 1)
  await service.status.notify({ name: 'vm', state: 5 }, other)
  assert.equal(service.waiters.count, 0)
  await service.freeAll({ name: 'pc.example', state: 0 }, pc)
  assert.equal((await service.nmLock(locking(lockOf(handle, 'pc2')), pc)).status, 'GRANTED')
  service.waiters.close()
})

test('UNLOCK and CANCEL end what their owner has asked for before, though its LOCK has more to read', async () => {
  const stage = await Stage.begin()
  const service = stage.service()
  const lock = lockOf(await stage.make('file'))
  const [pc, other] = [from('127.0.0.2'), from('127.0.0.3')]
  const free = async (): Promise<void> => {
    assert.equal((await service.lock(locking(lock), other)).status, 'GRANTED')
    assert.equal((await service.unlock({ cookie, lock }, other)).status, 'GRANTED')
  }
  const granted = service.lock(locking(lock), pc)
  await service.unlock({ cookie, lock }, pc)
  assert.equal((await granted).status, 'GRANTED')
  await free()
  await service.lock(locking(lock), other)
  const blocked = service.lock(locking(lock, true), pc)
  await service.cancel(locking(lock, true), pc)
  assert.equal((await blocked).status, 'BLOCKED')
  assert.equal(service.waiters.count, 0)
  await service.unlock({ cookie, lock }, other)
  await free()
})

test('the second form calls back only who may use an export, and few at once', async () => {
  const stage = await Stage.begin()
  const called: string[] = []
  const ends: (() => void)[] = []
  const call = ({ host }: Caller): Promise<void> =>
    new Promise((end) => {
      called.push(host)
      ends.push(end)
    })
  const service = stage.service(undefined, { call } as unknown as LockManagers)
  const answer = (host: string) => service.answer('testRes', { cookie, status: 'STALE_FH' }, from(host))
  answer('10.0.0.1')
  assert.deepEqual(called, [])
  for (let i = 0; i < 20; i++) answer('127.0.0.2')
  assert.equal(called.length, 16)
  ends[0]()
  await sleep(1)
  for (let i = 0; i < 2; i++) answer('127.0.0.3')
  assert.deepEqual(called.slice(16), ['127.0.0.3'])
})

test('while metadata is out of reach clients are told to ask again, in the words that make them do so', async () => {
  const stage = await Stage.begin()
  const service = stage.service({ onChange: () => 'not made, unknown' })
  const handle = await stage.make('file')
  const caller = from('127.0.0.2')
  const lock = lockOf(handle)
  assert.equal((await service.lock(locking(lock), caller)).status, 'DENIED_GRACE_PERIOD')
  assert.equal((await service.unlock({ cookie, lock }, caller)).status, 'DENIED_GRACE_PERIOD')
  assert.equal((await service.cancel(locking(lock, true), caller)).status, 'DENIED_NOLOCKS')
})

test('a client is its address and its name without the domain', () => {
  const at = { host: '10.0.0.7' }
  for (const [name, own] of [
    ['vm1', 'vm1'],
    ['VM1.example.com', 'vm1'],
    ['10.0.0.7', '10.0.0.7'],
    ['x'.repeat(1024), 'x'.repeat(255)],
    ['', ''],
  ])
    assert.deepEqual(clientOf(name, at), { host: '10.0.0.7', name: own })
})
