/**
 * What a node asks of the machine's store for Medusa, and what it is answered: each a CBOR map in one peer request.
 */
import { NdfsError } from '../base/errors.ts'
import { KiB, MiB } from '../base/units.ts'
import type { Change, ChangeResult, Partition, PartitionName, Table } from './medusa.ts'
import { changeBytesMax } from './medusa.ts'

/** An answer holds about this many bytes of rows at most; where there are more, `more` is set, and the rest is asked for. */
export const answerBytesMax = 4 * MiB
const keyBytesMax = 1 * KiB

export interface PartOfPartition extends Partition {
  /** There are more rows after the last one, left out because the answer was full. */
  readonly more: boolean
}

export interface MedusaCalls {
  'medusa.get': { asks: { partition: PartitionName; rowKeys: readonly string[] }; answer: PartOfPartition }
  'medusa.scan': {
    asks: { partition: PartitionName; after?: string; before?: string; limit: number }
    answer: PartOfPartition
  }
  /** Fewer values than keys where the answer was full: the rest is asked for. Null: there is no such row. */
  'medusa.get-of-many': {
    asks: { table: Table; keys: readonly string[]; rowKey: string }
    answer: { readonly values: readonly (Buffer | null)[] }
  }
  'medusa.change': { asks: { partition: PartitionName; change: Change }; answer: ChangeResult }
}

export type MedusaKind = keyof MedusaCalls
export type MedusaAsks<K extends MedusaKind> = MedusaCalls[K]['asks']
export type MedusaAnswer<K extends MedusaKind> = MedusaCalls[K]['answer']

const tables: ReadonlySet<string> = new Set<PartitionName['table']>([
  'vdisk',
  'map',
  'group',
  'groups-of',
  'inode',
  'directory',
  'lock',
])

export function checkPartition({ table, key }: PartitionName): void {
  if (!tables.has(table)) throw new NdfsError('REFUSED', `Cannot find table ${table} in Medusa`, { table })
  checkKey(key)
}

/** Refuses a change that makes no sense, before anything is sent and before anything is changed. */
export function checkChange(change: Change): void {
  const { id, expected, epoch, put = [], delete: deleted = [], drop } = change
  const facts = { change: id }
  if (!/^[0-9a-f]{32}$/.test(id))
    throw new NdfsError('REFUSED', `Cannot make a change named ${id}: its id must be 32 hex digits`, facts)
  if (!(Number.isSafeInteger(epoch) && epoch >= expected.epoch))
    throw new NdfsError('REFUSED', `Cannot lower the epoch from ${expected.epoch} to ${epoch}`, facts)
  if (drop && put.length + deleted.length > 0)
    throw new NdfsError('REFUSED', 'Cannot drop a partition and change rows in it at once', facts)
  let bytes = 0
  const keys = new Set<string>()
  for (const { key, value } of put) {
    checkKey(key)
    if (!(value instanceof Uint8Array))
      throw new NdfsError('REFUSED', `Cannot put ${key}: it has no bytes`, facts)
    bytes += key.length + value.length
    keys.add(key)
  }
  for (const key of deleted) {
    checkKey(key)
    bytes += key.length
    keys.add(key)
  }
  if (keys.size < put.length + deleted.length)
    throw new NdfsError('REFUSED', 'Cannot change a row twice in one change', facts)
  if (bytes > changeBytesMax)
    throw new NdfsError(
      'REFUSED',
      `Cannot make a change of ${bytes} bytes: at most ${changeBytesMax} go into one. Make several`,
      { ...facts, bytes },
    )
}

function checkKey(key: unknown): void {
  if (typeof key !== 'string' || key === '' || key.length > keyBytesMax)
    throw new NdfsError(
      'REFUSED',
      `Cannot take a key that is empty or longer than ${keyBytesMax} characters`,
      {
        key,
      },
    )
}
