/**
 * What the world hears when a request fails: the one place where our errors become HTTP's.
 */
import { NdfsError, type NdfsErrorCode } from '../base/errors.ts'
import type { ErrorBody } from './management.ts'

/** Complete by type: a new code is a compile error here. */
export const httpStatus = {
  UNAUTHORIZED: 401,
  NOT_FOUND: 404,
  ALREADY_EXISTS: 409,
  CONFLICT: 409,
  IN_USE: 409,
  STALE_SESSION: 409,
  REFUSED: 422,
  CORRUPT_EXTENT: 500,
  DAMAGED_METADATA: 500,
  DISK_FAILED: 500,
  FENCED: 503,
  NOT_OWNER: 503,
  TOO_FEW_REPLICAS: 503,
  UNAVAILABLE: 503,
  PEER_UNREACHABLE: 504,
  TIMED_OUT: 504,
  OUT_OF_SPACE: 507,
} as const satisfies Record<NdfsErrorCode, number>

export interface HttpFailure {
  readonly status: number
  readonly body: ErrorBody
}

export const failure = (
  status: number,
  code: string,
  message: string,
  facts: ErrorBody['error']['facts'] = {},
): HttpFailure => ({ status, body: { error: { code, message, facts } } })

/** A failure that the target reported; `undefined` for what is not an NdfsError: our bug. */
export function failureOf(error: unknown): HttpFailure | undefined {
  if (!(error instanceof NdfsError)) return undefined
  return failure(httpStatus[error.code], error.code, error.message, error.facts)
}

/** What a schema found wrong with a request, as one sentence. */
export function sentenceOf(part: string, at: string, problem: string): string {
  const where = at === '' ? `the ${part}` : `${at.slice(1).replaceAll('/', '.')} in the ${part}`
  return `Cannot take the request as it stands: ${where} ${problem}.`
}
