/** Whoever writes one vDisk over and over takes no more space than the vDisk: what nothing points to is freed. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Cluster, withCluster } from './support/cluster.ts'
import { fio } from './support/fio.ts'
import { figure, until } from './support/run.ts'
import { without } from './support/tools.ts'

const GiB = 1024 ** 3

test(
  'a vDisk that is overwritten again and again does not fill its disks',
  { skip: without('fio'), timeout: 300_000 },
  () =>
    withCluster({ disks: ['flash:1GiB', 'hdd:1GiB'] }, async (cluster) => {
      const vdisk = await cluster.createVDisk('256MiB')
      const uri = cluster.unix('n1', vdisk)
      let written = 0
      let most = 0
      const kinds = [
        ['rw=randwrite', 'bs=4k', 'iodepth=32', 'io_size=64m'],
        ['rw=write', 'bs=1m', 'iodepth=8', 'io_size=512m'],
        ['rw=randwrite', 'bs=64k', 'iodepth=16', 'io_size=256m'],
      ]
      const end = performance.now() + 60_000
      let streamed = 0
      // Twice what the assertions ask for, or for as long as a minute.
      for (let round = 0; performance.now() < end && streamed < 4 * GiB; round++) {
        const options = [...kinds[round % kinds.length], 'size=256m', `randseed=${round}`, 'randrepeat=0']
        const { writes } = await fio({
          uri,
          options: [...options, 'norandommap'],
          seconds: 120,
          folder: cluster.scratch,
        })
        written += writes.bytesPerSecond === 0 ? 0 : writes.requests
        most = Math.max(most, await usedBytes(cluster))
        streamed = 4096 * (await cluster.metricOfAll('ndfs_extent_pages_written_total'))
      }
      const drained = await cluster.metricOfAll('ndfs_drained_bytes_total')
      figure(
        `overwriting 256 MiB: ${(streamed / GiB).toFixed(1)} GiB written to extent groups, ` +
          `${(drained / GiB).toFixed(1)} GiB drained, at most ${(most / GiB).toFixed(2)} GiB in use`,
      )
      assert(
        written > 0 && streamed > 2 * GiB,
        `only ${streamed} bytes were written: too few to show anything`,
      )
      await fio({
        uri,
        options: ['rw=randwrite', 'bs=16k', 'size=64m', 'iodepth=16', 'verify=crc32c', 'verify_fatal=1'],
        seconds: 120,
        folder: cluster.scratch,
      })
      await until(
        'what nothing points to is freed',
        // Both copies, the logs, and what is not compacted yet.
        async () => (await usedBytes(cluster)) < 3 * 0.25 * GiB + 3 * 2 * 0.25 * GiB,
        60,
        500,
      )
      assert((await cluster.metricOfAll('ndfs_extent_groups_freed_total')) > 0)
    }),
)

const usedBytes = async (cluster: Cluster): Promise<number> =>
  (await cluster.disks()).reduce((sum, { usedBytes = 0 }) => sum + usedBytes, 0)
