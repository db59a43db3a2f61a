/**
 * What a connection (sim-socket.ts) asks of the network that it goes over (sim-network.ts): whether anything gets across
 * now, how late and how fast, and when it is to be known and forgotten. `End` is one end of a connection.
 */
import type { Schedule } from './schedule.ts'
import type { SeededChance } from './seeded-chance.ts'

export interface Line<End> {
  readonly schedule: Schedule
  readonly chance: SeededChance
  readonly nature: { readonly resendMs: number; readonly breakAfterMs: number }
  /** Nothing gets across now. */
  isCut(from: End, to: End): boolean
  /** What gets across is kept back before it is read. */
  isStalled(from: End, to: End): boolean
  bytesPerMs(from: End, to: End): number
  latencyMs(from: End, to: End): number
  opened(end: End): void
  closed(end: End): void
  /** So many bytes were written and not taken by the kernel yet. */
  waits(end: End, bytes: number): void
}
