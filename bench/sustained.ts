/**
 * Random writes for five minutes over a vDisk that was written full before: the log fills, and is drained while guests write; overwritten
 * space is compacted. Held against its own first ten seconds, when the log still had room; its longest wait against that of a writer
 * that beside it appends to a file of the same disk, twenty times a second; and dead space against what is alive.
 */
import { readFileSync, statfsSync } from 'node:fs'
import { join } from 'node:path'
import { fio } from '../test/support/fio.ts'
import { meets, type Judged } from './goals.ts'
import { circumstances } from './machine.ts'
import { Ndfs } from './ndfs.ts'
import { keepResults } from './results.ts'
import { orAborted } from './scratch.ts'
import { goalsTable } from './table.ts'
import { withTargets } from './target.ts'

const GiB = 1024 ** 3
const nodes = 3
const flashGiB = 8
const copies = 2
/** Live data, and the dead space that compaction lets stand beside it. */
const spacePerLive = 2.5
const leftFreeGiB = 8
const secondsUsual = 300
const firstSeconds = 10
const fillSecondsMax = 1200
/** A wait below this is no stall, whatever the disk did. */
const stallMs = 200
const looksEveryMs = 15_000

export interface Room {
  readonly vdiskGiB: number
  readonly hddGiB: number
}

/** For the size that is asked for, where one is. Undefined where the disk has no room for it. */
export function roomFor(freeBytes: number, wantedVDiskGiB?: number): Room | undefined {
  const freeGiB = freeBytes / GiB
  const vdiskGiB = wantedVDiskGiB ?? (freeGiB < 60 ? 6 : 16)
  const wantedGiB = vdiskGiB * copies * spacePerLive + nodes * flashGiB
  const hddGiB = Math.floor(Math.min(wantedGiB, freeGiB - leftFreeGiB) / nodes) - flashGiB
  return hddGiB * nodes < vdiskGiB * copies * 0.5 ? undefined : { vdiskGiB, hddGiB }
}

/** From the rate of each second. */
export function steadiness(perSecond: readonly number[]): {
  readonly first: number
  readonly after: number
  readonly slowest: number
} {
  const mean = (of: readonly number[]): number => of.reduce((sum, each) => sum + each, 0) / of.length
  const windows = perSecond
    .slice(0, perSecond.length - firstSeconds + 1)
    .map((_, at) => mean(perSecond.slice(at, at + firstSeconds)))
  return {
    first: mean(perSecond.slice(0, firstSeconds)),
    after: mean(perSecond.slice(firstSeconds)),
    slowest: Math.min(...windows),
  }
}

export async function sustained(
  root: string,
  signal: AbortSignal,
  { seconds: runSeconds = secondsUsual, vdiskGiB: wantedGiB }: { seconds?: number; vdiskGiB?: number } = {},
): Promise<void> {
  const { bavail, bsize } = statfsSync(root)
  const freeBytes = bavail * bsize
  const room = roomFor(freeBytes, wantedGiB)
  const freeText = `${(freeBytes / GiB).toFixed(0)} GiB`
  if (room === undefined)
    throw new Error(
      `Cannot run the sustained writes in ${root}: its disk has ${freeText} free, and 40 GiB are needed. ` +
        'Name a folder on a larger one with --dir.',
    )
  const { vdiskGiB, hddGiB } = room
  console.log(
    `Random write, 4 KiB, d32, for ${runSeconds} s over ${vdiskGiB} GiB` +
      (vdiskGiB < 16 && wantedGiB === undefined ? `, not 16, as the disk has only ${freeText} free` : '') +
      `, on ${nodes * (flashGiB + hddGiB)} GiB of disks`,
  )
  const disks = [`flash:${flashGiB}GiB`, `hdd:${hddGiB}GiB`]
  const ndfs = new Ndfs(root, { vdiskMiB: vdiskGiB * 1024, disks })
  await withTargets([ndfs], signal, async () => {
    const place = await ndfs.place({})
    const run = (options: readonly string[], seconds: number): ReturnType<typeof fio> =>
      fio({ place, options: [...options, `size=${vdiskGiB}g`], seconds, folder: root, signal })
    await run(['rw=write', 'bs=1m', 'iodepth=8'], fillSecondsMax)
    await orAborted(ndfs.settled(), signal)
    const log = join(root, 'sustained')
    const timed = ['time_based', `runtime=${runSeconds}`, `write_iops_log=${log}`, 'log_avg_msec=1000']
    const work = ['rw=randwrite', 'bs=4k', 'iodepth=32', 'norandommap', 'randrepeat=0']
    const beside = fio({
      place: ['ioengine=psync', 'direct=1', 'sync=dsync', `filename=${join(root, 'beside')}`, 'size=64m'],
      options: ['rw=write', 'bs=4k', 'rate_iops=20', 'time_based', `runtime=${runSeconds}`],
      seconds: runSeconds + 120,
      folder: root,
      signal,
    })
    // Of what overwriting has come to, not of what it began with.
    const grown: number[] = []
    const looking = setInterval(() => grown.push(ndfs.groupBytes()), looksEveryMs)
    const { writes, longestMs } = await run([...work, ...timed], runSeconds + 120).finally(() =>
      clearInterval(looking),
    )
    const disksLongestMs = (await beside).longestMs
    const liveBytes = vdiskGiB * GiB * copies
    const deadBytesMost = Math.max(0, ...grown) - liveBytes
    const perSecond = readFileSync(`${log}_iops.1.log`, 'utf8')
      .trim()
      .split('\n')
      .map((line) => Number(line.split(',')[1]))
    const { first, after, slowest } = steadiness(perSecond)
    const { p50Microseconds, p999Microseconds } = writes
    const judged: Judged[] = [
      {
        name: 'after the first 10 s',
        against: 'the first 10 s',
        ratio: after / first,
        wanted: { atLeast: 0.5 },
      },
      {
        name: 'p99.9',
        against: 'the median',
        ratio: p999Microseconds / p50Microseconds,
        wanted: { atMost: 10 },
      },
      {
        name: 'the longest wait',
        against: `${stallMs} ms, or twice that of the disk by itself`,
        ratio: longestMs / Math.max(stallMs, 2 * disksLongestMs),
        wanted: { atMost: 1 },
      },
      {
        name: 'dead space',
        against: 'what is alive',
        ratio: deadBytesMost / liveBytes,
        wanted: { atMost: 1.5 },
      },
    ].map((goal) => ({ ...goal, met: meets(goal.ratio, goal.wanted) }))
    console.log(
      `first ${firstSeconds} s ${first.toFixed(0)}/s, after that ${after.toFixed(0)}/s (a quiet machine: 15,000/s), ` +
        `the slowest ${firstSeconds} s ${slowest.toFixed(0)}/s; median ${p50Microseconds.toFixed(0)} µs, ` +
        `p99.9 ${p999Microseconds.toFixed(0)} µs, longest ${longestMs.toFixed(0)} ms; of the writer beside it ` +
        `${disksLongestMs.toFixed(0)} ms\n\n${goalsTable(judged)}`,
    )
    const memory = await ndfs.memory()
    const file = keepResults('sustained', {
      ...circumstances(root),
      vdiskGiB,
      disks,
      seconds: runSeconds,
      first,
      after,
      slowest,
      longestMs,
      disksLongestMs,
      liveBytes,
      deadBytesMost,
      writes,
      perSecond,
      judged,
      memory,
    })
    console.log(`Written to ${file}.`)
  })
}
