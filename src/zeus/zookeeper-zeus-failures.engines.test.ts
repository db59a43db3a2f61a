/**
 * What Zeus owes on ZooKeeper while servers are killed, frozen and without a quorum, while a node is frozen, and to users that may not.
 * Histories are recorded, and judged in the end.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { hasCode, NdfsError } from '../base/errors.ts'
import type { Epoch, Incarnation, NodeId, VDiskId } from '../base/ids.ts'
import { nodePlatform } from '../platform/node-platform.ts'
import { Engines } from '../../scripts/engines/engines.ts'
import { zooKeeperMode } from '../../scripts/engines/zookeeper.ts'
import { until } from './zeus-contract-suite.ts'
import type { Zeus } from './zeus.ts'
import { zooKeeperZeus, type ZooKeeperZeusOptions } from './zookeeper-zeus.ts'

const platform = nodePlatform({ level: 'silent' })
const { clock } = platform
const dir = await mkdtemp(join(tmpdir(), 'ndfs-zookeeper-'))
const engines = new Engines({ dir, cassandras: 0, basePort: 23850 })
const { zooKeepers, zooKeeperAddresses: servers } = engines
const first = 'aaaaaaaaaaaaaaaa' as Incarnation
const figure = (line: string): void => console.log(`figure: ${line}`)

before(() => engines.start())
after(async () => {
  for (const server of zooKeepers) server.signal('SIGCONT')
  await engines.end()
  await rm(dir, { recursive: true })
})

let stands = 0

/** Clients of an empty Zeus of their own. */
async function withClients(
  body: (client: (options?: Partial<ZooKeeperZeusOptions>) => Zeus, chroot: string) => Promise<void>,
): Promise<void> {
  const chroot = `/failures/${++stands}`
  const clients: Zeus[] = []
  const client = (options: Partial<ZooKeeperZeusOptions> = {}): Zeus => {
    const zeus = zooKeeperZeus({ servers, chroot, platform, ...options })
    clients.push(zeus)
    return zeus
  }
  try {
    await body(client, chroot)
  } finally {
    await Promise.all(clients.map((zeus) => zeus.close()))
  }
}

async function indexOf(mode: 'leader' | 'follower'): Promise<number> {
  for (;;) {
    const modes = await Promise.all(servers.map(zooKeeperMode))
    if (modes.every((found) => found !== undefined)) return modes.indexOf(mode)
    await clock.sleep(100)
  }
}

/** What one client asked for, one after the other, and what became of it. */
interface Asked<T> {
  readonly sentAt: number
  readonly endedAt: number
  readonly answer?: T
  readonly error?: unknown
}

async function asked<T>(work: () => Promise<T>): Promise<Asked<T>> {
  const sentAt = clock.now()
  try {
    const answer = await work()
    return { sentAt, endedAt: clock.now(), answer }
  } catch (error) {
    if (!(error instanceof NdfsError)) throw error
    return { sentAt, endedAt: clock.now(), error }
  }
}

const longest = (all: readonly Asked<unknown>[]): number =>
  Math.max(...all.map(({ sentAt, endedAt }) => endedAt - sentAt))

function allDifferent(values: readonly unknown[], what: string): void {
  assert.equal(new Set(values).size, values.length, `${what} twice: ${values.join(' ')}`)
}

interface Work {
  readonly calls: number
  /** Calls that ended with an error. */
  readonly failed: number
  /** Those of them whose key others had changed several times meanwhile, so that nobody can tell. */
  readonly unknown: number
  readonly longestMs: number
  /** Of the clients' sessions. */
  readonly lost: number
}

const toldOf = ({ calls, failed, unknown, longestMs, lost }: Work): string =>
  `${calls} calls, ${failed} failed (${unknown} of unknown outcome), the longest took ${longestMs} ms, ${lost} of 3 sessions lost`

