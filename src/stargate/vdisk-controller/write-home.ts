/**
 * Random or sequential? (R20: "Random IO is sent to the oplog. Sequential requests are sent directly to the extent
 * store, unless they are short, small requests.")
 *
 * A write is sequential when it continues a stream and that stream has more than `streamOutstandingBytesMin` under way, itself
 * included, or had a moment ago: its writes end together, as they are gathered into one group, and the next few come one after the
 * other. All else, short sequential writes included, is random.
 */
import { KiB, type Millis, pageBytes } from '../../base/units.ts'

export type WriteHome = 'oplog' | 'extent-store'

/** 1.5 MB, as DESIGN section 5.3 has it: more than one large request, so one alone never pays for an extent group. */
export const streamOutstandingBytesMin = 1_500_000

/** How long a stream may have less under way before it counts as random: what a guest needs to send its next writes. */
const refillMs = 20

/** How many streams of one vDisk are told apart: a guest copies a few files at a time; more are only random I/O in order. */
const streamsMax = 8

/** A piece below this is not worth an extent's row and sync, whatever the stream does. */
const streamWriteBytesMin = 64 * KiB

export interface Stream {
  next: number
  outstandingBytes: number
  /** When it had enough under way last. */
  deepAt: number
}

/** The streams of one vDisk, most recent first. */
export class WriteStreams {
  readonly #streams: Stream[] = []

  /** Notes that a write came; call `done` with the result when it ended, however it ended. */
  arrived(offset: number, length: number, now: Millis): Stream {
    const found = this.#streams.findIndex((stream) => stream.next === offset)
    const stream = found >= 0 ? this.#streams.splice(found, 1)[0] : newStream(offset)
    stream.next = offset + length
    stream.outstandingBytes += length
    noteDepth(stream, now)
    this.#streams.unshift(stream)
    if (this.#streams.length > streamsMax) this.#streams.pop()
    return stream
  }

  done(stream: Stream, length: number, now: Millis): void {
    noteDepth(stream, now)
    stream.outstandingBytes -= length
  }
}

const newStream = (next: number): Stream => ({ next, outstandingBytes: 0, deepAt: -Infinity })

function noteDepth(stream: Stream, now: Millis): void {
  if (stream.outstandingBytes > streamOutstandingBytesMin) stream.deepAt = now
}

/** Where a write goes that has just arrived as part of `stream`. */
export function homeOf(offset: number, length: number, stream: Stream, now: Millis): WriteHome {
  if (now - stream.deepAt > refillMs || length < streamWriteBytesMin) return 'oplog'
  // Only whole pages go to an extent; without one the oplog would hold all of it anyway.
  const firstWhole = Math.ceil(offset / pageBytes)
  const pastWhole = Math.floor((offset + length) / pageBytes)
  return pastWhole > firstWhole ? 'extent-store' : 'oplog'
}
