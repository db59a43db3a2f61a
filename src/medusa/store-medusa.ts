/**
 * Medusa as a node sees it where the machine's store holds it: each call is a request to the store.
 */
import { decodeControl, encodeControl } from '../base/control.ts'
import { NdfsError } from '../base/errors.ts'
import type { NodeId } from '../base/ids.ts'
import type { Peers } from '../peer/peer.ts'
import type { Change, ChangeResult, Medusa, Partition, PartitionName, Table } from './medusa.ts'
import type { MedusaAnswer, MedusaAsks, MedusaKind } from './medusa-requests.ts'
import { checkChange, checkPartition } from './medusa-requests.ts'
import { readWhole } from './whole-partition.ts'

export class StoreMedusa implements Medusa {
  readonly #peers: Peers
  readonly #store: NodeId
  #closed = false

  constructor(peers: Peers, store: NodeId) {
    this.#peers = peers
    this.#store = store
  }

  get(partition: PartitionName, rowKeys?: readonly string[]): Promise<Partition> {
    checkPartition(partition)
    if (!rowKeys) return this.scan(partition, { limit: 2 ** 31 - 1 })
    const keys = [...new Set(rowKeys)].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    return readWhole(partition, (rows) => {
      const last = rows.at(-1)?.key
      const rest = last === undefined ? keys : keys.slice(keys.indexOf(last) + 1)
      return this.#call('medusa.get', { partition, rowKeys: rest })
    })
  }

  scan(
    partition: PartitionName,
    options: { readonly after?: string; readonly before?: string; readonly limit?: number } = {},
  ): Promise<Partition> {
    checkPartition(partition)
    const { after, before, limit = 1000 } = options
    return readWhole(partition, (rows) =>
      this.#call('medusa.scan', {
        partition,
        after: rows.at(-1)?.key ?? after ?? '',
        ...(before === undefined ? {} : { before }),
        limit: limit - rows.length,
      }),
    )
  }

  async getOfMany(
    table: Table,
    keys: readonly string[],
    rowKey: string,
  ): Promise<readonly (Buffer | undefined)[]> {
    for (const key of keys) checkPartition({ table, key })
    const values: (Buffer | undefined)[] = []
    while (values.length < keys.length) {
      const rest = values.length === 0 ? keys : keys.slice(values.length)
      const answer = await this.#call('medusa.get-of-many', { table, keys: rest, rowKey })
      for (const value of answer.values) values.push(value ?? undefined)
    }
    return values
  }

  async change(partition: PartitionName, change: Change): Promise<ChangeResult> {
    checkPartition(partition)
    checkChange(change)
    return this.#call('medusa.change', { partition, change })
  }

  async close(): Promise<void> {
    this.#closed = true
  }

  async #call<K extends MedusaKind>(kind: K, asks: MedusaAsks<K>): Promise<MedusaAnswer<K>> {
    if (this.#closed)
      throw new NdfsError('UNAVAILABLE', 'Cannot ask Medusa: this node has closed it', { kind })
    return decodeControl<MedusaAnswer<K>>(await this.#peers.call(this.#store, kind, [encodeControl(asks)]))
  }
}
