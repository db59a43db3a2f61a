/**
 * Nodes go from this release to the next, back, and on, one at a time, while clients write and read: both serve together, the format is raised by
 * `ndfs upgrade finish` alone, and who can't serve it is refused.
 */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { thisRelease } from '../src/base/formats.ts'
import type { ClusterStatus, UpgradeInfo } from '../src/management/management.ts'
import { type Cluster, ndfsProgram, withCluster } from './support/cluster.ts'
import { Door } from './support/doors.ts'
import { healed } from './support/health.ts'
import { RecordedWork } from './support/recorded-work.ts'
import { makeRelease } from './support/releases.ts'
import { figure, type Finished, type Service, tryRun, until } from './support/run.ts'

/** Of a process that was refused. */
const exitCode = 5

/** The nodes of a cluster, each of a release of its own. */
class Nodes {
  readonly #cluster: Cluster
  /** Those that `up` does not look after. */
  readonly #services = new Map<string, Service>()

  constructor(cluster: Cluster) {
    this.#cluster = cluster
  }

  /** It ends in order, and one of that release takes its place. Resolves when all is on full copies again. */
  async replace(node: string, program: string): Promise<void> {
    await this.stop(node)
    await this.start(node, program)
  }

  async stop(node: string): Promise<void> {
    const service = this.#services.get(node)
    this.#services.delete(node)
    if (service !== undefined) return service.stop()
    await this.#cluster.kill(node, 'SIGTERM')
    await until(`${node} has ended, and that was tidied up`, () => this.#cluster.node(node).pid === null)
  }

  async start(node: string, program: string): Promise<void> {
    const service = this.#cluster.service(process.execPath, [program, ...this.#words(node)])
    this.#services.set(node, service)
    await service.until('it serves', async () => {
      const answer = await fetch(`http://${this.#cluster.node(node).http}/api/v1/health`).catch(
        () => undefined,
      )
      return answer?.ok === true
    })
    await healed(this.#cluster)
  }

  /** Where it is expected to end by itself. */
  attempt(node: string, program: string): Promise<Finished> {
    return tryRun(process.execPath, [program, ...this.#words(node)], { env: this.#cluster.env })
  }

  #words(node: string): readonly string[] {
    return ['node', '--config', join(this.#cluster.dir, 'nodes', node, 'node.json')]
  }
}

/** Clients behind `ndfs connect`, and at each node. */
class Clients {
  readonly #work = new RecordedWork(1, 20)
  readonly #connected: Door
  readonly #doors: readonly Door[]
  #answeredAt = new Set<Door>()

  constructor(cluster: Cluster, vdisk: string, socket: string) {
    this.#connected = new Door('ndfs connect', vdisk, () => socket, true)
    const atNodes = cluster.nodes.map(({ id }) => new Door(id, vdisk, () => cluster.node(id).nbd.address))
    this.#doors = [this.#connected, ...atNodes]
    this.#work.onAnswer = (door) => this.#answeredAt.add(door)
    this.#work.join(this.#connected, 3)
    for (const door of atNodes) this.#work.join(door, 1)
  }

  /** Through every door, from now on. */
  async areAnswered(): Promise<void> {
    this.#answeredAt = new Set()
    await until('each node answers its clients', () => this.#answeredAt.size === this.#doors.length)
  }

  leave(): Promise<void> {
    return this.#work.leave()
  }

  async judge(): Promise<string> {
    await this.#work.readAll(this.#connected)
    this.#connected.close()
    assert.equal(this.#work.judge(), undefined)
    assert.ok(this.#work.findsStaleRead())
    // Who knows of one node alone hears of it that it stops.
    const patient = this.#work.refusals.filter(({ isPatient }) => isPatient)
    assert.deepEqual(patient, [])
    const { writes, reads } = this.#work.counts
    return `${writes} writes and ${reads} reads`
  }
}

const versionsOf = ({ nodes }: UpgradeInfo): string =>
  nodes.map(({ node, release }) => `${node} ${release?.version}`).join(', ')

async function goTheWholeWay(cluster: Cluster, clients: Clients): Promise<void> {
  const nodes = new Nodes(cluster)
  const ours = ndfsProgram
  const now = thisRelease.newest
  const raised = now + 1
  const isRaised = new RegExp(`format is ${raised}`)
  const next = makeRelease(cluster.scratch, '0.2.0', now, raised)
  const third = makeRelease(cluster.scratch, '0.3.0', raised, raised + 1)
  const fourth = makeRelease(cluster.scratch, '0.4.0', raised + 1, raised + 2)
  const upgrade = (): Promise<UpgradeInfo> => cluster.json<UpgradeInfo>('upgrade', 'status')
  const finish = (): Promise<Finished> => cluster.tryNdfs('upgrade', 'finish')
  const begun = await upgrade()
  const { version } = begun.nodes[0].release ?? {}
  assert.deepEqual([begun.format, begun.finish], [now, { to: now }])

  await nodes.replace('n1', next)
  const mixed = await upgrade()
  assert.equal(versionsOf(mixed), `n1 0.2.0, n2 ${version}, n3 ${version}`)
  assert.equal(mixed.format, now)
  assert.match(await cluster.ndfs('status'), /^NODE +BLOCK +STATE +VERSION/m)
  await clients.areAnswered()
  await nodes.replace('n2', next)
  // Back, and forward again: the format is what it was.
  await nodes.replace('n1', ours)
  const early = await finish()
  assert.equal(early.code, 1)
  assert.match(
    early.stderr,
    new RegExp(`n1 is of NDFS .*; n3 is of NDFS .*: no newer format than ${now} is served there`),
  )
  await clients.areAnswered()
  await nodes.replace('n1', next)

  await nodes.stop('n3')
  assert.match((await finish()).stderr, /Cannot finish the upgrade\. n3 is of NDFS/)
  const early3 = await nodes.attempt('n3', third)
  assert.equal(early3.code, exitCode)
  assert.match(
    early3.stderr,
    new RegExp(
      `n3: it is NDFS 0.3.0, which serves formats ${raised} to ${raised + 1}, .* is ${now}. Install an older`,
    ),
  )
  await nodes.start('n3', next)
  assert.equal((await upgrade()).format, now)
  assert.doesNotMatch(await cluster.ndfs('status'), /VERSION/)

  assert.match(await cluster.ndfs('upgrade', 'finish'), isRaised)
  assert.match(await cluster.ndfs('upgrade', 'finish'), isRaised)
  await clients.areAnswered()
  await nodes.stop('n3')
  const old = await nodes.attempt('n3', ours)
  assert.equal(old.code, exitCode)
  assert.match(
    old.stderr,
    new RegExp(`n3: it is NDFS .*, which serves format ${now}, .* is ${raised}. Install a newer`),
  )
  const { problems } = await cluster.json<ClusterStatus>('status')
  assert.ok(
    problems.some((problem) => problem.startsWith('Cannot start n3: it is NDFS')),
    problems.join('\n'),
  )
  const started = await cluster.tryNdfs('node', 'start', 'n3')
  assert.match(
    started.stderr,
    new RegExp(`Cannot start n3: n3 ended with exit code 5. .*\\n.*format is ${raised}`),
  )
  const early4 = await nodes.attempt('n3', fourth)
  assert.equal(early4.code, exitCode)
  assert.match(early4.stderr, new RegExp(`n3: it is NDFS 0.4.0, .* is ${raised}. Install an older`))
  await nodes.start('n3', third)
  assert.equal(versionsOf(await upgrade()), 'n1 0.2.0, n2 0.2.0, n3 0.3.0')
  assert.equal((await upgrade()).format, raised)
  await clients.areAnswered()
}

test('a cluster goes from this release to the next, and on, while guests work', { timeout: 300_000 }, () =>
  withCluster({}, async (cluster) => {
    const began = performance.now()
    const vdisk = await cluster.createVDisk('64MiB')
    const { socket } = await cluster.connect(vdisk)
    const clients = new Clients(cluster, vdisk, socket)
    await goTheWholeWay(cluster, clients).finally(() => clients.leave())
    const done = await clients.judge()
    figure(`upgrade: ${done} in ${((performance.now() - began) / 1000).toFixed(1)} s`)
  }),
)
