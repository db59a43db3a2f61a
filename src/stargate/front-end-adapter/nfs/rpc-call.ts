/** One call is done, and answered, whatever it came by: by a stream (rpc-connection.ts) or in a datagram (rpc-datagrams.ts). */
import { messageOf, NdfsError } from '../../../base/errors.ts'
import type { Log } from '../../../platform/platform.ts'
import type { DuplicateRequests } from './duplicate-requests.ts'
import { encodeRecord } from './record-reader.ts'
import type { AcceptedCall } from './rpc-request.ts'
import { encodeRefusal, encodeSuccess } from './rpc.ts'

export interface CallCounters {
  /** Calls that were answered with the answer that they had had before, or that another was waiting for. */
  repeated: number
  /** Calls that a procedure could not answer in its own words: SYSTEM_ERR. */
  failed: number
}

export interface CallParts {
  readonly duplicates: DuplicateRequests
  readonly counters: CallCounters
  readonly log: Log
}

/** `done` is called once, now or later: with the answer as a record, or without one where the same call has come again, and gets it. */
export function serveCall(
  call: AcceptedCall,
  parts: CallParts,
  done: (record: readonly Buffer[] | undefined) => void,
): void {
  const { duplicates, counters } = parts
  if (call.key !== undefined) {
    const isNew = duplicates.begin(call.key, (answer) => done(answer && [answer]))
    if (!isNew) {
      counters.repeated += 1
      return
    }
  }
  const answer = (result: unknown): void => {
    const record = encodeRecord((writer) => {
      encodeSuccess(writer, call.xid)
      call.procedure.encode(writer, result)
    })
    if (call.key !== undefined) duplicates.answered(call.key, record)
    done(record)
  }
  const failed = (error: unknown): void => {
    const record = refusalOf(call, parts, error)
    if (call.key !== undefined) duplicates.failed(call.key, record)
    done(record)
  }
  let outcome: unknown
  try {
    outcome = call.procedure.serve(call.args, call.caller)
  } catch (error) {
    failed(error)
    return
  }
  if (outcome instanceof Promise) outcome.then(answer, failed)
  else answer(outcome)
}

function refusalOf({ xid, procedure }: AcceptedCall, { counters, log }: CallParts, error: unknown): Buffer[] {
  // Anything else is our bug. Thrown on, it stops the process.
  if (!(error instanceof NdfsError)) throw error
  counters.failed += 1
  log.warn('A call failed in a way that its protocol has no word for', {
    procedure: procedure.name,
    code: error.code,
    reason: messageOf(error),
  })
  return encodeRecord((writer) => encodeRefusal(writer, xid, { status: 'SYSTEM_ERR' }))
}
