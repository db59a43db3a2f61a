/**
 * What a sound program meets: a lost peer, a full disk, a lease that ran out. Each has a code and carries its facts.
 * Bugs are assertions (assert.ts); a guest's mistake is a protocol code (the adapters' tables).
 * A message says what could not be done, then how things stand, then what a person can do.
 */
export type NdfsErrorCode =
  /** This node, or the asked one, does not own the vDisk under that epoch. Look the owner up again. */
  | 'NOT_OWNER'
  /** A higher epoch was seen: whoever sent this was fenced off. It stops serving. */
  | 'FENCED'
  /** The request comes from an older session of its sender or client: it may have been repeated elsewhere. */
  | 'STALE_SESSION'
  /** Fewer replicas than the container asks for could be reached in time. */
  | 'TOO_FEW_REPLICAS'
  /** No disk has room for what guests may use. */
  | 'OUT_OF_SPACE'
  /** Every copy that could be asked is bad. */
  | 'CORRUPT_EXTENT'
  /** Metadata that must exist is absent or older than recorded: damage, never a hole. */
  | 'DAMAGED_METADATA'
  /** A disk failed a read, a write or a sync. */
  | 'DISK_FAILED'
  /** The peer could not be reached, or the connection broke: the outcome is unknown. */
  | 'PEER_UNREACHABLE'
  /** The peer did not answer in time: the outcome is unknown. */
  | 'TIMED_OUT'
  /** A compare-and-set met another version. */
  | 'CONFLICT'
  | 'NOT_FOUND'
  | 'ALREADY_EXISTS'
  /** A request that makes no sense, or is forbidden as things stand. */
  | 'REFUSED'
  /** In use, and not forced. */
  | 'IN_USE'
  | 'UNAUTHORIZED'
  /** The part is shutting down or not yet up. */
  | 'UNAVAILABLE'

export type Facts = Readonly<Record<string, unknown>>

export class NdfsError extends Error {
  override name = 'NdfsError'
  readonly code: NdfsErrorCode
  readonly facts: Facts

  constructor(code: NdfsErrorCode, message: string, facts: Facts = {}, options?: ErrorOptions) {
    super(message, options)
    this.code = code
    this.facts = facts
  }
}

export function hasCode(error: unknown, ...codes: NdfsErrorCode[]): error is NdfsError {
  return error instanceof NdfsError && codes.includes(error.code)
}

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
