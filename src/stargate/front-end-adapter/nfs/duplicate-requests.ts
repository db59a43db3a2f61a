/**
 * Calls that must not be done twice, and their answers: a client that heard nothing sends the same call again, over another connection where
 * the first one broke. To remove a file twice would be answered with "there is none", though the client has removed it.
 *
 *   (none)    → underWay   it came for the first time                                  [begin]
 *   underWay  → underWay   it came again: the newest to come gets the answer, too       [begin]
 *   underWay  → answered   it is done                                                  [answered]
 *   underWay  → (none)     it could not be done: a later try may be                    [failed]
 *   answered  → answered   it came again, and got the answer                           [begin]
 *   answered  → (none)     its time is over, or younger ones need the room             [#expire]
 *
 * Two calls are the same when client, xid, program, version, procedure and arguments are. The client is its address without the port, which
 * changes with each connection; the arguments tell apart what else would be: clients behind one address, or one that has started again and
 * counts its xids from the beginning.
 */
import { assert } from '../../../base/assert.ts'
import { crc32c } from '../../../base/crc32c.ts'
import type { Clock } from '../../../platform/platform.ts'
import type { Caller } from './rpc-program.ts'
import type { RpcCall } from './rpc.ts'
import type { RpcLimits } from './rpc-limits.ts'

/** What names a call, for `DuplicateRequests`. */
export type CallKey = string

export function keyOf(call: RpcCall, caller: Caller, args: Uint8Array): CallKey {
  const { xid, program, version, procedure } = call
  return `${caller.host} ${xid} ${program} ${version} ${procedure} ${args.length} ${crc32c(args)}`
}

/** The answer to a call: a whole record. Undefined: another has come for it, and this one is not answered. */
export type Repeat = (answer: Buffer | undefined) => void

interface Answered {
  readonly answer: Buffer
  readonly since: number
}

/** What an entry takes beside its answer, about. */
const entryBytes = 256

export class DuplicateRequests {
  /** Of the answers that are kept. */
  bytes = 0
  readonly #clock: Pick<Clock, 'now'>
  readonly #limits: RpcLimits
  /** Bounded by the calls under way of all connections. */
  readonly #underWay = new Map<CallKey, { repeat: Repeat | undefined }>()
  /** The oldest first. */
  readonly #answered = new Map<CallKey, Answered>()

  constructor(clock: Pick<Clock, 'now'>, limits: RpcLimits) {
    this.#clock = clock
    this.#limits = limits
  }

  /** Answers that are kept. */
  get entries(): number {
    return this.#answered.size
  }

  /**
   * True: it is new, and is to be done; tell `answered` or `failed`. False: it was done before or is under way, and `repeat` is called with
   * the answer, now or later.
   */
  begin(key: CallKey, repeat: Repeat): boolean {
    this.#expire()
    const underWay = this.#underWay.get(key)
    if (underWay !== undefined) {
      underWay.repeat?.(undefined)
      underWay.repeat = repeat
      return false
    }
    const answered = this.#answered.get(key)
    if (answered !== undefined) {
      repeat(answered.answer)
      return false
    }
    this.#underWay.set(key, { repeat: undefined })
    return true
  }

  /** It is done. The buffers are copied. */
  answered(key: CallKey, record: readonly Buffer[]): void {
    const answer = Buffer.concat(record)
    const repeat = this.#end(key)
    this.#answered.set(key, { answer, since: this.#clock.now() })
    this.bytes += entryBytes + answer.length
    this.#expire()
    repeat?.(answer)
  }

  /** It was not done, as the answer says. */
  failed(key: CallKey, record: readonly Buffer[]): void {
    this.#end(key)?.(Buffer.concat(record))
  }

  #end(key: CallKey): Repeat | undefined {
    const underWay = this.#underWay.get(key)
    assert(underWay !== undefined, 'a call was answered that is not under way')
    this.#underWay.delete(key)
    return underWay.repeat
  }

  #expire(): void {
    const { keptAnswersMax, keptBytesMax, keptMs } = this.#limits
    const tooOld = this.#clock.now() - keptMs
    for (const [key, { answer, since }] of this.#answered) {
      const isOver = since < tooOld || this.#answered.size > keptAnswersMax || this.bytes > keptBytesMax
      if (!isOver) return
      this.#answered.delete(key)
      this.bytes -= entryBytes + answer.length
    }
  }
}
