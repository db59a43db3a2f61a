/** What a client is told of what went wrong. */
import { hasCode, NdfsError } from '../../../base/errors.ts'
import { FileError } from '../../namespace/namespace.ts'
import type { Nfs3Error } from './nfs3-types.ts'

/** Refused by the adapter itself, in the protocol's words. */
export class Refusal extends Error {
  readonly status: Nfs3Error
  constructor(status: Nfs3Error) {
    super(status)
    this.status = status
  }
}

/** Any other exception is a bug, and thrown again. */
export function statusOf(error: unknown): Nfs3Error {
  if (error instanceof Refusal) return error.status
  // What changes all the time is looked at again by the client, too.
  if (error instanceof FileError) return error.code === 'CHANGED' ? 'JUKEBOX' : error.code
  if (!(error instanceof NdfsError)) throw error
  if (hasCode(error, 'OUT_OF_SPACE')) return 'NOSPC'
  if (hasCode(error, 'NOT_FOUND')) return 'STALE'
  // The client asks again, for as long as it takes, and its user waits instead of losing data.
  if (hasCode(error, 'UNAVAILABLE', 'PEER_UNREACHABLE', 'TIMED_OUT', 'NOT_OWNER', 'TOO_FEW_REPLICAS'))
    return 'JUKEBOX'
  return 'IO'
}