/** Three clients change the same keys, claim the same vDisks and count, while `trouble` runs; then what they were told is judged. */
async function workDuring(trouble: () => Promise<void>): Promise<Work> {
  let result: Work = { calls: 0, failed: 0, unknown: 0, longestMs: 0, lost: 0 }
  await withClients(async (client) => {
    const clients = [client(), client(), client()]
    let lost = 0
    for (const [i, zeus] of clients.entries()) {
      const session = await zeus.openSession(`n${i}` as NodeId, first, {})
      session.onLost = () => lost++
    }
    const seen: { key: string; version: number; value: unknown }[] = []
    const state = new Map<string, number>()
    const watch = client().watch('', (key, now) => {
      if (key.startsWith('session/')) return
      assert.ok(now, `${key} is gone`)
      seen.push({ key, version: now.version, value: now.value })
      if (!key.startsWith('step/')) return
      state.set(key, (now.value as { step: number }).step)
      // The second is set after the first: what is reported together never shows it alone.
      clock.soon(() => {
        for (const i of clients.keys())
          assert.ok((state.get(`step/${i}/1`) ?? 0) >= (state.get(`step/${i}/2`) ?? 0), `order of step/${i}`)
      })
    })
    let over = false
    const sets: (Asked<number> & { key: string; value: string; client: number })[] = []
    const claims: (Asked<Epoch> & { vdisk: number })[] = []
    const counts: Asked<number>[] = []
    const workers = clients.map(async (zeus, i) => {
      for (let turn = 1; !over; turn++) {
        const [key, value] = [`shared/${turn % 3}`, `${i} ${turn}`]
        sets.push({ key, value, client: i, ...(await asked(() => zeus.set(key, value))) })
        const vdisk = (turn % 2) + 1
        const by = { node: `n${i}` as NodeId, incarnation: first }
        const claim = async () => (await zeus.claim(vdisk as VDiskId, by, 'no-service', 0 as Epoch)).epoch
        claims.push({ vdisk, ...(await asked(claim)) })
        counts.push(await asked(() => zeus.next('numbers')))
        for (const half of [1, 2]) {
          const step = `step/${i}/${half}`
          const done = await asked(() => zeus.set(step, { step: turn }))
          sets.push({ key: step, value: String(turn), client: i, ...done })
          if (done.error !== undefined) break
        }
      }
    })
    await trouble().finally(() => (over = true))
    await Promise.all(workers)
    await clients[0].set('end', true)
    await until(clock, () => seen.at(-1)?.key === 'end')
    watch.stop()

    const all = [...sets, ...claims, ...counts]
    for (const { error } of all) assert.ok(error === undefined || hasCode(error, 'TIMED_OUT', 'UNAVAILABLE'))
    for (const key of new Set(sets.map(({ key }) => key))) {
      const ofKey = sets.filter((set) => set.key === key)
      const versions = ofKey.flatMap(({ answer }) => (answer === undefined ? [] : [answer]))
      allDifferent(versions, `a version of ${key}`)
      const now = (await clients[1].get(key))?.version ?? 0
      assert.ok(Math.max(...versions) <= now, `an acknowledged change of ${key} is not there`)
      assert.ok(
        versions.length <= now && now <= ofKey.length,
        `${key}: ${versions.length} of ${ofKey.length} made, at ${now}`,
      )
      for (const i of clients.keys()) {
        const own = ofKey.filter((set) => set.client === i).flatMap(({ answer }) => answer ?? [])
        assert.deepEqual(
          own,
          [...own].sort((a, b) => a - b),
          `versions of ${key} fell`,
        )
      }
      const told = seen.filter((change) => change.key === key).map(({ version }) => version)
      assert.deepEqual(
        told,
        [...new Set(told)].sort((a, b) => a - b),
        `a watch saw versions of ${key} fall`,
      )
      assert.equal(told.at(-1), now)
    }
    for (const set of sets.filter(({ key }) => key.startsWith('shared/'))) {
      const change = seen.find(({ key, version }) => key === set.key && version === set.answer)
      if (change) assert.equal(change.value, set.value, `version ${set.answer} of ${set.key} is another's`)
    }
    for (const vdisk of [1, 2]) {
      const epochs = claims.filter((claim) => claim.vdisk === vdisk).flatMap(({ answer }) => answer ?? [])
      allDifferent(epochs, `an epoch of vDisk ${vdisk}`)
      const owner = await clients[2].owner(vdisk as VDiskId)
      assert.ok(owner && owner.epoch >= Math.max(...epochs))
    }
    allDifferent(
      counts.flatMap(({ answer }) => answer ?? []),
      'a number',
    )
    const failed = all.filter(({ error }) => error !== undefined).length
    const unknown = sets.filter(
      ({ key, error }) => key.startsWith('shared/') && hasCode(error, 'TIMED_OUT'),
    ).length
    result = { calls: all.length, failed, unknown, longestMs: Math.round(longest(all)), lost }
  })
  return result
}

