/**
 * Locks in Medusa. To take one is:
 *
 *  1. the client's era is read;
 *  2. the file's row is changed, on condition that nobody with a better right stands in the way. Whose era isn't known yet is read in between,
 *     and the decision made anew: only what the request meets;
 *  3. the client's era is read again: where it ended meanwhile the lock was void when it was taken, and nobody is told that he has it.
 */
import { NdfsError } from '../../base/errors.ts'
import { SerialByKey } from '../../base/serial.ts'
import { KiB } from '../../base/units.ts'
import type { Medusa } from '../../medusa/medusa.ts'
import type { Platform } from '../../platform/platform.ts'
import { PartitionChanges, type PartitionView } from '../partition-changes/partition-changes.ts'
import { KnownEras, LockClients } from './clients.ts'
import {
  type ByteRange,
  excludeEachOther,
  type FileLock,
  type FileLocks,
  isSameClient,
  isSameLock,
  isSameOwner,
  type LockAnswer,
  lockBytesMax,
  type LockClient,
  type LockOptions,
  type LockOwner,
  locksMax,
  type OfferId,
  overlap,
  ownerInFile,
} from './file-locks.ts'
import {
  type HeldLock,
  withAccepted,
  withLock,
  withOffer,
  withoutOffer,
  withoutRange,
} from './lock-ranges.ts'
import { decodeLocksRow, encodeLocksRow, type LocksRow, locksRowKey, partitionOfFile } from './rows.ts'

export interface FileLocksOptions {
  readonly medusa: Medusa
  readonly platform: Pick<Platform, 'clock' | 'chance'>
  readonly node: string
  /** Has `freed` called on that node, which may be this one. Not waited for; may fail. */
  readonly tell: (node: string, file: string) => void
}

export interface NodeFileLocks extends FileLocks {
  /** Another node tells that something of the file got free. */
  freed(file: string): void
}

/** Clients whose eras are read at once. */
const askedAtOnce = 32
/** More of them one after the other come only to a file that changes hands all the time. */
const asksMax = 100

/**
 * Each decodes the row and encodes it anew, some 1 ms where it is full, and all of a change do so in one go: as if it put so much, some 35 go
 * into one, and leases are renewed in between.
 */
const taskBytes = 16 * KiB

interface Decided<T> {
  readonly answer: T
  readonly row: LocksRow
  /** The row, where it was encoded already. */
  readonly bytes?: Buffer
  /** Also where it is as it was. */
  readonly write?: true
}

/** Whose eras are needed before it can be decided. */
interface Asks {
  readonly outcome: 'asks'
  readonly clients: readonly LockClient[]
}

export function createFileLocks(options: FileLocksOptions): NodeFileLocks {
  return new MedusaFileLocks(options)
}

class MedusaFileLocks implements NodeFileLocks {
  onFreed: (file: string) => void = () => undefined
  readonly #options: FileLocksOptions
  readonly #changes: PartitionChanges
  readonly #clients: LockClients
  /** Of each owner in each file: what frees a lock does not overtake the call that takes it, though that one has more to read. */
  readonly #order = new SerialByKey()

  constructor(options: FileLocksOptions) {
    this.#options = options
    this.#changes = new PartitionChanges(options)
    this.#clients = new LockClients(options.medusa, this.#changes, options.platform.clock)
  }

  freed(file: string): void {
    this.onFreed(file)
  }

