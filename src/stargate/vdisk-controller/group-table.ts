/**
 * The extent groups of a vDisk: a small number for each, which map and cache use instead of its id, and where those that were
 * read lately lie. Numbers are the node's: none is used again while the process lives, so the cache may go by them.
 */
import { assert } from '../../base/assert.ts'
import { NdfsError } from '../../base/errors.ts'
import type { GroupId } from '../../base/ids.ts'
import { MiB } from '../../base/units.ts'
import type { Medusa } from '../../medusa/medusa.ts'
import type { GroupHandle } from '../extent-cache/extent-cache.ts'
import type { CopyRef } from '../extent-store/extent-store.ts'
import { readGroupRow } from './group-rows.ts'

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

/** What all tables of a node share: the numbers given, and the places that were read lately. */
export class GroupPlaces {
  /** Least recently used first. */
  readonly #places = new Map<GroupHandle, GroupPlace>()
  #bytes = 0
  #lastHandle = 0

  nextHandle(): GroupHandle {
    const handle = ++this.#lastHandle
    // 0 and the last number mean a hole and a bad page; long before that a process has been restarted.
    assert(handle < 0xffff_fffe, 'there are group handles left')
    return handle
  }

  get(handle: GroupHandle): GroupPlace | undefined {
    const place = this.#places.get(handle)
    if (place === undefined) return undefined
    this.#places.delete(handle)
    this.#places.set(handle, place)
    return place
  }

  put(handle: GroupHandle, { copies, checksums }: GroupPlace): void {
    this.drop(handle)
    const place = { copies, checksums }
    this.#places.set(handle, place)
    this.#bytes += bytesOf(place)
    for (const oldest of this.#places.keys()) {
      if (this.#bytes <= placeBytesMax) break
      this.drop(oldest)
    }
  }

  drop(handle: GroupHandle): void {
    const place = this.#places.get(handle)
    if (place === undefined) return
    this.#places.delete(handle)
    this.#bytes -= bytesOf(place)
  }
}

/** The groups of one hosted vDisk; it goes with the ownership. */
export class GroupTable {
  readonly #medusa: Medusa
  readonly #shared: GroupPlaces
  readonly #handles = new Map<GroupId, GroupHandle>()
  readonly #ids = new Map<GroupHandle, GroupId>()
  /** Groups that have no row yet: only undrained records know where they lie. */
  readonly #held = new Map<GroupHandle, GroupPlace>()

  constructor(medusa: Medusa, shared: GroupPlaces) {
    this.#medusa = medusa
    this.#shared = shared
  }

  handleOf(id: GroupId): GroupHandle {
    let handle = this.#handles.get(id)
    if (handle === undefined) {
      handle = this.#shared.nextHandle()
      this.#handles.set(id, handle)
      this.#ids.set(handle, id)
    }
    return handle
  }

  /** Without giving it a number where it has none. */
  knownHandleOf(id: GroupId): GroupHandle | undefined {
    return this.#handles.get(id)
  }

  idOf(handle: GroupHandle): GroupId {
    const id = this.#ids.get(handle)
    assert(id !== undefined, 'a handle in use has an id')
    return id
  }

  /** The place as remembered, without asking Medusa. */
  peek(handle: GroupHandle): GroupPlace | undefined {
    return this.#shared.get(handle) ?? this.#held.get(handle)
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
    const place = this.peek(handle) ?? (await this.placeNow(handle))
    if (place !== undefined) return place
    const id = this.idOf(handle)
    throw new NdfsError(
      'DAMAGED_METADATA',
      `Cannot read extent group ${id}: the map names it and it has no row`,
      { group: id },
    )
  }

  /** As Medusa has it now; undefined where the group has no row. */
  async placeNow(handle: GroupHandle): Promise<GroupPlace | undefined> {
    const place = await readGroupRow(this.#medusa, this.idOf(handle))
    if (place === undefined) return undefined
    this.remember(handle, place)
    return place
  }

  remember(handle: GroupHandle, place: GroupPlace): void {
    this.#shared.put(handle, place)
  }

  /** The group is freed: nothing names it any more, and its id is never used again. */
  forget(handle: GroupHandle): void {
    this.#shared.drop(handle)
    this.#held.delete(handle)
    const id = this.#ids.get(handle)
    this.#ids.delete(handle)
    if (id !== undefined) this.#handles.delete(id)
  }
}
