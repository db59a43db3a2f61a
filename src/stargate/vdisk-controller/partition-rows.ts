/**
 * Rows of one partition of the map, as whoever doesn't own the vDisk has read them: what they say of each vBlock, and whether all are there
 * that the digest wants.
 */
import { hasCode } from '../../base/errors.ts'
import type { GroupId } from '../../base/ids.ts'
import { vBlocksPerPartition } from '../../base/units.ts'
import type { Row } from '../../medusa/medusa.ts'
import type { GroupHandle } from '../extent-cache/extent-cache.ts'
import { applyDeltas, deltaKeysBegin, deltaKeysEnd, MapDelta } from './map-delta.ts'
import { decodeOwnRow, type VBlock } from './map-row.ts'
import { decodeDigest, digestKey } from './map-digest.ts'
import { vBlockKey } from './vdisk-map.ts'

export class PartitionRows {
  /** Versions; undefined where the row is not there. */
  readonly digest: Uint32Array | undefined
  /** The key of the oldest delta that is needed. */
  readonly oldest: string | undefined
  readonly #rows = new Map<string, Row>()
  readonly #deltas: MapDelta[] = []
  readonly #handles = new Map<GroupId, GroupHandle>()
  readonly #ids: GroupId[] = []

  constructor(rows: Iterable<Row>) {
    const deltas: Row[] = []
    for (const row of rows)
      if (row.key > deltaKeysBegin && row.key < deltaKeysEnd) deltas.push(row)
      else this.#rows.set(row.key, row)
    const digest = this.#rows.get(digestKey)
    if (digest === undefined) return
    this.digest = new Uint32Array(vBlocksPerPartition)
    this.oldest = decodeDigest(digest.value, this.digest)
    for (const row of deltas.sort((a, b) => (a.key < b.key ? -1 : 1)))
      if (this.oldest !== undefined && row.key >= this.oldest)
        unlessDamaged(() => this.#deltas.push(new MapDelta(row)))
  }

  row(index: number): Row | undefined {
    return this.#rows.get(vBlockKey(index))
  }

  /** Undefined where rows are missing, old or unreadable. */
  vBlock(index: number): VBlock | undefined {
    return this.vBlockOf(index, this.row(index))
  }

  /** The same with a row of the vBlock that was read elsewhere. */
  vBlockOf(index: number, row: Row | undefined): VBlock | undefined {
    return unlessDamaged(() => {
      const { block, version: own } = decodeOwnRow(row?.value, this.#handleOf)
      const version = applyDeltas(this.#deltas, index, block, own, this.#handleOf)
      return version === this.digest?.[index] ? block : undefined
    })
  }

  /** By vBlocks that are whole. */
  groupsNamed(): Set<GroupId> {
    const named = new Set<GroupId>()
    this.digest?.forEach((version, index) => {
      if (version === 0) return
      for (const handle of this.vBlock(index)?.groups ?? []) {
        const id = this.idOf(handle)
        if (id !== undefined) named.add(id)
      }
    })
    return named
  }

  /** Undefined for a hole and a bad page. */
  idOf(handle: GroupHandle): GroupId | undefined {
    return this.#ids[handle - 1]
  }

  readonly #handleOf = (id: GroupId): GroupHandle => {
    let handle = this.#handles.get(id)
    if (handle === undefined) this.#handles.set(id, (handle = this.#ids.push(id)))
    return handle
  }
}

function unlessDamaged<T>(work: () => T): T | undefined {
  try {
    return work()
  } catch (error) {
    if (!hasCode(error, 'DAMAGED_METADATA')) throw error
    return undefined
  }
}