test('a server that is killed and comes back goes unnoticed, the leader too: nothing is lost, doubled or granted twice', async () => {
  for (const mode of ['follower', 'leader'] as const) {
    const index = await indexOf(mode)
    const work = await workDuring(async () => {
      await clock.sleep(700)
      await zooKeepers[index].kill()
      await clock.sleep(2_500)
      zooKeepers[index].begin()
      await zooKeepers[index].serving(20)
      await clock.sleep(1_000)
    })
    figure(`ZooKeeper, the ${mode} killed: ${toldOf(work)}`)
    assert.equal(work.failed, work.unknown)
    assert.ok(work.unknown <= 6)
    assert.ok(work.longestMs < 4_000)
    if (mode === 'follower') assert.equal(work.lost, 0)
  }
})

test('a server that is frozen is left, the leader too', async () => {
  for (const mode of ['follower', 'leader'] as const) {
    const index = await indexOf(mode)
    const work = await workDuring(async () => {
      await clock.sleep(500)
      zooKeepers[index].signal('SIGSTOP')
      await clock.sleep(4_000)
      zooKeepers[index].signal('SIGCONT')
      await clock.sleep(1_000)
    })
    figure(`ZooKeeper, the ${mode} frozen: ${toldOf(work)}`)
    assert.equal(work.failed, work.unknown)
    assert.ok(work.unknown <= 6)
    assert.ok(work.longestMs < 4_500)
    if (mode === 'follower') assert.equal(work.lost, 0)
  }
})

test('C11: who can reach a frozen server only knows that its session is over before others see it', async () => {
  for (const mode of ['follower', 'leader'] as const) {
    const index = await indexOf(mode)
    await withClients(async (client) => {
      const there = client({ servers: servers.filter((_, i) => i !== index) })
      const here = client({ servers: [servers[index]] })
      let goneAt = 0
      let shown = false
      there.watch('session/', (_, now) => {
        shown = now !== undefined
        if (!shown) goneAt = clock.now()
      })
      const session = await here.openSession('n1' as NodeId, first, {})
      await until(clock, () => shown)
      let lostAt = 0
      session.onLost = () => (lostAt = clock.now())
      await clock.sleep(1_000)
      zooKeepers[index].signal('SIGSTOP')
      const frozenAt = clock.now()
      let aliveAt = 0
      while (lostAt === 0) {
        if (session.alive) aliveAt = clock.now()
        await clock.sleep(2)
      }
      await until(clock, () => goneAt > 0)
      zooKeepers[index].signal('SIGCONT')
      const after = (time: number) => Math.round(time - frozenAt)
      figure(
        `ZooKeeper, its only ${mode} frozen: alive for ${after(aliveAt)} ms, lost at ${after(lostAt)} ms, gone for others at ${after(goneAt)} ms`,
      )
      assert.ok(aliveAt < goneAt && lostAt < goneAt)
    })
  }
})

