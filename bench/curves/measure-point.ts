/**
 * One point of a curve: a cluster of its own, a fixed number of random writes and reads of 4 KiB through fio at queue depth 32 over the owner's
 * Unix socket, and what they cost.
 *
 *   idle    processor time of each node in a second when no guest asks for anything; what follows is counted beyond that
 *   claim   processor time of all processes from the first write to the vDisk until nothing is left to be done for it: what comes once for each
 *           ownership, such as counting what the map names, is here and not in the writes
 *   write   processor time of all processes of NDFS for each write, with its drain into extent groups and all metadata
 *   cold    … for each read of what was written, by an owner that was just started: map rows, group rows and pages come from disk
 *   warm    … for the same reads once more, from the extent cache as far as they fit
 *   open    from a client's connecting to a node to its first answer, while nobody owns the vDisk; median of several, each after all processes
 *           were restarted in order
 *   memory  resident, of the node that owns the vDisk and of the others on average, after all reads
 *   metadata  of the vDisk, keys and values of all its rows in Medusa, for each GiB of it that holds bytes
 */
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { type Cluster, withCluster } from '../../test/support/cluster.ts'
import { fio } from '../../test/support/fio.ts'
import { NbdClient } from '../../test/support/nbd-client.ts'
import { pidsOf, processorSeconds } from '../../test/support/processor-time.ts'
import { residentBytes } from '../../test/support/resident-memory.ts'
import { sleep } from '../../test/support/run.ts'
import { GiB, MiB, pageBytes } from '../../src/base/units.ts'
import { OtherVDisks } from './other-vdisks.ts'

export interface Setup {
  readonly nodes: number
  readonly vdiskBytes: number
  /** Reads and writes go to so many bytes at the vDisk's end. */
  readonly areaBytes: number
  /** The area is written once in order, and then so often at random, before anything is counted. */
  readonly overwrites: number | 'not filled'
  readonly otherVDisks: number
  readonly cacheBytes: number
  readonly operations: number
}

export interface Figures {
  readonly idleMsPerSecond: number
  readonly claimMs: number
  readonly writeMicroseconds: number
  readonly coldReadMicroseconds: number
  readonly warmReadMicroseconds: number
  readonly openMs: number
  readonly ownerMiB: number
  readonly otherMiB: number
  readonly metadataBytesPerGiB: number
}

/** A round of what keeps other vDisks in use (other-vdisks.ts). */
const idleSeconds = 5
const opens = 3
const name = 'disk1'
/** Read and written before anything is counted, so that no code is compiled then. */
const heatBytes = 128 * MiB
const heatOperations = 20_000
/** Processor time is told in hundredths of a second, and a read from memory takes ten millionths. */
const warmRounds = 5
const claimOperations = 100
/** Of each node, in processor time: less than this is what an idle one takes. */
const quietMsPerSecond = 60
const quietSecondsMax = 60
const owner = 'n1'
const drainSeconds = 300

export async function measurePoint(setup: Setup): Promise<Figures> {
  let figures: Figures | undefined
  const up = ['--cache', String(setup.cacheBytes)]
  await withCluster({ nodes: setup.nodes, disks: ['flash:8GiB', 'hdd:8GiB'], up }, async (cluster) => {
    figures = await measureIn(cluster, setup)
  })
  if (figures === undefined) throw new Error('a cluster ended without its figures')
  return figures
}

async function measureIn(cluster: Cluster, setup: Setup): Promise<Figures> {
  const { operations, overwrites, areaBytes, vdiskBytes, nodes, otherVDisks } = setup
  const heat = await cluster.createVDisk(`${heatBytes}B`, 'heat')
  const heatBy = (rw: string): Promise<void> =>
    random(cluster, heat, { vdiskBytes: heatBytes, areaBytes: heatBytes }, rw, heatOperations, 1)
  const vdisk = await cluster.createVDisk(`${vdiskBytes}B`, name)
  const others = await OtherVDisks.create(cluster, otherVDisks)
  await heatBy('randwrite')
  await fill(cluster, vdisk, setup)
  await cluster.drained(heat, drainSeconds)

  const unclaimed = processorSeconds(pidsOf(cluster))
  await random(cluster, vdisk, setup, 'randwrite', claimOperations, 1)
  await settled(cluster, vdisk)
  const claim = processorSeconds(pidsOf(cluster)) - unclaimed

  await others.beginUse()
  await settled(cluster, vdisk)
  const before = processorSeconds(pidsOf(cluster))
  await sleep(idleSeconds * 1000)
  const idle = (processorSeconds(pidsOf(cluster)) - before) / idleSeconds
  const cost = async (count: number, work: () => Promise<void>): Promise<number> => {
    const [spent, began] = [processorSeconds(pidsOf(cluster)), performance.now()]
    await work()
    const seconds = (performance.now() - began) / 1000
    return ((processorSeconds(pidsOf(cluster)) - spent - idle * seconds) * 1e6) / count
  }
  const read = (seed: number): Promise<void> => random(cluster, vdisk, setup, 'randread', operations, seed)

  const writeMicroseconds = await cost(operations, async () => {
    await random(cluster, vdisk, setup, 'randwrite', operations, 1)
    await settled(cluster, vdisk)
  })
  others.endUse()
  const openTimes: number[] = []
  for (let open = 0; open < opens; open++) {
    await cluster.down()
    await cluster.up()
    openTimes.push(await readFirst(cluster, setup))
  }
  await heatBy('randread')
  await comesHere(cluster, vdisk, setup)
  await others.beginUse()
  await settled(cluster, vdisk)
  const coldReadMicroseconds = await cost(operations, () => read(1))
  // In another order where all was written: a cache that is smaller than a round and sees it again in the same order has no hit.
  const warmReadMicroseconds = await cost(operations * warmRounds, async () => {
    for (let round = 0; round < warmRounds; round++) await read(overwrites === 'not filled' ? 1 : 2 + round)
  })
  const resident = cluster.nodes.map(({ id, pid }) => ({ id, MiB: residentBytes(pid!) / MiB }))
  others.endUse()
  const { id } = await cluster.vdisk(vdisk)
  await cluster.down()

  const otherNodes = resident.filter(({ id }) => id !== owner)
  const written = overwrites === 'not filled' ? operations * pageBytes : areaBytes
  return {
    idleMsPerSecond: (idle * 1000) / nodes,
    claimMs: claim * 1000,
    writeMicroseconds,
    coldReadMicroseconds,
    warmReadMicroseconds,
    openMs: openTimes.sort((a, b) => a - b)[opens >> 1],
    ownerMiB: resident.find(({ id }) => id === owner)!.MiB,
    otherMiB: otherNodes.reduce((sum, { MiB }) => sum + MiB, 0) / otherNodes.length,
    metadataBytesPerGiB: (metadataBytes(cluster, id) * GiB) / written,
  }
}

