/**
 * Admission control decides who goes next (R19): guests and maintenance share what the node can have under way,
 * 75 : 25 while both wait, all of it to either when alone.
 *
 *  1. At most `outstandingBytesMax` and `outstandingMax` are under way; what comes then waits, in the order of its class.
 *  2. The wait itself is bounded: `waitingMax` requests of each class, beyond which `enter` rejects with UNAVAILABLE; adapters stop
 *     reading their sockets long before (I9).
 *  3. Draining gets more as the log fills, up to all that guests leave, so that no guest waits for space that only a
 *     drain can make while drains wait for guests (M9).
 *  4. Peer replication has the class of its cause and does not enter twice: only the node that began the work asks here.
 */
import type { WorkClass } from '../io/io.ts'

export interface AdmissionControl {
  /** True: go, now. The common case costs no promise. False: `enter` is needed. */
  tryEnter(work: WorkClass, bytes: number): boolean
  /** Resolves when it may go. */
  enter(work: WorkClass, bytes: number): Promise<void>
  /** Once for each `enter` that resolved and `tryEnter` that returned true, with the same arguments. */
  leave(work: WorkClass, bytes: number): void
  /** How full the fullest log is, 0 to 1: shifts shares to draining. */
  logFill: number
  /** Called when something other than a scrub is let in, the first time after `rest`. */
  onBusy: () => void
  rest(): void
  statistics(): Record<WorkClass, { outstanding: number; waiting: number; admitted: number }>
}
