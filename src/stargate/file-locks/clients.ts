/**
 * Which client is in which era. A lock bears the era in which it was taken, so that one change of the client's row ends all that it has, in
 * whatever files that is; no list of them is needed that could lack one.
 */
import { NdfsError } from '../../base/errors.ts'
import type { Medusa } from '../../medusa/medusa.ts'
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
} from './rows.ts'

export class LockClients {
  readonly #medusa: Pick<Medusa, 'get'>
  readonly #changes: PartitionChanges

  constructor(medusa: Pick<Medusa, 'get'>, changes: PartitionChanges) {
    this.#medusa = medusa
    this.#changes = changes
  }

  /** A serial read. */
  async eraOf(client: LockClient): Promise<number> {
    return (await this.#read(client)).era
  }

  /** The client's era as it asks for a lock; with a newer state than was known a new one begins. */
  async eraOfAsking(client: LockClient, state: number): Promise<number> {
    const now = await this.#read(client)
    if (!tellsMore(state, now)) return now.era
    const next = await this.#change(client, (row) => (tellsMore(state, row) ? begun(row, state) : row))
    return next.era
  }

  async started(client: LockClient, state: number): Promise<void> {
    await this.#change(client, (row) =>
      row.state === state && state !== 0 ? row : { era: row.era + 1, state },
    )
  }

  async release(client: LockClient): Promise<void> {
    await this.#change(client, ({ era }) => ({ era: era + 1, state: 0 }))
  }

  async #read(client: LockClient): Promise<ClientRow> {
    const key = nameRowKey(client)
    const { rows } = await this.#medusa.get(partitionOfHost(client), [key])
    return decodeClientRow(rows.at(0)?.value)
  }

  /** OUT_OF_SPACE where there are as many clients at that address as may be. */
  #change(client: LockClient, next: (row: ClientRow) => ClientRow): Promise<ClientRow> {
    const key = nameRowKey(client)
    return this.#changes.change(partitionOfHost(client), {
      keys: [key, countRowKey],
      decide: (view) => {
        const bytes = view.get(key)
        const row = decodeClientRow(bytes)
        const after = next(row)
        if (after === row) return row
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
