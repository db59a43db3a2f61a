/**
 * Six nodes in three blocks, and a whole block dies under load: nothing is lost, the guests go on, what lacks copies is made anew in the
 * blocks that are left, and status tells the truth all the while.
 */
import assert from 'node:assert/strict'
import type { ClusterStatus, VDiskInfo } from '../../src/management/management.ts'
import type { Engines } from '../../scripts/engines/engines.ts'
import type { JavaServer } from '../../scripts/engines/java-server.ts'
import type { Cluster } from './cluster.ts'
import { Door } from './doors.ts'
import { fio } from './fio.ts'
import { askAny, healed, ownerOf } from './health.ts'
import type { Namespaces } from './namespaces.ts'
import { RecordedWork, recordedWorkBytes } from './recorded-work.ts'
import { figure, sleep, until } from './run.ts'
import { servedEpochs, servedTwice } from './served-epochs.ts'
import { StatusWatch } from './status-watch.ts'
import { TrueSurvival } from './true-survival.ts'

export interface BlockLossOptions {
  readonly seed: number
  /** Stored before. */
  readonly mib: number
  /** Guests work so long before the block dies. */
  readonly loadMs: number
  /** The rows are in engines, one of each beside each node as far as they go: they die with the block, and it comes back. */
  readonly hosts?: { readonly engines: Engines; readonly namespaces: Namespaces }
}

const repairSecondsMax = 300
/** A silent server of Cassandra costs each of its clients 2.5 s, and a leader of ZooKeeper is chosen anew. */
const saidByEnginesSecondsMax = 30

export async function loseBlock(
  cluster: Cluster,
  { seed, mib, loadMs, hosts }: BlockLossOptions,
): Promise<void> {
  const recorded = await cluster.createVDisk(String(recordedWorkBytes), 'recorded')
  const stored = await cluster.createVDisk(`${mib}MiB`, 'stored')
  const { socket } = await cluster.connect(recorded)
  const { uri } = await cluster.connect(stored)
  const fill = ['rw=write', 'bs=1m', 'iodepth=8', `size=${mib}m`, 'verify=crc32c', `randseed=${seed}`]
  await fio({ uri, options: [...fill, 'do_verify=0'], seconds: 300, folder: cluster.scratch })
  const work = new RecordedWork(seed, 10)
  const patient = new Door('ndfs connect', recorded, () => socket, true)
  let longestMs = 0
  work.onAnswer = (_, calledAt, answeredAt) => (longestMs = Math.max(longestMs, answeredAt - calledAt))
  work.join(patient, 6)

  const blocks = new Map(cluster.nodes.map(({ id, block }) => [id, block]))
  const truth = await TrueSurvival.open(cluster, blocks, hosts?.engines)
  const ids = (await cluster.json<VDiskInfo[]>('vdisk', 'list')).map(({ id }) => id)
  const watch = new StatusWatch(cluster, truth, ids)
  try {
    await sleep(loadMs)
    await until('a block is survived', () => watch.last?.level === 'block', 30, 100)
    const { owner } = await ownerOf(cluster, recorded)
    const dying = [...blocks].filter(([, block]) => block === blocks.get(owner)).map(([id]) => id)
    longestMs = 0
    const diedAt = performance.now()
    watch.lost(dying)
    await Promise.all(dying.map((node) => killHost(cluster, node, hosts)))
    const saidSeconds = hosts === undefined ? 10 : saidByEnginesSecondsMax
    await until(
      'status says that copies are missing',
      () => watch.last?.level === 'one copy',
      saidSeconds,
      20,
    )
    const saidMs = performance.now() - diedAt
    await until('all is on full copies again', () => isWhole(watch, diedAt), repairSecondsMax, 100)
    const repairedMs = performance.now() - diedAt
    figure(
      `${dying.join(' and ')} of six died: said after ${(saidMs / 1000).toFixed(1)} s, on full copies after ` +
        `${(repairedMs / 1000).toFixed(1)} s, longest stall ${(longestMs / 1000).toFixed(1)} s`,
    )
    if (hosts !== undefined) await comeBack(cluster, dying, hosts, watch)
    await sleep(1000)
    await work.leave()
    watch.quiet()
    for (const vdisk of [recorded, stored]) await cluster.drain(vdisk)
    await sleep(1000)
    assert.deepEqual(watch.lies, [])
    const { level, groups, where } = await truth.now(ids, new Set(watch.alive), false)
    assert.equal(level, 'block', where)
    const dead = dying.filter((node) => !watch.alive.has(node))
    const status = await askAny<ClusterStatus>(cluster, 'status', dead)
    assert.equal(status?.survival.shortBytes, 0)
    // What holds status against the truth must see a lie: nodes that live, and without which less would be survived, are taken for dead.
    watch.lost(await nodesThatMatter(watch, truth, ids, blocks))
    await until('the watch sees that status says too much', () => watch.lies.length > 0, 20, 50)
    figure(`status: ${watch.samples.length} answers held against rows and files of ${groups} extent groups`)
  } finally {
    await watch.stop()
    await truth.close()
  }
  await work.readAll(patient)
  patient.close()
  assert.equal(work.judge(), undefined)
  assert(work.findsStaleRead(), 'a planted stale read was not found')
  assert.deepEqual(work.refusals, [])
  assert.equal(servedTwice(servedEpochs(cluster)), undefined)
  await fio({
    uri,
    options: [...fill, 'verify_only=1', 'verify_fatal=1'],
    seconds: 300,
    folder: cluster.scratch,
  })
  const { writes, reads } = work.counts
  figure(`${writes} writes and ${reads} reads judged`)
}

