/** What says where a page is: the index of the undrained log, rows of the map, and the places of extent groups. */
import { assert } from '../../src/base/assert.ts'
import type { CopyNumber, DiskId, Epoch, GroupId, Incarnation, NodeId, Sequence } from '../../src/base/ids.ts'
import { groupIdOf, type VDiskId } from '../../src/base/ids.ts'
import { pageBytes, pagesPerGroupMax, pagesPerVBlock } from '../../src/base/units.ts'
import type { Medusa } from '../../src/medusa/medusa.ts'
import { GroupPlaces, GroupTable } from '../../src/stargate/vdisk-controller/group-table.ts'
import { LogIndex } from '../../src/stargate/vdisk-controller/log-index.ts'
import {
  decodeVBlock,
  emptyVBlock,
  encodeVBlock,
  type VBlock,
} from '../../src/stargate/vdisk-controller/map-row.ts'
import { type Part, scattered } from './part.ts'

const logPages = 8192
const groups = 4096
const rowGroups = 32
const atOnce = 64

export function indexParts(): Part[] {
  return [...logIndexParts(), ...mapRowParts(), ...groupParts()]
}

/** A log of 32 MiB at steady state: each write takes the place of an older one, and is looked up once. */
function logIndexParts(): Part[] {
  const payload = Buffer.alloc(pageBytes, 1)
  const part = (name: string, shift: number): Part => {
    const index = new LogIndex()
    let sequence = 0
    const put = (): number => {
      const page = scattered(++sequence, logPages)
      index.putData(sequence as Sequence, page * pageBytes + shift, payload)
      return page
    }
    for (let i = 0; i < 2 * logPages; i++) put()
    return {
      name,
      operations: atOnce,
      run: () => {
        for (let i = 0; i < atOnce; i++) assert(index.get(put()) !== undefined, 'what was put is not there')
      },
    }
  }
  const trimmed = new LogIndex()
  const pages = Array.from({ length: atOnce }, (_, i) => scattered(i, logPages))
  let last = 0
  return [
    part('log index put and get', 0),
    part('log index put and get, shifted by 512 bytes', 512),
    {
      name: 'log index put and trimmed',
      operations: atOnce,
      run: () => {
        for (const page of pages) trimmed.putData(++last as Sequence, page * pageBytes, payload)
        trimmed.trim(pages, last as Sequence)
        assert(trimmed.size === 0, 'what was drained is still there')
      },
    },
  ]
}

/** One row that a stream made, of one run, and one that random writes made, of 256. */
function mapRowParts(): Part[] {
  const ids = Array.from({ length: rowGroups }, (_, i) => groupIdOf(1 as VDiskId, 1 as Epoch, i + 1))
  const handles = new Map(ids.map((id, i) => [id, i + 1]))
  const idOf = (handle: number): GroupId => ids[handle - 1]
  const handleOf = (id: GroupId): number => handles.get(id)!
  const rowOf = (place: (page: number) => readonly [group: number, page: number]): VBlock => {
    const block = emptyVBlock()
    for (let page = 0; page < pagesPerVBlock; page++) [block.groups[page], block.pages[page]] = place(page)
    return block
  }
  const rows = {
    'of one run': rowOf((page) => [1, page]),
    'of 256 runs': rowOf((page) => [1 + scattered(page, rowGroups), scattered(page + 1, pagesPerGroupMax)]),
  }
  return Object.entries(rows).flatMap(([what, block]) => {
    const bytes = encodeVBlock(block, idOf)
    return [
      { name: `map row ${what} encoded`, operations: 1, run: () => void encodeVBlock(block, idOf) },
      { name: `map row ${what} decoded`, operations: 1, run: () => void decodeVBlock(bytes, handleOf) },
    ]
  })
}

/** What each page of a read asks: where its group lies. All are in memory, so Medusa is asked for nothing. */
function groupParts(): Part[] {
  const table = new GroupTable(undefined as unknown as Medusa, new GroupPlaces())
  const handles = Array.from({ length: groups }, (_, i) => {
    const handle = table.handleOf(groupIdOf(1 as VDiskId, 1 as Epoch, i + 1))
    const copies = ['n1', 'n2'].map((node, number) => ({
      node: node as NodeId,
      disk: `${node}-flash-0` as DiskId,
      incarnation: '0123456789abcdef' as Incarnation,
      number: (number + 1) as CopyNumber,
    }))
    table.remember(handle, { copies, checksums: new Uint32Array(256) })
    return handle
  })
  let next = 0
  return [
    {
      name: 'group index looked up',
      operations: atOnce,
      run: () => {
        for (let i = 0; i < atOnce; i++)
          assert(table.peek(handles[scattered(next++, groups)]) !== undefined, 'a group is not known')
      },
    },
  ]
}
