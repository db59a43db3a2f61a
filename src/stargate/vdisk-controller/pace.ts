/** When the work behind the guests' requests is done. None of it decides what is acknowledged, or what a read returns. */
import { MiB } from '../../base/units.ts'

export interface Pace {
  /** Undrained bytes of a vDisk at which a drain begins: long prefixes write less metadata for each byte (M18). Half of that, where others hold much, too. */
  readonly drainBeginsAtBytes: number
  /** An undrained record is drained when it is this old (I1 asks for five minutes). */
  readonly drainAgeMs: number
  /** A vDisk that nobody has used for so long is given up, once drained. */
  readonly idleReleaseMs: number
  /** Before groups whose copies could not be reached are freed again. */
  readonly freeAgainMs: number
}

export const usualPace: Pace = {
  drainBeginsAtBytes: 64 * MiB,
  drainAgeMs: 20_000,
  idleReleaseMs: 60_000,
  freeAgainMs: 60_000,
}