  async test(file: string, wanted: FileLock): Promise<FileLock | undefined> {
    const eras = new KnownEras()
    const answer = await this.#decided(eras, async () => {
      const { rows } = await this.#options.medusa.get(partitionOfFile(file), [locksRowKey])
      const { locks } = decodeLocksRow(rows.at(0)?.value)
      return obstacleIn(locks, wanted, eras) ?? { outcome: 'granted' as const }
    })
    return answer.outcome === 'denied' ? answer.holder : undefined
  }

  lock(file: string, wanted: FileLock, options: LockOptions = {}): Promise<LockAnswer> {
    return this.#order.run(ownerInFile(file, wanted.owner), () => this.#lock(file, wanted, options))
  }

  unlock(file: string, owner: LockOwner, range: ByteRange): Promise<void> {
    return this.#freeOf(file, owner, (locks) => withoutRange(locks, owner, range))
  }

  cancel(file: string, wanted: FileLock): Promise<void> {
    return this.#freeOf(file, wanted.owner, (locks) =>
      locks.filter((lock) => lock.offer === undefined || !isSameLock(lock, wanted)),
    )
  }

  async accept(file: string, offer: OfferId): Promise<void> {
    await this.#change(file, (row) => ({
      answer: undefined,
      row: freed(row, withAccepted(row.locks, offer)),
    }))
  }

  withdraw(file: string, offer: OfferId): Promise<void> {
    return this.#free(file, (locks) => withoutOffer(locks, offer))
  }

  started(client: LockClient, state: number): Promise<void> {
    return this.#clients.started(client, state)
  }

  release(client: LockClient): Promise<void> {
    return this.#clients.release(client)
  }

  async #lock(file: string, wanted: FileLock, options: LockOptions): Promise<LockAnswer> {
    const { client } = wanted.owner
    const eras = new KnownEras()
    const era = await this.#clients.eraOfAsking(client, options.state ?? 0)
    if (era === undefined) return { outcome: 'released' }
    eras.learn(client, era)
    const answer = await this.#decided(eras, () =>
      this.#change(file, (row) => this.#decide(row, { ...wanted, era }, options, eras)),
    )
    if (answer.outcome === 'granted' && (await this.#clients.eraOf(client)) !== era)
      return { outcome: 'released' }
    return answer
  }

  #decide(
    row: LocksRow,
    wanted: HeldLock,
    { offer, waits = false }: LockOptions,
    eras: KnownEras,
  ): Decided<LockAnswer | Asks> {
    // What its client has in its present life is not given up for what it asked for in a former one: owners may have the same names in both.
    if (
      row.locks.some(({ owner, era }) => era > wanted.era && isSameClient(owner.client, wanted.owner.client))
    )
      return { answer: { outcome: 'released' }, row }
    const obstacle = obstacleIn(row.locks, wanted, eras)
    if (obstacle?.outcome === 'denied' && waits && !row.waiting.includes(this.#options.node))
      return { answer: obstacle, row: { ...row, waiting: [...row.waiting, this.#options.node] } }
    if (obstacle !== undefined) return { answer: obstacle, row }
    const locks = row.locks.filter((lock) => !eras.isVoid(lock))
    const after: LocksRow = {
      locks: offer === undefined ? withLock(locks, wanted) : withOffer(locks, { ...wanted, offer }),
      // Who goes from exclusive to shared lets others in.
      waiting: offer === undefined && locks.some((lock) => isDowngraded(lock, wanted)) ? [] : row.waiting,
    }
    const bytes = after.locks.length <= locksMax ? encodeLocksRow(after) : undefined
    if (bytes !== undefined && bytes.length <= lockBytesMax)
      return { answer: { outcome: 'granted' }, row: after, bytes }
    // Before the file is called full all that is void goes.
    const clients = clientsToAsk(locks, eras)
    return { answer: clients.length > 0 ? { outcome: 'asks', clients } : { outcome: 'full' }, row }
  }

  /** Decides again with the eras that were lacking. */
  async #decided<T extends { readonly outcome: string }>(
    eras: KnownEras,
    decide: () => Promise<T | Asks>,
  ): Promise<Exclude<T, Asks>> {
    for (let asks = 0; asks < asksMax; asks++) {
      const answer = await decide()
      if (!('clients' in answer)) return answer as Exclude<T, Asks>
      await Promise.all(
        answer.clients.map(async (client) => eras.learn(client, await this.#clients.eraOf(client))),
      )
    }
    throw new NdfsError('UNAVAILABLE', 'Cannot lock: the holders of the file change all the time. Try again')
  }

  /** What the owner's client has taken in a later era than that of the call is of a life in which nobody has asked to free it. */
  #freeOf(
    file: string,
    owner: LockOwner,
    left: (locks: readonly HeldLock[]) => readonly HeldLock[],
  ): Promise<void> {
    const { client } = owner
    return this.#order.run(ownerInFile(file, owner), async () => {
      const era = await this.#clients.eraOf(client)
      const isLater = (lock: HeldLock): boolean => lock.era > era && isSameClient(lock.owner.client, client)
      await this.#free(file, (locks) => {
        const after = [...left(locks.filter((lock) => !isLater(lock))), ...locks.filter(isLater)]
        if (after.length > locksMax && after.length > locks.length)
          throw new NdfsError(
            'OUT_OF_SPACE',
            `Cannot unlock amid a range: the file has ${locks.length} locks`,
            {
              file,
            },
          )
        return after
      })
    })
  }

  /** Writes the row also where nothing is left to be changed: what a node sent before it died is on condition of the version that was. */
  async #free(file: string, left: (locks: readonly HeldLock[]) => HeldLock[]): Promise<void> {
    await this.#change(file, (row) => ({
      answer: undefined,
      row: freed(row, left(row.locks)),
      write: true,
    }))
  }

  /** Whoever stood in `waiting` and does not any more is told that something may have got free. */
  async #change<T>(file: string, decide: (row: LocksRow) => Decided<T>): Promise<T> {
    const { answer, told } = await this.#changes.change(partitionOfFile(file), {
      keys: [locksRowKey],
      bytes: taskBytes,
      decide: (view) => {
        const before = decodeLocksRow(view.get(locksRowKey))
        const { answer, row, bytes, write = false } = decide(before)
        if (row !== before || write) put(view, row, bytes ?? encodeLocksRow(row), write)
        return { answer, told: before.waiting.filter((node) => !row.waiting.includes(node)) }
      },
    })
    for (const node of told) this.#options.tell(node, file)
    return answer
  }
}

