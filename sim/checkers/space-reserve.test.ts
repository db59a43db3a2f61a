import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { CopyNumber, Epoch, LayerId, VDiskId } from '../../src/base/ids.ts'
import { groupIdOf } from '../../src/base/ids.ts'
import { groupFileName } from '../../src/stargate/extent-store/group-file.ts'
import { encodeTrailer } from '../../src/stargate/extent-store/trailer.ts'
import { FileContent } from '../sim-file-content.ts'
import { SpaceReserve } from './space-reserve.ts'

const capacity = 100_000
const nameOf = (counter: number): string =>
  `/disks/hdd/${groupFileName(groupIdOf(1 as VDiskId, 1 as Epoch, counter), 1 as CopyNumber)}`

function fileOf(bytes: Buffer): FileContent {
  const content = new FileContent()
  content.land(0, bytes, false)
  return content
}

/** A disk with so many bytes taken. */
function diskWith(bytes: number, isThere = () => true): SpaceReserve {
  const disk = new SpaceReserve('n1, hdd', capacity, isThere)
  disk.created('/disks/hdd/oplog/segment-0', fileOf(Buffer.alloc(bytes)))
  return disk
}

/** A group's file is begun, and synced with these bytes in it. */
function begin(disk: SpaceReserve, bytes: Buffer): string | undefined {
  const content = fileOf(bytes)
  return disk.created(nameOf(1), content) ?? disk.synced(nameOf(1), content)
}

const trailer = encodeTrailer({
  cluster: 'c',
  group: groupIdOf(1 as VDiskId, 1 as Epoch, 1),
  number: 1 as CopyNumber,
  container: 'c/v',
  layer: 1 as LayerId,
  copies: 2,
  extents: [],
  checksums: new Uint32Array(0),
  zeros: [],
})

test('I10: a stream begins a file only where the reserve is left', () => {
  assert.equal(begin(diskWith(89_000), Buffer.alloc(4096)), undefined)
  assert.match(begin(diskWith(91_000), Buffer.alloc(4096))!, /guest's stream began .* more than 90 %/)
})

test('I10: a drain may use the reserve', () => {
  assert.equal(begin(diskWith(91_000), trailer), undefined)
})

test('I10: nobody is given more than there is', () => {
  assert.match(begin(diskWith(101_000), trailer)!, /hold 101000 bytes, and it has 100000/)
})

test('I10: what was removed, or went with a power cut, takes no room', () => {
  const disk = diskWith(91_000)
  disk.removed('/disks/hdd/oplog/segment-0')
  assert.equal(begin(disk, Buffer.alloc(4096)), undefined)
  assert.equal(
    begin(
      diskWith(91_000, () => false),
      Buffer.alloc(4096),
    ),
    undefined,
  )
})