/** All of some block that holds copies. One that came back may hold none: its own were made anew elsewhere. */
async function nodesThatMatter(
  watch: StatusWatch,
  truth: TrueSurvival,
  vdisks: readonly number[],
  blocks: ReadonlyMap<string, string>,
): Promise<readonly string[]> {
  for (const lost of new Set(blocks.values())) {
    const nodes = [...watch.alive].filter((node) => blocks.get(node) === lost)
    const others = new Set([...watch.alive].filter((node) => !nodes.includes(node)))
    if ((await truth.now(vdisks, others, false)).level !== 'block') return nodes
  }
  return assert.fail('every copy of some block can be lost, and still another block')
}

type Hosts = NonNullable<BlockLossOptions['hosts']>

/** As when its power goes: nobody is told, and no connection is reset. */
async function killHost(cluster: Cluster, node: string, hosts: Hosts | undefined): Promise<void> {
  hosts?.namespaces.cut(node)
  await Promise.all([cluster.kill(node), ...enginesOf(node, hosts).map((engine) => engine.kill())])
}

async function comeBack(
  cluster: Cluster,
  nodes: readonly string[],
  hosts: Hosts,
  watch: StatusWatch,
): Promise<void> {
  const status = await askAny<ClusterStatus>(cluster, 'status', nodes)
  const of = hosts.engines.cassandras.length
  assert.match(status?.survival.missing.join() ?? '', new RegExp(`of ${of} servers of Cassandra`))
  const began = performance.now()
  for (const node of nodes) hosts.namespaces.mend(node)
  for (const node of nodes) for (const engine of enginesOf(node, hosts)) engine.begin()
  for (const node of nodes) {
    // It is given new copies as soon as it serves.
    watch.back([node])
    await cluster.startNode(node)
  }
  await healed(cluster, repairSecondsMax)
  figure(
    `${nodes.join(' and ')} are back with their engines, all well after ${((performance.now() - began) / 1000).toFixed(1)} s`,
  )
}

function enginesOf(node: string, hosts: Hosts | undefined): readonly JavaServer[] {
  if (hosts === undefined) return []
  const { engines, namespaces } = hosts
  const at = namespaces.nodes.indexOf(node)
  return [engines.cassandras.at(at), engines.zooKeepers[at] as JavaServer | undefined].filter(
    (engine) => engine !== undefined,
  )
}

function isWhole({ samples }: StatusWatch, since: number): boolean {
  const last = samples.at(-1)
  const wasShort = samples.some(({ at, level }) => at > since && level === 'one copy')
  return wasShort && last?.level === 'block' && !last.repairing
}
