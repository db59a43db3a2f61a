/**
 * A partition of Medusa that one vDisk's owner alone changes: it raises the partition's epoch, and only then reads it
 * ("fence, then read", DESIGN section 7), and every change of it is on condition of what it knows (I4, C2).
 *
 * So what the owner remembers of it can't change behind its back, and a late change of an earlier owner either was there when
 * it looked, or fails. A conflict means that a later owner has raised it: FENCED, and this ownership is over.
 *
 * One that has the epoch in its name is nobody else's from the start: it is not read, and its first change raises it.
 */
import { assert } from '../../base/assert.ts'
import { hasCode, NdfsError } from '../../base/errors.ts'
import type { Epoch } from '../../base/ids.ts'
import { Serial } from '../../base/serial.ts'
import {
  type Change,
  changeForCertain,
  type Medusa,
  neverChanged,
  newChangeId,
  type Partition,
  type PartitionName,
  type Row,
  type Static,
} from '../../medusa/medusa.ts'
import type { Platform } from '../../platform/platform.ts'

export interface MedusaAccess {
  readonly platform: Pick<Platform, 'clock' | 'chance' | 'log'>
  readonly medusa: Medusa
}

/** An ownership: its epoch, and whether it goes on. */
export interface Ownership {
  readonly epoch: Epoch
  /** False: nothing more is tried, also not a change whose outcome is not yet known. */
  readonly alive: boolean
}

export class OwnedPartition {
  readonly name: PartitionName
  /** Held by whoever reads and then changes, so that the two are one step. */
  readonly serial = new Serial()
  readonly #access: MedusaAccess
  readonly #ownership: Ownership
  #static: Static
  /** Its version when this ownership first saw it, before it raised the epoch: raising is a change, too. */
  readonly versionFound: number
  /** A change was sent and its outcome never known: what is here may be old, and nothing rests on it any more. */
  #unknown = false

  private constructor(
    access: MedusaAccess,
    name: PartitionName,
    ownership: Ownership,
    at: Static,
    found: Static,
  ) {
    this.name = name
    this.#access = access
    this.#ownership = ownership
    this.#static = at
    this.versionFound = found.version
  }

  static async raise(
    access: MedusaAccess,
    name: PartitionName,
    ownership: Ownership,
  ): Promise<OwnedPartition> {
    for (;;) {
      const seen = (await access.medusa.get(name, [])).static
      if (seen.epoch > ownership.epoch) throw fenced(name, ownership.epoch, seen.epoch)
      if (seen.epoch === ownership.epoch) return new OwnedPartition(access, name, ownership, seen, seen)
      const result = await changeForCertain(
        access.medusa,
        access.platform.clock,
        name,
        {
          id: newChangeId(access.platform.chance),
          expected: { epoch: seen.epoch, version: seen.version },
          epoch: ownership.epoch,
        },
        () => ownership.alive,
      )
      if (result.outcome === 'applied')
        return new OwnedPartition(access, name, ownership, result.static, seen)
    }
  }

  /** A partition that nobody can have changed before this ownership, as it is named by its epoch. */
  static begin(access: MedusaAccess, name: PartitionName, ownership: Ownership): OwnedPartition {
    return new OwnedPartition(access, name, ownership, neverChanged, neverChanged)
  }

  get version(): number {
    return this.#static.version
  }

  async read(keys: readonly string[]): Promise<readonly Row[]> {
    return (await this.readAt(keys)).rows
  }

  /** The same, with the version at which they were so. */
  async readAt(keys: readonly string[]): Promise<Partition> {
    const seen = await this.#access.medusa.get(this.name, keys)
    this.#assertMine(seen.static)
    return seen
  }

  /** All rows with `after` < key < `before`, in order, some at a time. */
  async *scan(after: string, before: string): AsyncGenerator<Row> {
    const limit = 256
    for (;;) {
      const seen = await this.#access.medusa.scan(this.name, { after, before, limit })
      this.#assertMine(seen.static)
      yield* seen.rows
      if (seen.rows.length < limit) return
      after = seen.rows[limit - 1].key
    }
  }

  /** Durable when it resolves. Call it inside `serial` where it rests on something read before. */
  change(put: readonly Row[], remove: readonly string[] = []): Promise<void> {
    return this.#make({ put, delete: remove })
  }

  /** The partition goes, and with it its epoch: only where its name is never used again (medusa.ts). Nothing is to be asked of this afterwards. */
  drop(): Promise<void> {
    return this.#make({ drop: true })
  }

  async #make(what: Pick<Change, 'put' | 'delete' | 'drop'>): Promise<void> {
    if (!this.#ownership.alive || this.#unknown)
      throw new NdfsError(
        'NOT_OWNER',
        `Epoch ${this.#ownership.epoch} of ${this.name.table}/${this.name.key} is given up`,
        {
          epoch: this.#ownership.epoch,
        },
      )
    const change: Change = {
      id: newChangeId(this.#access.platform.chance),
      expected: { epoch: this.#static.epoch, version: this.#static.version },
      epoch: this.#ownership.epoch,
      ...what,
    }
    const { medusa, platform } = this.#access
    const result = await changeForCertain(
      medusa,
      platform.clock,
      this.name,
      change,
      () => this.#ownership.alive,
    ).catch((error: unknown) => {
      this.#unknown = !this.#ownership.alive || hasCode(error, 'PEER_UNREACHABLE', 'TIMED_OUT', 'UNAVAILABLE')
      throw error
    })
    if (result.outcome === 'conflict') {
      // Versions and epochs fall only where it was dropped: by this change, or by a later owner. What came into its place since was on its way before,
      // and nothing names it.
      const { expected } = change
      const wasDropped = result.static.version < expected.version || result.static.epoch < expected.epoch
      assert(
        wasDropped || result.static.epoch > this.#ownership.epoch,
        'only the owner changes its partitions under its epoch (F6)',
      )
      if (what.drop && result.static.epoch <= this.#ownership.epoch) return
      throw fenced(this.name, this.#ownership.epoch, result.static.epoch)
    }
    this.#static = result.static
  }

  #assertMine(seen: Static): void {
    // One that was begun has no epoch until its first change.
    if (seen.epoch !== this.#ownership.epoch && seen.epoch !== this.#static.epoch)
      throw fenced(this.name, this.#ownership.epoch, seen.epoch)
  }
}

function fenced(name: PartitionName, epoch: Epoch, seen: Epoch): NdfsError {
  return new NdfsError(
    'FENCED',
    `Epoch ${epoch} is over: ${name.table}/${name.key} has epoch ${seen} of another owner`,
    {
      epoch,
      seen,
    },
  )
}
