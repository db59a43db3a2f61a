/** What the store's main thread and the thread of its copy hand each other. */
import type { StoreChanges } from './copy-files.ts'
import type { StorePosition } from './store-database.ts'
import { pack, unpackRequests, type Packed } from './store-messages.ts'

export interface CopyWorkerData {
  readonly folder: string
  readonly clusterId: string
}

export interface ApplyOrder extends Packed {
  readonly order: 'apply'
  readonly kinds: readonly string[]
  /** Of each batch; `requests`: how many of them are its. */
  readonly batches: readonly (Omit<StoreChanges, 'requests'> & { readonly requests: number })[]
}

export type CopyOrder =
  /** `source`: a descriptor of the store's file, frozen at `position`. */
  | { readonly order: 'make'; readonly source: number; readonly position: StorePosition }
  | ApplyOrder
  | { readonly order: 'close' }

export type CopyMessage =
  /** The first one: where the copy that was found stands. */
  | { readonly state: 'open'; readonly position?: StorePosition }
  | { readonly state: 'made' | 'applied'; readonly changes: number }
  /** The last one. */
  | { readonly state: 'failed'; readonly error: Uint8Array }

export function packChanges(all: readonly StoreChanges[]): ApplyOrder {
  const requests = all.flatMap((changes) => changes.requests)
  return {
    order: 'apply',
    kinds: requests.map(({ kind }) => kind),
    batches: all.map(({ requests: those, ...rest }) => ({ ...rest, requests: those.length })),
    ...pack(requests.map(({ body }) => body)),
  }
}

export function unpackChanges(order: ApplyOrder): StoreChanges[] {
  const requests = unpackRequests(order)
  let at = 0
  return order.batches.map((batch) => ({ ...batch, requests: requests.slice(at, (at += batch.requests)) }))
}
