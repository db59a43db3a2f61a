/**
 * I1, at each acknowledgement: what a client is told is written lies on the platters of `copies` distinct nodes.
 *
 * Clients fill each sector with a stamp that no other write has (sector-stamps.ts). Whatever reaches the platters of any
 * simulated disk is searched for stamps of writes that wait for their answers, wherever they lie: in a record of a log, in
 * an extent group. Of each such write its first and its last sector are looked for: each has to lie on so many nodes, in
 * places where it still is when the client sees the acknowledgement. Not always on the same nodes: a stream's ragged edges
 * lie in the log, its whole pages in an extent group, and those may have chosen different peers.
 *
 * A write that others overlapped meanwhile may have been drained under them, and its bytes be gone by then: for such a write
 * it is enough that so many nodes had it. Zeroes bear no stamp and are not looked for. Rot and the lies of a disk don't
 * take a copy away: they are what the other copies are for.
 */
import type { FileContent } from '../sim-file-content.ts'
import { sectorBytes, type SectorWrite } from '../sector-history.ts'
import { isWholeSector, readStamp, stampMarker } from '../sector-stamps.ts'

interface Place {
  readonly node: string
  readonly content: FileContent
  readonly position: number
}

interface Awaited {
  readonly first: number
  readonly last: number
  readonly firstPlaces: Place[]
  readonly lastPlaces: Place[]
}

export class DurableCopies {
  readonly #awaited = new Map<number, Awaited>()

  /** A client is about to send the write. */
  sent({ stamp, first, count }: SectorWrite): void {
    this.#awaited.set(stamp, { first, last: first + count - 1, firstPlaces: [], lastPlaces: [] })
  }

  /** It will hear no answer to it any more. */
  gaveUp({ stamp }: SectorWrite): void {
    this.#awaited.delete(stamp)
  }

  /** Bytes reached the platters of one of the node's disks. */
  landed(node: string, content: FileContent, position: number, bytes: Uint8Array): void {
    if (this.#awaited.size === 0) return
    const buffer = Buffer.isBuffer(bytes)
      ? bytes
      : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    for (let at = buffer.indexOf(stampMarker); at >= 0; at = buffer.indexOf(stampMarker, at + 1))
      // Sectors of one write lie side by side: each tells where the next one would be.
      for (let found = readStamp(buffer, at); found !== undefined; found = readStamp(buffer, at)) {
        const awaited = this.#awaited.get(found.stamp)
        if (awaited !== undefined && isWholeSector(buffer, at)) {
          const place = { node, content, position: position + at }
          if (found.sector === awaited.first) awaited.firstPlaces.push(place)
          if (found.sector === awaited.last) awaited.lastPlaces.push(place)
        }
        at += sectorBytes
      }
  }

  /**
   * A client sees the acknowledgement: what is wrong with that, or undefined. `overlapped`: another write covers sectors of it
   * and may have happened since it was called.
   */
  acknowledged(write: SectorWrite, copies: number, overlapped: () => boolean): string | undefined {
    const awaited = this.#awaited.get(write.stamp)
    if (awaited === undefined) return undefined
    this.#awaited.delete(write.stamp)
    const isThere = (place: Place): boolean => isStampAt(place, write.stamp)
    // Mostly this is all that there is to do.
    if (nodesOfScarcer(awaited, isThere, copies).length >= copies) return undefined
    const nodesNow = nodesOfScarcer(awaited, isThere, Infinity)
    const nodesEver = nodesOfScarcer(awaited, () => true, Infinity)
    if (nodesEver.length >= copies && overlapped()) return undefined
    const list = (nodes: readonly string[]): string => [...nodes].sort().join(', ') || 'none'
    return (
      `write ${write.stamp} of sectors ${write.first}+${write.count} by ${write.by} was acknowledged with ` +
      `${nodesNow.length} durable copies of ${copies} (on ${list(nodesNow)}; at some time on ${list(nodesEver)})`
    )
  }
}

/** Nodes that have the first sector, or the last where fewer have that; no more of them than are asked for. */
function nodesOfScarcer(
  { firstPlaces, lastPlaces }: Awaited,
  counts: (place: Place) => boolean,
  most: number,
): string[] {
  const first = nodesOf(firstPlaces, counts, most)
  const last = nodesOf(lastPlaces, counts, most)
  return last.length < first.length ? last : first
}

function nodesOf(places: readonly Place[], counts: (place: Place) => boolean, most: number): string[] {
  const nodes: string[] = []
  for (const place of places) {
    if (nodes.length >= most) break
    if (!nodes.includes(place.node) && counts(place)) nodes.push(place.node)
  }
  return nodes
}

const there = Buffer.alloc(sectorBytes)

function isStampAt({ content, position }: Place, stamp: number): boolean {
  if (content.damaged) return true
  content.readDurable(there, position)
  return readStamp(there, 0)?.stamp === stamp && isWholeSector(there, 0)
}
