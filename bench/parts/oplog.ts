/**
 * Appends of 4 KiB to one local replica at depth 1 and 32, beside a plain loop of durable writes of the same size.
 *
 *   node bench/parts/oplog.ts [folder]
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { DiskId, EpisodeId, Epoch, LayerId, NodeId, Sequence, VDiskId } from '../../src/base/ids.ts'
import { GiB, vDiskOffset } from '../../src/base/units.ts'
import { formatDisk, openDisk } from '../../src/disk/folder-disk.ts'
import { nodePlatform } from '../../src/platform/node-platform.ts'
import { encodeRecord } from '../../src/stargate/oplog/record.ts'
import { openOplogReplica } from '../../src/stargate/oplog/replica-log.ts'

const seconds = 3
const bytes = 4096
const platform = nodePlatform({ level: 'error' })
const folder = await mkdtemp(join(process.argv[2] ?? tmpdir(), 'ndfs-oplog-bench-'))
const options = { path: join(folder, 'disk'), cluster: 'bench', disk: 'flash' as DiskId }

async function plainWrites(): Promise<void> {
  const path = join(folder, 'plain')
  const made = await platform.files.open(path, { create: true, writable: true })
  await made.write([Buffer.alloc(64 * 1024 * 1024)], 0)
  await made.sync()
  await made.close()
  const file = await platform.files.open(path, { writable: true, direct: true, durable: true })
  const block = platform.files.alignedBuffer(bytes)
  const start = platform.clock.now()
  let writes = 0
  for (; platform.clock.now() - start < seconds * 1000; writes++)
    await file.write([block], (writes % 16384) * bytes)
  await file.close()
  process.stdout.write(`plain O_DSYNC, d1:  ${Math.round(writes / seconds)} writes/s\n`)
}

async function appends(depth: number): Promise<void> {
  const disk = await openDisk(platform, { ...options, node: 'n1' as NodeId })
  const replica = await openOplogReplica({ platform, disk })
  const payload = Buffer.alloc(bytes, 0xa5)
  const episode = 1 as EpisodeId
  const stream = async (vdisk: VDiskId, epoch: Epoch, until: number): Promise<number> => {
    let sequence = 0
    while (platform.clock.now() < until) {
      sequence++
      const record = encodeRecord(
        {
          kind: 'data',
          vdisk,
          layer: 1 as LayerId,
          sequence: sequence as Sequence,
          acknowledged: (sequence - 1) as Sequence,
          epoch,
          episode,
          episodeFirst: 1 as Sequence,
          offset: vDiskOffset(0),
          length: bytes,
          time: 0,
        },
        [payload],
      )
      await replica.append(vdisk, epoch, episode, [record])
      if (sequence % 64 === 0) replica.free(vdisk, sequence as Sequence)
    }
    replica.free(vdisk, sequence as Sequence)
    return sequence
  }
  // Once without counting, until the first segment is made and the code is compiled.
  const vdisks = Array.from({ length: depth }, (_, index) => depth * 1000 + index)
  const run = (first: number, forMs: number) => {
    const until = platform.clock.now() + forMs
    return Promise.all(vdisks.map((vdisk) => stream((first + vdisk) as VDiskId, 1 as Epoch, until)))
  }
  await run(0, 1000)
  const before = replica.statistics()
  const records = (await run(1_000_000, seconds * 1000)).reduce((sum, count) => sum + count, 0)
  const syncs = replica.statistics().syncs - before.syncs
  process.stdout.write(
    `oplog append, d${depth}: ${Math.round(records / seconds)} records/s, ${(records / syncs).toFixed(1)} records a sync, ${Math.round(syncs / seconds)} syncs/s\n`,
  )
  await replica.close()
  await disk.close()
}

try {
  await formatDisk(platform, { ...options, tier: 'flash', capacityBytes: 4 * GiB })
  await plainWrites()
  for (const depth of [1, 32]) await appends(depth)
} finally {
  await rm(folder, { recursive: true, force: true })
}