test('without a quorum every call ends in time, and all goes on by itself when it is back', async () => {
  await withClients(async (client) => {
    const [here, there] = [client(), client()]
    await there.set('a', 0)
    const seen: unknown[] = []
    here.watch('a', (_, now) => seen.push(now?.value))
    let opened = 0
    const open = async (): Promise<void> => {
      for (;;)
        try {
          const session = await here.openSession('n1' as NodeId, first, {})
          opened++
          session.onLost = () => void open()
          return
        } catch (error) {
          assert.ok(hasCode(error, 'TIMED_OUT', 'UNAVAILABLE'), String(error))
          await clock.sleep(200)
        }
    }
    await open()
    const sessions: unknown[] = []
    there.watch('session/', (_, now) => sessions.push(now))
    await until(clock, () => sessions.length === 1 && seen.length === 1)

    const down = [0, 1]
    await Promise.all(down.map((i) => zooKeepers[i].kill()))
    const downAt = clock.now()
    const calls = [
      asked(() => here.get('a')),
      asked(() => here.list('')),
      asked(() => here.set('a', 1)),
      asked(() => here.next('b')),
      asked(() => here.claim(1 as VDiskId, { node: 'n1' as NodeId, incarnation: first }, 'free', 0 as Epoch)),
    ]
    for (const { error, sentAt, endedAt } of await Promise.all(calls)) {
      assert.ok(hasCode(error, 'TIMED_OUT', 'UNAVAILABLE'), String(error))
      assert.ok(endedAt - sentAt < 5_500)
    }
    await clock.sleep(10_000 - (clock.now() - downAt))
    for (const i of down) zooKeepers[i].begin()
    const backAt = clock.now()
    let version: number | undefined
    while (version === undefined) version = await there.set('a', 2).catch(() => undefined)
    figure(
      `ZooKeeper, a quorum back: the first change ${Math.round(clock.now() - backAt)} ms after servers were started`,
    )
    await until(clock, () => seen.at(-1) === 2 && opened === 2)
    assert.equal(((await there.get('session/n1'))?.value as { incarnation: string }).incarnation, first)
    assert.ok(
      sessions.every((now) => now !== undefined),
      'others saw the node gone that was there all the while',
    )
  })
})

test('a node that is frozen is seen gone within 3 s, and knows it before all else when it thaws', async () => {
  await withClients(async (client, chroot) => {
    const there = client()
    let shown = false
    there.watch('session/', (_, now) => (shown = now !== undefined))
    const program = `
      const { nodePlatform } = await import(${JSON.stringify(new URL('../platform/node-platform.ts', import.meta.url).href)})
      const { zooKeeperZeus } = await import(${JSON.stringify(new URL('./zookeeper-zeus.ts', import.meta.url).href)})
      const platform = nodePlatform({ level: 'silent' })
      const zeus = zooKeeperZeus({ servers: ${JSON.stringify(servers)}, chroot: '${chroot}', platform })
      const session = await zeus.openSession('n1', '${first}', {})
      session.onLost = (reason) => console.log('lost, alive ' + session.alive)
      setInterval(() => console.log('alive ' + session.alive), 20)`
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const said: string[] = []
    child.stdout.on('data', (bytes) => said.push(...String(bytes).trim().split('\n')))
    try {
      await until(clock, () => shown && said.includes('alive true'))
      child.kill('SIGSTOP')
      const frozenAt = clock.now()
      await until(clock, () => !shown)
      const goneMs = Math.round(clock.now() - frozenAt)
      figure(`ZooKeeper, a node frozen: its session is seen gone after ${goneMs} ms`)
      assert.ok(goneMs < 3_000)
      await clock.sleep(200)
      const before = said.length
      child.kill('SIGCONT')
      await until(clock, () => said.some((line) => line.startsWith('lost')))
      assert.ok(!said.slice(before).includes('alive true'), said.slice(before).join(', '))
      assert.ok(said.includes('lost, alive false'))
    } finally {
      child.kill('SIGKILL')
    }
  })
})

