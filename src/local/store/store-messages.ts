/**
 * What the store's main thread and its worker hand each other: many requests, or their outcomes, whose bytes lie in one
 * block of memory that changes hands without being copied.
 */
import { decodeControl, encodeControl } from '../../base/control.ts'
import type { NdfsErrorCode } from '../../base/errors.ts'
import { NdfsError } from '../../base/errors.ts'
import type { StoreOutcome, StoreRequest } from './store-batch.ts'
import type { StorePosition } from './store-database.ts'

export interface Packed {
  readonly memory: ArrayBuffer
  /** Where each part ends; it begins where the one before it ends. */
  readonly ends: readonly number[]
}

export interface RequestsMessage extends Packed {
  readonly kinds: readonly string[]
  /** When it was sent: milliseconds since 1970. */
  readonly wallTime: number
}

/**
 * `freeze`: the file is brought up to date, and then not written to until `thaw`, so that it can be copied; changes go on in the
 * write-ahead log beside it.
 */
export type WorkerOrder = RequestsMessage | 'freeze' | 'thaw' | 'close'

export type WorkerMessage =
  /** The first one: the file is open. */
  | { readonly state: 'open'; readonly position: StorePosition }
  /** `refused[i]`: the part is an error. `changes`: how many the store has seen by then. */
  | ({
      readonly state: 'done'
      readonly refused: readonly boolean[]
      readonly zeusRevision: number
      readonly changes: number
    } & Packed)
  /** The file stands there until `thaw`. Without a position there was no room to bring it up to date, and it isn't frozen. */
  | { readonly state: 'frozen'; readonly position?: StorePosition }
  /** The last one: it could not open the file, or could not go on. */
  | { readonly state: 'failed'; readonly error: Uint8Array }

export interface WorkerData {
  readonly file: string
  readonly clusterId: string
}

export function pack(parts: readonly Uint8Array[]): Packed {
  const bytes = parts.reduce((sum, part) => sum + part.length, 0)
  // Memory of its own, not a piece of the pool: it is transferred whole.
  const memory = new ArrayBuffer(bytes)
  const target = new Uint8Array(memory)
  const ends: number[] = []
  let end = 0
  for (const part of parts) {
    target.set(part, end)
    ends.push((end += part.length))
  }
  return { memory, ends }
}

export function unpack({ memory, ends }: Packed): Buffer[] {
  return ends.map((end, i) => {
    const start = i === 0 ? 0 : ends[i - 1]
    return Buffer.from(memory, start, end - start)
  })
}

export function packRequests(requests: readonly StoreRequest[], wallTime = 0): RequestsMessage {
  return { kinds: requests.map(({ kind }) => kind), wallTime, ...pack(requests.map(({ body }) => body)) }
}

export function unpackRequests(message: Packed & { readonly kinds: readonly string[] }): StoreRequest[] {
  return unpack(message).map((body, i) => ({ kind: message.kinds[i], body }))
}

export function packOutcomes(
  outcomes: readonly StoreOutcome[],
  { zeusRevision, changes }: { readonly zeusRevision: number; readonly changes: number },
): WorkerMessage & Packed {
  const parts = outcomes.map((outcome) => (outcome instanceof NdfsError ? encodeError(outcome) : outcome))
  const refused = outcomes.map((outcome) => outcome instanceof NdfsError)
  return { state: 'done', refused, zeusRevision, changes, ...pack(parts) }
}

export function unpackOutcomes(message: Packed & { readonly refused: readonly boolean[] }): StoreOutcome[] {
  return unpack(message).map((part, i) => (message.refused[i] ? decodeError(part) : part))
}

export function encodeError({ code, message, facts }: NdfsError): Uint8Array {
  return encodeControl({ code, message, facts })
}

export function decodeError(bytes: Uint8Array): NdfsError {
  const error = decodeControl<{ code: NdfsErrorCode; message: string; facts: Record<string, unknown> }>(bytes)
  return new NdfsError(error.code, error.message, error.facts)
}
