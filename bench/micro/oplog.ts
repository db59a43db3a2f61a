/** The way of 32 writes of 4 KiB into a log: records, the message to the peer and what the peer makes of it, and the batch for the disk. */
import { assert } from '../../src/base/assert.ts'
import { alignedBuffer } from '../../src/base/aligned-memory.ts'
import type { EpisodeId, Epoch, Incarnation, LayerId, Sequence, VDiskId } from '../../src/base/ids.ts'
import { pageBytes, vDiskOffset } from '../../src/base/units.ts'
import { type AppendWanted, decodeAppends, encodeAppends } from '../../src/stargate/oplog/append-message.ts'
import { batchBytesFor, encodeBatch, noBatch } from '../../src/stargate/oplog/batch.ts'
import { type EncodedRecord, encodeRecord } from '../../src/stargate/oplog/record.ts'
import { firstBatchOffset } from '../../src/stargate/oplog/segment.ts'
import { type Part, scattered } from './part.ts'

export const recordsAtOnce = 32
const vdisk = 7 as VDiskId
const epoch = 3 as Epoch
const episode = 1 as EpisodeId
const payload = Buffer.alloc(pageBytes, 0xa5)
const diskName = 'n2-flash-0/0123456789abcdef'

const recordOf = (i: number): EncodedRecord =>
  encodeRecord(
    {
      kind: 'data',
      vdisk,
      layer: 1 as LayerId,
      sequence: (i + 1) as Sequence,
      acknowledged: i as Sequence,
      epoch,
      episode,
      episodeFirst: 1 as Sequence,
      offset: vDiskOffset(scattered(i, 2 ** 20) * pageBytes),
      length: pageBytes,
      time: 1_700_000_000_000,
    },
    [payload],
  )

/** What one turn of a guest at queue depth 32 sends to a peer. */
export const anAppend = (): AppendWanted => ({
  vdisk,
  epoch,
  episode,
  records: Array.from({ length: recordsAtOnce }, (_, i) => recordOf(i)),
})

export function oplogParts(): Part[] {
  const append = anAppend()
  const message = Buffer.concat(encodeAppends(diskName, [append]))
  const batch = alignedBuffer(batchBytesFor(append.records.reduce((sum, { bytes }) => sum + bytes, 0)))
  const place = {
    incarnation: '0123456789abcdef' as Incarnation,
    generation: 1,
    offset: firstBatchOffset,
    number: 1,
    synced: 0,
    previousEnd: 0,
  }
  let previous = noBatch
  let sequence = 0
  return [
    {
      name: 'oplog record encoded',
      operations: 1,
      run: () => void recordOf(sequence++ & 0xffff),
    },
    {
      name: 'oplog append message encoded, each record',
      operations: recordsAtOnce,
      run: () => void encodeAppends(diskName, [append]),
    },
    {
      name: 'oplog append message verified, each record',
      operations: recordsAtOnce,
      run: () => {
        const [decoded] = decodeAppends(message).appends
        assert(decoded.records.length === recordsAtOnce, 'a record was lost on its way')
      },
    },
    {
      name: 'oplog batch encoded, each record',
      operations: recordsAtOnce,
      run: () => {
        previous = encodeBatch(batch, { ...place, previous }, append)
      },
    },
  ]
}