test('a server that is behind gives no old answer', async () => {
  const index = await indexOf('follower')
  await withClients(async (client) => {
    const writer = client({ servers: servers.filter((_, i) => i !== index) })
    const reader = client({ servers: [servers[index]] })
    await reader.get('a')
    let over = false
    const trouble = (async () => {
      while (!over) {
        zooKeepers[index].signal('SIGSTOP')
        await clock.sleep(50)
        zooKeepers[index].signal('SIGCONT')
        await clock.sleep(50)
      }
    })()
    try {
      const begin = clock.now()
      for (let i = 1; i <= 40 && clock.now() - begin < 5_000; i++) {
        await writer.set('a', i)
        const [read, listed] = await Promise.all([reader.get('a'), reader.list('a')])
        assert.equal(read?.value, i)
        assert.equal(listed[0].value, i)
      }
    } finally {
      over = true
      await trouble
    }
  })
})

test('with a user and a password nobody else reads or writes', async () => {
  await withClients(async (client) => {
    const own = client({ user: 'ndfs', password: 'one' })
    await own.set('secret', 1)
    await own.next('counter')
    await own.openSession('n1' as NodeId, first, {})
    for (const other of [
      client(),
      client({ user: 'ndfs', password: 'two' }),
      client({ user: 'other', password: 'one' }),
    ]) {
      for (const work of [
        () => other.get('secret'),
        () => other.list(''),
        () => other.set('secret', 2),
        () => other.set('new', 2),
        () => other.delete('secret'),
        () => other.next('counter'),
        () => other.endSession('n1' as NodeId, first),
      ])
        await assert.rejects(work(), (error) => hasCode(error, 'UNAUTHORIZED'))
      let told = 0
      other.watch('', () => told++)
      await clock.sleep(50)
      assert.equal(told, 0)
    }
    assert.equal((await client({ user: 'ndfs', password: 'one' }).get('secret'))?.value, 1)
  })
})

test('an epoch and a version stay above those of a key that was deleted', async () => {
  await withClients(async (client) => {
    const zeus = client()
    const by = { node: 'n1' as NodeId, incarnation: first }
    await zeus.claim(1 as VDiskId, by, 'free', 7 as Epoch)
    await zeus.delete('owner/1')
    assert.equal((await zeus.claim(1 as VDiskId, by, 'free', 0 as Epoch)).epoch, 8)
    const session = await zeus.openSession(by.node, first, {})
    const versions: number[] = []
    zeus.watch('session/', (_, now) => now && versions.push(now.version))
    await session.update({ a: 1 })
    await session.end()
    await zeus.openSession(by.node, first, {})
    await until(clock, () => versions.length >= 2 && versions.at(-1)! >= 3)
    allDifferent(versions, 'a version of session/n1')
  })
})

test('keys may be any text, and a thousand of them are listed and watched', async () => {
  await withClients(async (client) => {
    const [here, there] = [client(), client()]
    const odd = ['.', '..', 'a/./b', '%2F', 'ä 😀\n', 'zookeeper', 'x'.repeat(512)]
    for (const key of odd) await here.set(key, key)
    assert.deepEqual(
      (await there.list('')).map(({ key, value }) => [key, value]),
      [...odd].sort().map((key) => [key, key]),
    )
    const keys = Array.from({ length: 1000 }, (_, i) => `vdisk/c/${i}`)
    const begin = clock.now()
    for (let from = 0; from < keys.length; from += 100)
      await Promise.all(keys.slice(from, from + 100).map((key) => here.set(key, { id: key, createdAt: 1 })))
    const set = clock.now()
    assert.equal((await there.list('vdisk/')).length, 1000)
    const listed = clock.now()
    let told = 0
    await there.watch('vdisk/', () => told++).caughtUp
    assert.equal(told, 1000)
    figure(
      `ZooKeeper, 1000 keys: set in ${Math.round(set - begin)} ms, listed in ${Math.round(listed - set)} ms, a watch caught up in ${Math.round(clock.now() - listed)} ms`,
    )
  })
})

