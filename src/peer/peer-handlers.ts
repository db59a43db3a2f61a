/** What answers requests, by kind; and how an error travels. */
import { assert } from '../base/assert.ts'
import { decodeControl, encodeControl } from '../base/control.ts'
import { NdfsError } from '../base/errors.ts'
import type { Facts, NdfsErrorCode } from '../base/errors.ts'
import type { Clock, Log } from '../platform/platform.ts'
import { MalformedStream } from './framing.ts'
import type { HandlerOptions, Lane, PeerHandler, PeerRequest } from './peer.ts'

export const kindLengthMax = 64

export class PeerHandlers {
  readonly #clock: Clock
  readonly #log: Log
  readonly #handlers = new Map<string, { lane: Lane; handler: PeerHandler; options: HandlerOptions }>()

  constructor(clock: Clock, log: Log) {
    this.#clock = clock
    this.#log = log
  }

  add(kind: string, lane: Lane, handler: PeerHandler, options: HandlerOptions = {}): void {
    assert(
      /^[a-z][a-z0-9.-]*$/.test(kind) && kind.length <= kindLengthMax,
      () => `no name of a kind: ${kind}`,
    )
    assert(!this.#handlers.has(kind), () => `two handlers for ${kind}`)
    this.#handlers.set(kind, { lane, handler, options })
  }

  optionsOf(kind: string): HandlerOptions {
    return this.#handlers.get(kind)?.options ?? {}
  }

  /** Starts the handler now, and calls one of the two back, now or later. */
  run(
    request: PeerRequest,
    lane: Lane,
    answered: (body: readonly Uint8Array[]) => void,
    failed: (error: NdfsError) => void,
  ): void {
    const found = this.#handlers.get(request.kind)
    if (found === undefined)
      return failed(
        new NdfsError('NOT_FOUND', `Nothing here answers ${request.kind}`, { kind: request.kind }),
      )
    // A request that may cause others, on the lane of those that may not, could close a circle of full queues (M9).
    if (found.lane !== lane)
      return failed(
        new NdfsError(
          'REFUSED',
          `Cannot answer ${request.kind} on the ${lane} lane: it belongs on ${found.lane}`,
          {
            kind: request.kind,
          },
        ),
      )
    const thrown = (error: unknown): void => {
      if (error instanceof NdfsError) failed(error)
      else this.#stop(error, request)
    }
    let result: ReturnType<PeerHandler>
    try {
      result = found.handler(request)
    } catch (error) {
      return thrown(error)
    }
    if (result instanceof Promise) result.then(answered, thrown)
    else answered(result)
  }

  /** Anything but an NdfsError is our bug: it stops the process, outside of any promise that could keep it quiet. */
  #stop(error: unknown, { kind, from }: PeerRequest): void {
    this.#log.error('A handler failed with what is no NdfsError', { kind, from, error })
    this.#clock.soon(() => {
      throw error
    })
  }
}

export const encodeError = ({ code, message, facts }: NdfsError): Buffer =>
  encodeControl({ code, message, facts })

export function decodeError(body: Buffer): NdfsError {
  let said: { code?: unknown; message?: unknown; facts?: unknown } | null
  try {
    said = decodeControl(body)
  } catch {
    throw new MalformedStream('an error that can’t be read')
  }
  if (typeof said?.code !== 'string' || typeof said.message !== 'string')
    throw new MalformedStream('an error without code and message')
  // A newer peer may know more codes than we do: whoever asks for ours finds none of them, and that is right.
  return new NdfsError(said.code as NdfsErrorCode, said.message, (said.facts ?? {}) as Facts)
}
