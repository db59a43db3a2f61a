/**
 * Which client is in which era. A lock bears the era in which it was taken, so that one change of the client's row ends all that it has, in
 * whatever files that is; no list of them is needed that could lack one.
 */
import { NdfsError } from '../../base/errors.ts'
import type { Medusa } from '../../medusa/medusa.ts'
import type { Clock } from '../../platform/platform.ts'
import type { PartitionChanges } from '../partition-changes/partition-changes.ts'
import { clientsMax, type LockClient } from './file-locks.ts'
import type { HeldLock } from './lock-ranges.ts'
import {
  type ClientRow,
  countRowKey,
  decodeClientRow,
  decodeCount,
  encodeClientRow,
  encodeCount,
  nameRowKey,
  partitionOfHost,
  unknownClient,
} from './rows.ts'

/** Calls of a former life that were held up come within this time of each other. Linux asks again after 5 s where it is to wait. */
const lateForMs = 3000
/** Clients whose states are older than is known. Whoever is forgotten is only doubted once more. */
const doubtedMax = 1024

export class LockClients {
  readonly #medusa: Pick<Medusa, 'get'>
  readonly #changes: PartitionChanges
  readonly #clock: Clock
  readonly #doubted = new Map<string, { readonly state: number; readonly since: number }>()

  constructor(medusa: Pick<Medusa, 'get'>, changes: PartitionChanges, clock: Clock) {
    this.#medusa = medusa
    this.#changes = changes
    this.#clock = clock
  }

  /** A serial read. */
  async eraOf(client: LockClient): Promise<number> {
    return ((await this.#read(client)) ?? unknownClient).era
  }

  /**
   * The client's era as it asks for a lock; with a newer state than was known a new one begins. Undefined: it asked in a former life. From
   * here on it is known: who has no row has no lock.
   */
  async eraOfAsking(client: LockClient, state: number): Promise<number | undefined> {
    const read = await this.#read(client)
    const asked = (known: ClientRow | undefined): ClientRow =>
      known === undefined
        ? { ...unknownClient, state }
        : tellsMore(state, known)
          ? begun(known, state)
          : known
    const row = read !== undefined && asked(read) === read ? read : await this.#change(client, asked)
    return tellsLess(state, row) && this.#isLate(client, state) ? undefined : row.era
  }

  /** Who is not known has nothing to lose, and is not noted: anybody may say so. */
  async started(client: LockClient, state: number): Promise<void> {
    await this.#change(client, (row) =>
      row === undefined || (row.state === state && state !== 0) ? row : { era: row.era + 1, state },
    )
  }

  async release(client: LockClient): Promise<void> {
    await this.#change(client, (row) => row && { era: row.era + 1, state: 0 })
  }

  /**
   * A call in an older state than is known was held up since a former life, or the client has lost count, as one that was installed anew
   * has. The dead do not ask again: whoever does lives, and could else never lock.
   */
  #isLate(client: LockClient, state: number): boolean {
    const key = keyOf(client)
    const now = this.#clock.now()
    const doubted = this.#doubted.get(key)
    if (doubted?.state === state) return now - doubted.since < lateForMs
    if (this.#doubted.size >= doubtedMax) {
      const [oldest] = this.#doubted.keys()
      this.#doubted.delete(oldest)
    }
    this.#doubted.set(key, { state, since: now })
    return true
  }

  async #read(client: LockClient): Promise<ClientRow | undefined> {
    const key = nameRowKey(client)
    const { rows } = await this.#medusa.get(partitionOfHost(client), [key])
    return decodeClientRow(rows.at(0)?.value)
  }

  /** OUT_OF_SPACE where there are as many clients at that address as may be. */
  #change<T extends ClientRow | undefined>(
    client: LockClient,
    next: (row: ClientRow | undefined) => T,
  ): Promise<T> {
    const key = nameRowKey(client)
    return this.#changes.change(partitionOfHost(client), {
      keys: [key, countRowKey],
      decide: (view) => {
        const bytes = view.get(key)
        const row = decodeClientRow(bytes)
        const after = next(row)
        if (after === undefined || after === row) return after
        if (bytes === undefined) {
          const count = decodeCount(view.get(countRowKey))
          if (count >= clientsMax)
            throw new NdfsError(
              'OUT_OF_SPACE',
              `Cannot keep another client at ${client.host}: ${count} names are known there`,
              { ...client },
            )
          view.put(countRowKey, encodeCount(count + 1))
        }
        view.put(key, encodeClientRow(after))
        return after
      },
    })
  }
}

/** States are numbers that grow, and wrap. */
const tellsMore = (state: number, known: ClientRow): boolean =>
  state !== 0 && (known.state === 0 || ((state - known.state) | 0) > 0)

const tellsLess = (state: number, known: ClientRow): boolean =>
  state !== 0 && known.state !== 0 && ((state - known.state) | 0) < 0

/** Where no state was known there is nothing older to be lost. */
const begun = (known: ClientRow, state: number): ClientRow =>
  known.state === 0 ? { era: known.era, state } : { era: known.era + 1, state }

/** Eras of clients as they were read for one request. They only grow: what is void stays void. */
export class KnownEras {
  readonly #eras = new Map<string, number>()

  learn(client: LockClient, era: number): void {
    this.#eras.set(keyOf(client), era)
  }

  knows({ owner }: HeldLock): boolean {
    return this.#eras.has(keyOf(owner.client))
  }

  /** As far as is known. */
  isVoid({ owner, era }: HeldLock): boolean {
    const now = this.#eras.get(keyOf(owner.client))
    return now !== undefined && era < now
  }
}

const keyOf = ({ host, name }: LockClient): string => `${host} ${name}`
