/**
 * The extent groups that this node knows of: a small number for each, which map and cache use instead of its id, and
 * the rows of those that were read lately. One for the node: handles are never used again while the process lives.
 */
import { assert } from '../../base/assert.ts'
import { NdfsError } from '../../base/errors.ts'
import type { GroupId, VDiskId } from '../../base/ids.ts'
import { MiB } from '../../base/units.ts'
import type { Medusa } from '../../medusa/medusa.ts'
import type { GroupHandle } from '../extent-cache/extent-cache.ts'
import type { CopyRef } from '../extent-store/extent-store.ts'
import { decodeGroupRow, groupPartition, groupRowKey } from './rows.ts'

/** Where a group lies and what its pages' checksums are: what a read needs. */
export interface GroupPlace {
  readonly copies: readonly CopyRef[]
  readonly checksums: Uint32Array
}

/**
 * Rows kept in memory. A full group's checksums take 4 KiB, so this covers 32 GiB of unfragmented data, and a miss
 * costs one read of Medusa (m14).
 */
const placeBytesMax = 32 * MiB

const bytesOf = (place: GroupPlace): number => place.checksums.byteLength + 256

export class GroupTable {
  readonly #medusa: Medusa
  readonly #handles = new Map<GroupId, GroupHandle>()
  readonly #ids = new Map<GroupHandle, GroupId>()
  /** Least recently used first. */
  readonly #places = new Map<GroupHandle, GroupPlace>()
  /** Groups that have no row yet: only undrained records know where they lie. */
  readonly #held = new Map<GroupHandle, GroupPlace>()
  #placeBytes = 0
  #lastHandle = 0

  constructor(medusa: Medusa) {
    this.#medusa = medusa
  }

  handleOf(id: GroupId): GroupHandle {
    let handle = this.#handles.get(id)
    if (handle === undefined) {
      handle = ++this.#lastHandle
      // 0 and the last number mean a hole and a bad page; long before that a process has been restarted.
      assert(handle < 0xffff_fffe, 'there are group handles left')
      this.#handles.set(id, handle)
      this.#ids.set(handle, id)
    }
    return handle
  }

  idOf(handle: GroupHandle): GroupId {
    const id = this.#ids.get(handle)
    assert(id !== undefined, 'a handle in use has an id')
    return id
  }

  /** The place as remembered, without asking Medusa. */
  peek(handle: GroupHandle): GroupPlace | undefined {
    const place = this.#places.get(handle)
    if (place === undefined) return this.#held.get(handle)
    this.#places.delete(handle)
    this.#places.set(handle, place)
    return place
  }

  /** The place of a group that has no row yet; kept until `release`. */
  hold(handle: GroupHandle, place: GroupPlace): void {
    this.#held.set(handle, place)
  }

  release(handle: GroupHandle): void {
    this.#held.delete(handle)
  }

  /** Rejects with DAMAGED_METADATA where a group that the map names has no row: that is damage, not a hole (I5). */
  async place(handle: GroupHandle): Promise<GroupPlace> {
    const known = this.peek(handle)
    if (known !== undefined) return known
    const id = this.idOf(handle)
    const { rows } = await this.#medusa.get(groupPartition(id), [groupRowKey])
    if (rows.length === 0)
      throw new NdfsError(
        'DAMAGED_METADATA',
        `Cannot read extent group ${id}: the map names it and it has no row`,
        { group: id },
      )
    const { copies, checksums } = decodeGroupRow(rows[0].value)
    this.remember(handle, { copies, checksums })
    return { copies, checksums }
  }

  remember(handle: GroupHandle, place: GroupPlace): void {
    this.#dropPlace(handle)
    this.#places.set(handle, place)
    this.#placeBytes += bytesOf(place)
    for (const oldest of this.#places.keys()) {
      if (this.#placeBytes <= placeBytesMax) break
      this.#dropPlace(oldest)
    }
  }

  /** Its row changed, or it is gone: the next use reads it again. */
  forgetPlace(handle: GroupHandle): void {
    this.#dropPlace(handle)
  }

  /** The group is freed: nothing names it any more, and its id is never used again. */
  forget(handle: GroupHandle): void {
    this.#dropPlace(handle)
    this.#held.delete(handle)
    const id = this.#ids.get(handle)
    this.#ids.delete(handle)
    if (id !== undefined) this.#handles.delete(id)
  }

  /** The vDisk is no longer hosted here. */
  forgetAllOf(vdisk: VDiskId): void {
    const prefix = `${vdisk}-`
    for (const [id, handle] of this.#handles) if (id.startsWith(prefix)) this.forget(handle)
  }

  #dropPlace(handle: GroupHandle): void {
    const place = this.#places.get(handle)
    if (place === undefined) return
    this.#places.delete(handle)
    this.#placeBytes -= bytesOf(place)
  }
}
