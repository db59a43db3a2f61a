/** What a guest and a client are told of our errors. A new code without a line here does not compile. */
import type { NdfsErrorCode } from '../../../base/errors.ts'
import type { NbdErrno, OptionError } from './nbd-protocol.ts'

/** In transmission. A guest's kernel knows few words: nearly all that is not its own mistake is EIO to it. */
export const nbdErrno = {
  NOT_OWNER: 'EIO',
  FENCED: 'EIO',
  // Another connection of this client has taken over: this one has nothing left to do.
  STALE_SESSION: 'ESHUTDOWN',
  TOO_FEW_REPLICAS: 'EIO',
  OUT_OF_SPACE: 'ENOSPC',
  CORRUPT_EXTENT: 'EIO',
  DAMAGED_METADATA: 'EIO',
  DISK_FAILED: 'EIO',
  PEER_UNREACHABLE: 'EIO',
  TIMED_OUT: 'EIO',
  CONFLICT: 'EIO',
  NOT_FOUND: 'EIO',
  ALREADY_EXISTS: 'EIO',
  REFUSED: 'EPERM',
  IN_USE: 'EPERM',
  UNAUTHORIZED: 'EPERM',
  UNAVAILABLE: 'ESHUTDOWN',
} as const satisfies Record<NdfsErrorCode, NbdErrno>

/** In negotiation, where the text of the error travels with it. */
export const nbdOptionError = {
  NOT_OWNER: 'shutdown',
  FENCED: 'shutdown',
  STALE_SESSION: 'policy',
  TOO_FEW_REPLICAS: 'shutdown',
  OUT_OF_SPACE: 'policy',
  CORRUPT_EXTENT: 'policy',
  DAMAGED_METADATA: 'policy',
  DISK_FAILED: 'policy',
  PEER_UNREACHABLE: 'shutdown',
  TIMED_OUT: 'shutdown',
  CONFLICT: 'shutdown',
  NOT_FOUND: 'unknown',
  ALREADY_EXISTS: 'policy',
  REFUSED: 'policy',
  IN_USE: 'policy',
  UNAUTHORIZED: 'policy',
  UNAVAILABLE: 'shutdown',
} as const satisfies Record<NdfsErrorCode, OptionError>
