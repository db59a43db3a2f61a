/**
 * I9: what waits anywhere is bounded, whatever the load. The bounds are those that src states; where it states none of its own,
 * the sum of those that lead there.
 */
import { peerLimits } from '../../src/peer/limits.ts'
import { oplogShare } from '../../src/stargate/oplog/oplog.ts'

/** Requests and answers travel in two lanes, each with bounds of its own; a connection carries both ways of one. */
const lanes = 2

/** What one end of a connection may have written that the kernel has not taken: requests in flight, and answers. */
export const socketBytesMax = lanes * (peerLimits.inFlightBytesMax + peerLimits.handledBytesMax)

/** Operations of files that a process may have under way: each belongs to a request that some peer or guest has under way. */
export const operationsMax = peerLimits.handledMax

/** What fences, restarts and copies may take beyond the log's share, so that a full log can be emptied (physical-log.ts). */
const extraSegments = 2
/** A log has as many, however small its disk. */
const leastSegments = 4

export function socketFault(from: string, to: string, waitingBytes: number): string | undefined {
  if (waitingBytes <= socketBytesMax) return undefined
  return `${waitingBytes} bytes from ${from} to ${to} wait to be sent, and ${socketBytesMax} may`
}

export function operationsFault(process: string, underWay: number): string | undefined {
  if (underWay <= operationsMax) return undefined
  return `${process} has ${underWay} operations of files under way, and ${operationsMax} may be`
}

/** `logBytes`: the size of all files of the log. */
export function logFault(
  disk: string,
  logBytes: number,
  capacityBytes: number,
  segmentBytes: number,
): string | undefined {
  const share = Math.max(Math.floor(capacityBytes * oplogShare), leastSegments * segmentBytes)
  const most = share + extraSegments * segmentBytes
  if (logBytes <= most) return undefined
  return `the log on ${disk} takes ${logBytes} bytes, and ${most} are its share`
}

/**
 * A node lets no write in while it holds `most` undrained bytes, but one of each vDisk that holds none; and what it takes over
 * from other owners, each with the same bound, it holds all the same.
 */
export function undrainedFault(
  node: string,
  undrainedBytes: number,
  { most, hosted, requestBytesMax }: { most: number; hosted: number; requestBytesMax: number },
): string | undefined {
  const limit = most + hosted * (most + requestBytesMax)
  if (undrainedBytes <= limit) return undefined
  return `${node} holds ${undrainedBytes} undrained bytes of ${hosted} vDisks in memory, and ${limit} may be`
}
