/**
 * What is measured, of NDFS as of everybody it is held against: the one list of fio jobs.
 *
 * All work on an image of the same size, which was written full before. A round begins with the job that writes the whole image in
 * sequence, so that what earlier rounds have scattered lies in order again when it is read.
 */
export type JobId =
  | 'append'
  | 'sequential-write'
  | 'sequential-read'
  | 'random-read-d1'
  | 'random-read-d32'
  | 'cached-read-d1'
  | 'cached-read-d32'
  | 'cached-read-d128'
  | 'random-write-d1'
  | 'random-write-d32'
  | 'sustained-write-d32'
  | 'shifted-write-d32'
  | 'mix-d32'

export interface Job {
  readonly id: JobId
  readonly name: string
  readonly unit: Unit
  /** Without time and place. */
  readonly options: readonly string[]
  /** It ends when it has been through all of its bytes, and not by time. */
  readonly once?: true
  /** Where what it reads lies: a disk, caches emptied before, or memory, all of it read before. */
  readonly from?: 'disk' | 'memory'
}
export type Unit = 'requests/s' | 'MB/s'

export const imageMiB = 2048
/** What the jobs read that read from memory. */
export const workingSetMiB = 512

const random = (kind: string, depth: number): readonly string[] => [
  `rw=${kind}`,
  'bs=4k',
  `iodepth=${depth}`,
  'norandommap',
]
const sequential = (kind: string): readonly string[] => [
  `rw=${kind}`,
  'bs=1m',
  'iodepth=8',
  `size=${imageMiB}m`,
]
const wholeImage = `size=${imageMiB}m`
const workingSet = `size=${workingSetMiB}m`
const requests: Unit = 'requests/s'
/** What lies in the log is drained when it is so old, or there is much of it: what sustained jobs write until then does not count. */
export const untilDrainsSeconds = 20

export const jobs: readonly Job[] = [
  {
    id: 'append',
    name: 'append, one stream, O_DSYNC',
    unit: requests,
    options: ['rw=write', 'bs=4k', wholeImage, 'sync=dsync'],
  },
  {
    id: 'sequential-write',
    name: 'sequential write, 1 MiB, d8',
    unit: 'MB/s',
    options: sequential('write'),
    once: true,
  },
  {
    id: 'sequential-read',
    name: 'sequential read, 1 MiB, d8, cold',
    unit: 'MB/s',
    options: sequential('read'),
    from: 'disk',
  },
  {
    id: 'random-read-d1',
    name: 'random read from the disk, d1',
    unit: requests,
    options: [...random('randread', 1), wholeImage],
    from: 'disk',
  },
  {
    id: 'random-read-d32',
    name: 'random read from the disk, d32',
    unit: requests,
    options: [...random('randread', 32), wholeImage],
    from: 'disk',
  },
  {
    id: 'cached-read-d1',
    name: 'random read from memory, d1',
    unit: requests,
    options: [...random('randread', 1), workingSet],
    from: 'memory',
  },
  {
    id: 'cached-read-d32',
    name: 'random read from memory, d32',
    unit: requests,
    options: [...random('randread', 32), workingSet],
    from: 'memory',
  },
  {
    id: 'cached-read-d128',
    name: 'random read from memory, d128',
    unit: requests,
    options: [...random('randread', 128), workingSet],
    from: 'memory',
  },
  {
    id: 'random-write-d1',
    name: 'random write, d1',
    unit: requests,
    options: [...random('randwrite', 1), wholeImage],
  },
  {
    id: 'random-write-d32',
    name: 'random write, d32',
    unit: requests,
    options: [...random('randwrite', 32), wholeImage],
  },
  {
    id: 'sustained-write-d32',
    name: 'random write, d32, sustained',
    unit: requests,
    options: [...random('randwrite', 32), wholeImage, `ramp_time=${untilDrainsSeconds}`],
  },
  {
    // fio's random offsets are multiples of 4 KiB, counted from here.
    id: 'shifted-write-d32',
    name: 'random write, d32, shifted by 512 bytes',
    unit: requests,
    options: [...random('randwrite', 32), 'offset=512', `size=${imageMiB - 1}m`],
  },
  {
    id: 'mix-d32',
    name: '70 % reads, 30 % writes, random, d32',
    unit: requests,
    options: [...random('randrw', 32), 'rwmixread=70', wholeImage],
    from: 'disk',
  },
]

export function jobOf(id: JobId): Job {
  const job = jobs.find((each) => each.id === id)
  if (job === undefined) throw new Error(`There is no job ${id}`)
  return job
}