async function fill(cluster: Cluster, vdisk: string, setup: Setup): Promise<void> {
  const { overwrites, areaBytes } = setup
  if (overwrites === 'not filled') return
  const words = [...area(setup), 'rw=write', 'bs=1m', 'iodepth=8']
  await fio({ uri: cluster.unix(owner, vdisk), options: words, seconds: 600, folder: cluster.scratch })
  for (let pass = 1; pass <= overwrites; pass++)
    await random(cluster, vdisk, setup, 'randwrite', areaBytes / pageBytes, 100 + pass)
  await cluster.drained(vdisk, drainSeconds)
}

/** Resolves when the log is drained, and what drains leave to be done is done: counting, freeing, compaction. */
async function settled(cluster: Cluster, vdisk: string): Promise<void> {
  await cluster.drained(vdisk, drainSeconds)
  const pids = pidsOf(cluster)
  const enough = (quietMsPerSecond * cluster.nodes.length) / 1000
  for (let second = 0, quiet = 0; quiet < 2 && second < quietSecondsMax; second++) {
    const before = processorSeconds(pids)
    await sleep(1000)
    quiet = processorSeconds(pids) - before < enough ? quiet + 1 : 0
  }
}

type Area = Pick<Setup, 'vdiskBytes' | 'areaBytes'>

/** No page comes twice (lfsr), and with one seed the same pages come in the same order. */
async function random(
  cluster: Cluster,
  vdisk: string,
  where: Area,
  rw: string,
  operations: number,
  seed: number,
): Promise<void> {
  const pages = ['bs=4k', 'iodepth=32', 'random_generator=lfsr', `randseed=${seed}`, 'refill_buffers']
  await fio({
    uri: cluster.unix(owner, vdisk),
    options: [...area(where), ...pages, `rw=${rw}`, `number_ios=${operations}`],
    seconds: 900,
    folder: cluster.scratch,
  })
}

const area = ({ vdiskBytes, areaBytes }: Area): string[] => [
  `offset=${vdiskBytes - areaBytes}`,
  `size=${areaBytes}`,
]

/** Milliseconds until a client that has just come has its first answer; the vDisk is opened for that. */
async function readFirst(cluster: Cluster, { vdiskBytes, areaBytes }: Area): Promise<number> {
  const began = performance.now()
  const client = await NbdClient.open(cluster.node(owner).nbd.socket, `vms/${name}`)
  await client.read(vdiskBytes - areaBytes, pageBytes)
  const ms = performance.now() - began
  client.close()
  return ms
}

/** After a start another node may own the vDisk: it moves to where it is asked for. Of what is read later this reads one page. */
async function comesHere(cluster: Cluster, vdisk: string, { vdiskBytes, areaBytes }: Area): Promise<void> {
  const client = await NbdClient.open(cluster.node(owner).nbd.socket, vdisk)
  for (let reads = 0; (await cluster.vdisk(vdisk)).owner !== owner; reads += 500) {
    if (reads > 5000) throw new Error(`${vdisk} is owned by ${(await cluster.vdisk(vdisk)).owner} yet`)
    for (let i = 0; i < 500; i++) await client.read(vdiskBytes - areaBytes, pageBytes)
  }
  client.close()
}

/** The store keeps its file to itself while it runs. All keys of partitions begin with the vDisk's number (rows.ts). */
function metadataBytes(cluster: Cluster, vdisk: number): number {
  const database = new Database(join(cluster.dir, 'store/store.db'))
  try {
    const { bytes } = database
      .prepare<unknown[], { bytes: number }>(
        `SELECT SUM(LENGTH(r.key) + LENGTH(r.value)) AS bytes FROM medusa_rows r JOIN medusa_partitions p ON p.id = r.partition
         WHERE p.key = $id OR p.key LIKE $id || '.%' OR p.key LIKE $id || '-%'`,
      )
      .get({ id: String(vdisk) })!
    return bytes
  } finally {
    database.close()
  }
}
