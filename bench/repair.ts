/**
 * `npm run bench:repair`: how fast copies that are gone are made anew, held against what the disk does by itself in the same minutes, and
 * what guests have meanwhile.
 *
 *   1. `cp` and `sync` of as many bytes, in files of 4 MiB, between two folders; once before, once after.
 *   2. A node of three is killed, guests idle: bytes repaired in the time from the kill until status says that all is on full copies, and
 *      in the time from the first copy to the last. Processor time of all processes for each GiB.
 *   3. Guests at queue depth 32 for some seconds; another node is killed, and the same again while it is repaired.
 *
 * A copy is counted when its row names it: then its bytes, its name and its row are on stable media, each copy by itself. What `cp` wrote is
 * durable when `sync` has ended, all at once.
 *
 * Options: --gib N to be stored (3), --seconds N for each of the guests' figures (8), --dir DIR on the disk to be measured.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { ClusterStatus } from '../src/management/management.ts'
import { type Cluster, withCluster } from '../test/support/cluster.ts'
import { fio } from '../test/support/fio.ts'
import { askAny, askNode, healed, ownerOf } from '../test/support/health.ts'
import { machineSeconds, pidsOf, processorSeconds } from '../test/support/processor-time.ts'
import { sleep } from '../test/support/run.ts'
import { copyReference } from './copy-reference.ts'
import { dropCaches } from './drop-caches.ts'
import { machineAndCommit } from './machine.ts'

const MiB = 1024 ** 2
const GiB = 1024 ** 3
const repairedBytes = 'ndfs_repaired_bytes_total'
const shareGoal = 0.6
const guestShareGoal = 0.75
const guestSize = '512m'
const lookMs = 250

const { values } = parseArgs({
  options: {
    gib: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '8' },
    dir: { type: 'string', default: tmpdir() },
    'only-idle': { type: 'boolean', default: false },
  },
})
const storedBytes = Number(values.gib) * GiB
const seconds = Number(values.seconds)
const perSecond = (bytes: number): string => `${(bytes / MiB).toFixed(0)} MiB/s`

interface Repaired {
  readonly bytes: number
  readonly bytesPerSecond: number
  readonly bytesPerSecondAtWork: number
  readonly processorSeconds: number
  /** Of both processors' time, while copies were made. */
  readonly busy: number
}

/** Kills the node and waits until all is on full copies without it. `meanwhile` begins once repair has begun. */
async function repair(cluster: Cluster, node: string, meanwhile: () => Promise<void>): Promise<Repaired> {
  const pids = pidsOf(cluster).filter((pid) => pid !== cluster.node(node).pid)
  const left = cluster.nodes.map(({ id }) => id).filter((id) => id !== node)
  const made = async (): Promise<number> => {
    const sums = await Promise.all(left.map((id) => cluster.metric(id, repairedBytes)))
    return sums.reduce((sum, bytes) => sum + bytes, 0)
  }
  const before = await made()
  const done = async (): Promise<number> => (await made()) - before
  await cluster.kill(node)
  const killedAt = performance.now()
  const spentBefore = processorSeconds(pids)
  let beganAt = Infinity
  let endedAt = killedAt
  let machineBefore = machineSeconds()
  let machineAfter = machineBefore
  let first = 0
  let last = 0
  let work: Promise<void> | undefined
  for (;;) {
    const bytes = await done()
    if (bytes > 0 && beganAt === Infinity) {
      beganAt = performance.now()
      first = bytes
      machineBefore = machineSeconds()
      work = meanwhile()
      work.catch(() => undefined)
    }
    if (bytes > last) {
      endedAt = performance.now()
      machineAfter = machineSeconds()
      last = bytes
    }
    // Asked only when nothing moves: an answer costs about as much as a copy.
    else if (beganAt < Infinity && performance.now() > endedAt + lookMs) {
      const status = await askAny<ClusterStatus>(cluster, 'status', [node])
      if (status !== undefined && status.repair === undefined && status.survival.shortBytes === 0) break
    }
    await sleep(lookMs)
  }
  const spent = processorSeconds(pids) - spentBefore
  await work
  const bytes = await done()
  const busy = machineAfter.busy - machineBefore.busy
  return {
    bytes,
    bytesPerSecond: (bytes * 1000) / (endedAt - killedAt),
    bytesPerSecondAtWork: ((bytes - first) * 1000) / (endedAt - beganAt),
    processorSeconds: spent,
    busy: busy / (busy + machineAfter.idle - machineBefore.idle),
  }
}

