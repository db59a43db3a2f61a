/**
 * The entries of an answer to READDIR or READDIRPLUS (RFC 1813, sections 3.3.16 and 3.3.17), as many as the client has room for. Whoever
 * serves it offers one after the other, until it says that it is full.
 *
 *   entry3       true │ fileid: 8 │ name │ cookie: 8
 *   entryplus3   true │ fileid: 8 │ name │ cookie: 8 │ post_op_attr │ post_op_fh3
 *
 * What the client's counts cover:
 *  - `count` (in READDIRPLUS `maxcount`) is the whole READDIR3resok: attributes of the directory, which are counted as if they were there
 *    always; verifier; entries; the false that ends them; and whether the directory ends.
 *  - `dircount` is what of the entries is neither attributes nor handle. The first entry is let in whatever it says: it is a hint, and
 *    nothing at all would be no progress.
 */
import {
  attributesBytes,
  encodeOptionalAttributes,
  encodeOptionalHandle,
  verifierBytes,
  type Attributes,
} from './nfs3-types.ts'
import { XdrWriter } from './xdr.ts'

/** All of the answer but its entries. */
const otherBytes = 4 + attributesBytes + verifierBytes + 4 + 4
/** What we answer at most, in bytes, whatever the client has room for: it asks for the rest. */
export const listingBytesMax = 1024 * 1024

export interface Entry {
  readonly fileId: bigint
  readonly name: Buffer
  /** From which the client asks for what follows; not 0. */
  readonly cookie: bigint
}

export interface EntryPlus extends Entry {
  readonly attributes?: Attributes
  readonly handle?: Buffer
}

abstract class Listing {
  /** Entries that were taken. None, where one was offered: the answer is TOOSMALL. */
  entries = 0
  readonly #writer = new XdrWriter(1024)
  readonly #bytesAtFirst: number
  #bytesLeft: number

  constructor(count: number) {
    this.#bytesAtFirst = this.#bytesLeft = Math.min(count, listingBytesMax) - otherBytes
  }

  /** About so many entries more have room, if they are as long as those so far. */
  get room(): number {
    return roomFor(this.#bytesLeft, this.#bytesAtFirst, this.entries)
  }

  /** What was taken, as it travels. Nothing is offered after it. */
  finish(): Buffer[] {
    return this.#writer.finish()
  }

  protected take(bytes: number, encode: (writer: XdrWriter) => void): boolean {
    if (bytes > this.#bytesLeft) return false
    this.#bytesLeft -= bytes
    this.entries += 1
    this.#writer.bool(true)
    encode(this.#writer)
    return true
  }
}

/** For READDIR. */
export class DirectoryListing extends Listing {
  /** `count` is the client's. */
  constructor(count: number) {
    super(count)
  }

  /** False: there is no room for it, nor for what would follow. */
  offer(entry: Entry): boolean {
    return this.take(entryBytes(entry), (writer) => encodeEntry(writer, entry))
  }
}

/** For READDIRPLUS. */
export class DirectoryListingPlus extends Listing {
  readonly #namesBytesAtFirst: number
  #namesBytesLeft: number

  /** `namesCount` and `count` are the client's. */
  constructor(namesCount: number, count: number) {
    super(count)
    this.#namesBytesAtFirst = this.#namesBytesLeft = namesCount
  }

  override get room(): number {
    return Math.min(super.room, roomFor(this.#namesBytesLeft, this.#namesBytesAtFirst, this.entries))
  }

  /** False: there is no room for it, nor for what would follow. */
  offer(entry: EntryPlus): boolean {
    const namesBytes = entryBytes(entry)
    if (namesBytes > this.#namesBytesLeft && this.entries > 0) return false
    const { attributes, handle } = entry
    const bytes =
      namesBytes + (attributes ? 4 + attributesBytes : 4) + (handle ? 8 + padded(handle.length) : 4)
    const taken = this.take(bytes, (writer) => {
      encodeEntry(writer, entry)
      encodeOptionalAttributes(writer, attributes)
      encodeOptionalHandle(writer, handle)
    })
    if (taken) this.#namesBytesLeft -= namesBytes
    return taken
  }
}

const roomFor = (bytesLeft: number, bytesAtFirst: number, entries: number): number =>
  entries === 0 ? Infinity : (bytesLeft * entries) / (bytesAtFirst - bytesLeft)

const padded = (bytes: number): number => Math.ceil(bytes / 4) * 4
const entryBytes = ({ name }: Entry): number => 4 + 8 + 4 + padded(name.length) + 8

function encodeEntry(writer: XdrWriter, entry: Entry): void {
  writer.bigUint64(entry.fileId)
  writer.opaque(entry.name)
  writer.bigUint64(entry.cookie)
}