test('figures: what a call takes, and how soon others hear of a change', async () => {
  await withClients(async (client) => {
    const clients = [client(), client(), client()]
    const [here, there] = clients
    const told = new Map<string, number>()
    await there.watch('', (key, now) => told.set(`${key} ${now?.version}`, clock.now())).caughtUp
    const median = (values: number[]): string => values.sort((a, b) => a - b)[values.length >> 1].toFixed(1)
    const timed = async (times: number, work: (i: number) => Promise<unknown>): Promise<string> => {
      const taken: number[] = []
      for (let i = 0; i < times; i++)
        taken.push(await asked(() => work(i)).then((it) => it.endedAt - it.sentAt))
      return median(taken)
    }
    const by = (node: string) => ({ node: node as NodeId, incarnation: first })
    const made = await timed(50, (i) => here.set(`made/${i}`, { createdAt: 1 }))
    const set = await timed(100, () => here.set('a', { createdAt: 1 }))
    const delays: number[] = []
    for (let i = 0; i < 30; i++) {
      const version = await here.set('a', { createdAt: 1 })
      const setAt = clock.now()
      await until(clock, () => told.has(`a ${version}`))
      delays.push(told.get(`a ${version}`)! - setAt)
    }
    const get = await timed(100, () => here.get('a'))
    const next = await timed(50, () => here.next('c'))
    const claim = await timed(50, (i) => here.claim((i + 1) as VDiskId, by('n1'), 'free', 0 as Epoch))
    const taken = await timed(50, (i) => there.claim((i + 1) as VDiskId, by('n2'), 'free', 0 as Epoch))
    figure(
      `ZooKeeper, one after the other, median ms: make ${made}, set ${set}, get ${get}, next ${next}, claim ${claim}, claim of another's ${taken}`,
    )
    figure(
      `ZooKeeper, a watch hears ${median(delays)} ms after a set has resolved (median; less than 0: before)`,
    )
    const rate = async (work: (zeus: Zeus, i: number) => Promise<unknown>): Promise<number> => {
      const begin = clock.now()
      let done = 0
      const worker = async (i: number): Promise<void> => {
        for (; clock.now() - begin < 1_000; done++) await work(clients[i % 3], i)
      }
      await Promise.all(Array.from({ length: 96 }, (_, i) => worker(i)))
      return Math.round((done / (clock.now() - begin)) * 1000)
    }
    const gets = await rate((zeus) => zeus.get('a'))
    const sets = await rate((zeus, i) => zeus.set(`rate/${i}`, { createdAt: 1 }))
    const claims = await rate((zeus, i) =>
      zeus.claim((100 + i) as VDiskId, by(`n${i % 3}`), 'free', 0 as Epoch),
    )
    figure(`ZooKeeper, 96 at a time by three nodes, a second: ${gets} gets, ${sets} sets, ${claims} claims`)
  })
})

test('servers that each stand alone are no Zeus: nodes would meet at none of them', async () => {
  const alone = [23950, 23955].map(
    (basePort) =>
      new Engines({ dir: join(dir, `alone-${basePort}`), zooKeepers: 1, cassandras: 0, basePort }),
  )
  try {
    for (const one of alone) await one.start()
    const together = alone.flatMap(({ zooKeeperAddresses }) => zooKeeperAddresses)
    await withClients(async (client) => {
      await assert.rejects(client({ servers: together }).set('a', 1), /stands alone/)
      assert.equal(await client({ servers: together.slice(0, 1) }).set('a', 1), 1)
    })
  } finally {
    for (const one of alone) await one.end()
  }
})
