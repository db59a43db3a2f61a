/** What the tests of locks stand on: the world of the namespace's tests, and a plain model that knows locks byte by byte. */
import { World, type Faults } from '../namespace/fixtures.test.ts'
import { endOfFile, type FileLock, type LockClient, type LockOwner } from './file-locks.ts'
import { createFileLocks, type NodeFileLocks } from './medusa-file-locks.ts'

export const file = '42'

export const clientOf = (name: string, host = '10.0.0.1'): LockClient => ({ host, name })
export const ownerOf = (client: LockClient, svid: number): LockOwner => ({
  client,
  svid,
  owner: Buffer.from(`${svid}@${client.name}`),
})
export const textOf = ({ client, svid }: LockOwner): string => `${client.host} ${client.name} ${svid}`

/** `end` undefined: to the end of the file. */
export const wanted = (owner: LockOwner, exclusive: boolean, start: number, end?: number): FileLock => ({
  owner,
  exclusive,
  range: { start: BigInt(start), end: end === undefined ? endOfFile : BigInt(end) },
})

/** Nodes over one store; who is told that something got free hears it at once. */
export class LockWorld {
  readonly world: World
  readonly #nodes = new Map<string, NodeFileLocks>()
  /** What nodes heard. */
  readonly told: string[] = []

  constructor(seed?: number) {
    this.world = new World(seed)
  }

  node(name: string, faults?: Faults): NodeFileLocks {
    const { clock, chance } = this.world
    const locks = createFileLocks({
      medusa: this.world.medusa(faults),
      platform: { clock, chance },
      node: name,
      tell: (to, freed) => {
        this.told.push(`${to} ${freed}`)
        this.#nodes.get(to)?.freed(freed)
      },
    })
    this.#nodes.set(name, locks)
    return locks
  }

  close(): void {
    this.world.close()
  }
}

/** The last of these bytes stands for all that follow. */
const bytesOfModel = 13
const none = 0
const shared = 1
const exclusively = 2
type Bytes = Uint8Array

const indicesOf = ({ range }: Pick<FileLock, 'range'>): number[] => {
  const end = range.end === endOfFile ? bytesOfModel : Number(range.end)
  return Array.from({ length: end - Number(range.start) }, (_, i) => Number(range.start) + i)
}

interface Owned {
  readonly owner: LockOwner
  readonly own: Bytes
  readonly offers: Map<string, { readonly bytes: Bytes; readonly wanted: FileLock }>
}

/** One file. */
export class LockModel {
  readonly #owned = new Map<string, Owned>()

  copy(): LockModel {
    const copy = new LockModel()
    for (const [key, { owner, own, offers }] of this.#owned)
      copy.#owned.set(key, {
        owner,
        own: own.slice(),
        offers: new Map([...offers].map(([id, offer]) => [id, { ...offer, bytes: offer.bytes.slice() }])),
      })
    return copy
  }

  /** Owners in the way. */
  inTheWay(lock: FileLock): string[] {
    return [...this.#owned]
      .filter(
        ([key, owned]) =>
          key !== textOf(lock.owner) && indicesOf(lock).some((i) => conflicts(owned, i, lock)),
      )
      .map(([key]) => key)
  }

  lock(lock: FileLock, offer?: string): boolean {
    if (this.inTheWay(lock).length > 0) return false
    const owned = this.#of(lock.owner)
    if (offer === undefined) this.unlock(lock)
    const bytes = offer === undefined ? owned.own : new Uint8Array(bytesOfModel)
    for (const i of indicesOf(lock)) bytes[i] = lock.exclusive ? exclusively : shared
    if (offer !== undefined) owned.offers.set(offer, { bytes, wanted: lock })
    return true
  }

  unlock(lock: Pick<FileLock, 'owner' | 'range'>): void {
    const { own, offers } = this.#of(lock.owner)
    for (const i of indicesOf(lock)) {
      own[i] = none
      for (const { bytes } of offers.values()) bytes[i] = none
    }
  }

  cancel(lock: FileLock): void {
    const { offers } = this.#of(lock.owner)
    for (const [id, { bytes, wanted: was }] of offers) {
      const isWhole = bytes.every((byte, i) => (byte !== none) === indicesOf(was).includes(i))
      const isThat = was.range.start === lock.range.start && was.range.end === lock.range.end
      if (isWhole && isThat && was.exclusive === lock.exclusive) offers.delete(id)
    }
  }

  accept(offer: string): void {
    for (const { own, offers } of this.#owned.values()) {
      const accepted = offers.get(offer)
      accepted?.bytes.forEach((byte, i) => {
        if (byte === none) return
        own[i] = none
        for (const [id, { bytes }] of offers) if (id !== offer) bytes[i] = none
      })
    }
  }

  withdraw(offer: string): void {
    for (const { offers } of this.#owned.values()) offers.delete(offer)
  }

  release(client: LockClient): void {
    for (const [key, { owner }] of this.#owned)
      if (owner.client.host === client.host && owner.client.name === client.name) this.#owned.delete(key)
  }

  /** What a stranger would meet at each byte: nothing, something shared, something exclusive. */
  seen(): string {
    return Array.from({ length: bytesOfModel }, (_, i) =>
      Math.max(none, ...[...this.#owned.values()].map((owned) => strongest(owned, i))),
    ).join('')
  }

  /** The same for those that are the same. */
  key(): string {
    return [...this.#owned]
      .flatMap(([key, { own, offers }]) => [
        `${key}: ${own.join('')}`,
        ...[...offers].map(([id, { bytes }]) => `${id}: ${bytes.join('')}`),
      ])
      .filter((line) => /: .*[12]/.test(line))
      .sort()
      .join('\n')
  }

  #of(owner: LockOwner): Owned {
    const key = textOf(owner)
    const owned = this.#owned.get(key) ?? { owner, own: new Uint8Array(bytesOfModel), offers: new Map() }
    this.#owned.set(key, owned)
    return owned
  }
}

const strongest = ({ own, offers }: Owned, i: number): number =>
  Math.max(own[i], ...[...offers.values()].map(({ bytes }) => bytes[i]))

const conflicts = (owned: Owned, i: number, { exclusive }: FileLock): boolean =>
  strongest(owned, i) >= (exclusive ? shared : exclusively)

const stranger = ownerOf(clientOf('stranger', '10.9.9.9'), 1)

/** As `LockModel.seen`, asked of a node. */
export async function seenBy(locks: NodeFileLocks): Promise<string> {
  let seen = ''
  for (let i = 0; i < bytesOfModel; i++) {
    const at = (exclusive: boolean) =>
      locks.test(file, wanted(stranger, exclusive, i, i === bytesOfModel - 1 ? undefined : i + 1))
    seen += (await at(false)) ? exclusively : (await at(true)) ? shared : none
  }
  return seen
}