const guestJobs = {
  'random write, 4 KiB, d32': ['rw=randwrite', 'bs=4k', 'iodepth=32', `size=${guestSize}`, 'norandommap'],
  'random read, 4 KiB, d32': ['rw=randread', 'bs=4k', 'iodepth=32', `size=${guestSize}`, 'norandommap'],
} as const

async function measure(cluster: Cluster): Promise<string[]> {
  const missed: string[] = []
  const stored = await cluster.createVDisk(`${storedBytes / MiB}MiB`, 'stored')
  const guests = await cluster.createVDisk('1GiB', 'guests')
  const folder = cluster.scratch
  for (const vdisk of [stored, guests])
    await fio({
      uri: cluster.unix('n1', vdisk),
      options: [
        'rw=write',
        'bs=1m',
        'iodepth=32',
        `size=${vdisk === stored ? storedBytes / MiB : 512}m`,
        'refill_buffers',
      ],
      seconds: 900,
      folder,
    })
  for (const vdisk of [stored, guests]) await cluster.drained(vdisk, 300)
  await healed(cluster)

  const referenceBytes = Math.min(storedBytes, GiB)
  const references = [copyReference(folder, referenceBytes)]
  console.log(`cp and sync: ${perSecond(references[0])}`)
  const dropped = dropCaches()
  if (!dropped) console.log('caches could not be dropped: all is read as it lies')
  const idle = await repair(cluster, 'n3', () => Promise.resolve())
  await cluster.startNode('n3')
  await healed(cluster)
  references.push(copyReference(folder, referenceBytes))
  console.log(`cp and sync, once more: ${perSecond(references[1])}`)
  const reference = (references[0] + references[1]) / 2
  const share = idle.bytesPerSecondAtWork / reference
  console.log(
    `repair, guests idle: ${(idle.bytes / GiB).toFixed(2)} GiB at ${perSecond(idle.bytesPerSecondAtWork)}, ` +
      `${(100 * share).toFixed(0)} % of cp and sync; ${perSecond(idle.bytesPerSecond)} counted from the kill; processors ` +
      `${(100 * idle.busy).toFixed(0)} % busy; ${((idle.processorSeconds * GiB) / idle.bytes).toFixed(2)} s of processor time for each GiB`,
  )
  if (share < shareGoal) missed.push(`repair: ${(100 * share).toFixed(0)} % of cp and sync`)
  if (values['only-idle']) return missed

  let victim = 'n2'
  for (const [name, options] of Object.entries(guestJobs)) {
    const job = async (): Promise<number> => {
      const timed = [...options, 'time_based', `runtime=${seconds}`]
      const { reads, writes } = await fio({
        uri: cluster.unix('n1', guests),
        options: timed,
        seconds: seconds + 120,
        folder,
      })
      return reads.iops + writes.iops
    }
    const alone = await job()
    const owners = [await ownerOf(cluster, stored), await ownerOf(cluster, guests)].map(({ owner }) => owner)
    let beside = 0
    let wasLeft = false
    const { bytesPerSecondAtWork } = await repair(cluster, victim, async () => {
      beside = await job()
      wasLeft = (await askNode<ClusterStatus>(cluster, 'n1', 'status'))?.repair !== undefined
    })
    const kept = beside / alone
    console.log(
      `${name}: ${alone.toFixed(0)}/s alone, ${beside.toFixed(0)}/s beside repair (${(100 * kept).toFixed(0)} %), ` +
        `which made ${perSecond(bytesPerSecondAtWork)}${wasLeft ? '' : '; repair had ended before'}; ` +
        `${victim} was killed, what was repaired was owned by ${owners[0]}, the guests' vDisk by ${owners[1]}`,
    )
    if (kept < guestShareGoal) missed.push(`${name}: guests kept ${(100 * kept).toFixed(0)} %`)
    await cluster.startNode(victim)
    await healed(cluster, 600)
    victim = victim === 'n2' ? 'n3' : 'n2'
  }
  return missed
}

console.log(machineAndCommit())
const root = mkdtempSync(join(values.dir, 'ndfs-repair-'))
process.env.NDFS_TEST_ROOT = root
try {
  await withCluster({ disks: ['flash:12GiB', 'hdd:16GiB'] }, async (cluster) => {
    const missed = await measure(cluster)
    for (const miss of missed) console.log(`MISSED ${miss}`)
    process.exitCode = missed.length === 0 ? 0 : 1
  })
} finally {
  rmSync(root, { recursive: true, force: true })
}
