/**
 * Who gets how much while all of them wait: the weights of admission control, a pure function of how full the log is.
 *
 * Guests have 75 of 100 (R19); maintenance shares the other 25. Draining's part of it grows as the log fills, since a
 * full log holds guests up and only a drain can empty it. The other classes keep a little even then: a repair that
 * never moved while a busy log stayed full would leave data on too few disks for as long.
 */
import type { WorkClass } from '../io/io.ts'

export type MaintenanceClass = Exclude<WorkClass, 'guest'>
export const maintenanceClasses = ['drain', 'repair', 'scrub', 'tier'] as const satisfies MaintenanceClass[]
export const workClasses = ['guest', ...maintenanceClasses] as const

const guestShare = 75
export const maintenanceShare = 25

const shareAtEmptyLog = { drain: 10, repair: 9, scrub: 2, tier: 4 } as const
const shareAtFullLog = { drain: 22, repair: 2, scrub: 0.5, tier: 0.5 } as const

/** Until here a log is in daily use; a drain that hurried would only coalesce less. */
const calmLogFill = 0.25

/** How far the log is on its way from calm (0) to full (1). */
const urgency = (logFill: number): number =>
  Math.min(1, Math.max(0, (logFill - calmLogFill) / (1 - calmLogFill)))

/** The shares of all classes, 100 together. */
export function shares(logFill: number): Record<WorkClass, number> {
  const share = (work: MaintenanceClass): number =>
    shareAtEmptyLog[work] + (shareAtFullLog[work] - shareAtEmptyLog[work]) * urgency(logFill)
  return {
    guest: guestShare,
    drain: share('drain'),
    repair: share('repair'),
    scrub: share('scrub'),
    tier: share('tier'),
  }
}

/** At most half, so that guests' reads go on under a log that stays full. */
const drainReserveMax = 0.5

/**
 * The part of the node's bounds that drains may have under way even while others fill the bounds. Guests that were let
 * in may be waiting for log space; a drain that waited for them to leave would close the circle (M9).
 */
export const drainReserve = (logFill: number): number => drainReserveMax * urgency(logFill)
