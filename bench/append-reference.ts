/**
 * What the disk itself can do, for comparison in the same minutes: one stream of 4 KiB appends to a preallocated file,
 * each on stable media (O_DSYNC) and around the page cache (O_DIRECT) before the next begins.
 */
import { fio, type FioSide } from '../test/support/fio.ts'
import { join } from 'node:path'

export async function appendReference(folder: string, seconds: number): Promise<FioSide> {
  const { writes } = await fio({
    engine: 'psync',
    target: join(folder, 'append-reference'),
    options: ['rw=write', 'bs=4k', 'size=1g', 'direct=1', 'sync=dsync', 'time_based', `runtime=${seconds}`],
    seconds: seconds + 60,
    folder,
  })
  return writes
}