function put(view: PartitionView, row: LocksRow, bytes: Buffer, always: boolean): void {
  if (row.locks.length + row.waiting.length === 0) view.remove(locksRowKey)
  else if (always || !view.get(locksRowKey)?.equals(bytes)) view.put(locksRowKey, bytes)
}

/** Some of them went: whoever waits shall look. What stays is the same object. */
const freed = (row: LocksRow, locks: readonly HeldLock[]): LocksRow =>
  locks.length === row.locks.length && locks.every((lock, i) => lock === row.locks[i])
    ? row
    : { locks, waiting: [] }

const isDowngraded = (lock: HeldLock, { owner, exclusive, range }: FileLock): boolean =>
  lock.exclusive && !exclusive && overlap(lock.range, range) && isSameOwner(lock.owner, owner)

/** What keeps it from being taken: another's lock, or that it isn't known whether that one is void. */
function obstacleIn(
  locks: readonly HeldLock[],
  wanted: FileLock,
  eras: KnownEras,
): { readonly outcome: 'denied'; readonly holder: FileLock } | Asks | undefined {
  const inTheWay = locks.filter((lock) => excludeEachOther(lock, wanted) && !eras.isVoid(lock))
  const holder = inTheWay.find((lock) => eras.knows(lock))
  if (holder !== undefined) {
    const { owner, exclusive, range } = holder
    return { outcome: 'denied', holder: { owner, exclusive, range } }
  }
  return inTheWay.length > 0 ? { outcome: 'asks', clients: clientsToAsk(inTheWay, eras) } : undefined
}

function clientsToAsk(locks: readonly HeldLock[], eras: KnownEras): LockClient[] {
  const clients = new Map<string, LockClient>()
  for (const lock of locks)
    if (!eras.knows(lock)) {
      const { client } = lock.owner
      clients.set(`${client.host} ${client.name}`, client)
      if (clients.size === askedAtOnce) break
    }
  return [...clients.values()]
}
