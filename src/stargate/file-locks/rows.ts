/**
 * The rows of locks in Medusa (docs/nfs.md, "Locks"): their keys and shapes. Rows are CBOR.
 *
 *   lock/file FILE     locks        owners, their locks, and the nodes that wait for some to get free
 *   lock/client HOST   name NAME    what is known of the client of that name at that address
 *                      count        how many of them there are
 */
import { decodeControl, encodeControl } from '../../base/control.ts'
import { NdfsError } from '../../base/errors.ts'
import type { PartitionName } from '../../medusa/medusa.ts'
import { endOfFile, type LockClient, type OfferId } from './file-locks.ts'
import type { HeldLock } from './lock-ranges.ts'

/** Rises when a row's shape changes so that older code can't read it. */
const rowVersion = 1

export const locksRowKey = 'locks'
export const countRowKey = 'count'
export const nameRowKey = ({ name }: LockClient): string => `name ${name}`

export const partitionOfFile = (file: string): PartitionName => ({ table: 'lock', key: `file ${file}` })
export const partitionOfHost = ({ host }: Pick<LockClient, 'host'>): PartitionName => ({
  table: 'lock',
  key: `client ${host}`,
})

export interface LocksRow {
  readonly locks: readonly HeldLock[]
  /** Nodes that have denied a lock to somebody who waits, since something last got free. */
  readonly waiting: readonly string[]
}

export interface ClientRow {
  /** One more each time that the client loses all that it has. */
  readonly era: number
  /** Of its status monitor, as far as known; else 0. */
  readonly state: number
}

const noLocks: LocksRow = { locks: [], waiting: [] }
export const unknownClient: ClientRow = { era: 0, state: 0 }

type EncodedOwner = [host: string, name: string, svid: number, owner: Uint8Array, era: number]
/** A length of 0: to the end of the file. */
type EncodedLock = [
  owner: number,
  exclusive: boolean,
  start: bigint | number,
  length: bigint | number,
  offer: string | null,
]

export function encodeLocksRow({ locks, waiting }: LocksRow): Buffer {
  const owners: HeldLock[] = []
  const places = new Map<string, number>()
  const encoded = locks.map((lock): EncodedLock => {
    const { client, svid, owner: bytes } = lock.owner
    const key = `${lock.era} ${svid} ${bytes.length} ${client.host} ${bytes.toString('latin1')} ${client.name}`
    let owner = places.get(key)
    if (owner === undefined) {
      owner = owners.push(lock) - 1
      places.set(key, owner)
    }
    const { start, end } = lock.range
    return [owner, lock.exclusive, start, end === endOfFile ? 0n : end - start, lock.offer ?? null]
  })
  return wrap({
    owners: owners.map(({ owner: { client, svid, owner }, era }): EncodedOwner => [
      client.host,
      client.name,
      svid,
      owner,
      era,
    ]),
    locks: encoded,
    waiting,
  })
}

export function decodeLocksRow(bytes: Buffer | undefined): LocksRow {
  if (bytes === undefined) return noLocks
  const row = unwrap<{ owners: EncodedOwner[]; locks: EncodedLock[]; waiting: string[] }>(bytes)
  const owners = row.owners.map(([host, name, svid, owner, era]) => ({
    owner: { client: { host, name }, svid, owner: Buffer.from(owner) },
    era,
  }))
  const locks = row.locks.map(([owner, exclusive, from, bytesLong, offer]): HeldLock => {
    const start = BigInt(from)
    const length = BigInt(bytesLong)
    const range = { start, end: length === 0n ? endOfFile : start + length }
    return {
      ...owners[owner],
      exclusive,
      range,
      ...(offer === null ? {} : { offer: offer satisfies OfferId }),
    }
  })
  return { locks, waiting: row.waiting }
}

export const encodeClientRow = ({ era, state }: ClientRow): Buffer => wrap([era, state])

export function decodeClientRow(bytes: Buffer | undefined): ClientRow | undefined {
  if (bytes === undefined) return undefined
  const [era, state] = unwrap<[number, number]>(bytes)
  return { era, state }
}

export const encodeCount = (count: number): Buffer => wrap(count)
export const decodeCount = (bytes: Buffer | undefined): number =>
  bytes === undefined ? 0 : unwrap<number>(bytes)

const wrap = (row: unknown): Buffer => encodeControl({ version: rowVersion, row })

function unwrap<T>(bytes: Buffer): T {
  const { version, row } = decodeControl<{ version: number; row: T }>(bytes)
  if (version !== rowVersion)
    throw new NdfsError(
      'DAMAGED_METADATA',
      `Cannot read a row of locks: it has version ${version}, and this NDFS knows ${rowVersion}`,
      { version },
    )
  return row
}
