/**
 * What a node asks of the machine's store for Zeus, and what it is answered: each a CBOR map in one peer request.
 * Values travel and lie in the store as JSON text, which only the nodes read. `zeus.changes` and `zeus.heartbeat` are
 * answered by the store's server, which knows the time; all others by the engine, in one order.
 */
import { assert } from '../base/assert.ts'
import { NdfsError } from '../base/errors.ts'
import type { Epoch, Incarnation, NodeId, VDiskId } from '../base/ids.ts'
import type { ClaimReason, Owner } from './zeus.ts'

export interface Entry {
  readonly key: string
  readonly json: string
  readonly version: number
}

/** A key as a change left it; without `json` it was deleted. */
export interface EntryChange {
  readonly key: string
  readonly json?: string
  readonly version: number
  readonly revision: number
}

export interface WatchSince {
  readonly prefix: string
  /** Every change up to this revision was seen; 0: nothing was. */
  readonly since: number
}

export interface WatchNews {
  /** True: `changes` are all keys that there are; what is not among them is gone. */
  readonly full: boolean
  /** In the order in which they were made, each key's last one only. */
  readonly changes: readonly EntryChange[]
}

export interface Claimant {
  readonly node: NodeId
  readonly incarnation: Incarnation
}

type Nothing = Record<string, never>

/** Each kind of request with what it asks and what it is answered. */
export interface ZeusCalls {
  'zeus.get': { asks: { key: string }; answer: { entry?: Entry } }
  'zeus.list': { asks: { prefix: string }; answer: { entries: readonly Entry[] } }
  'zeus.set': { asks: { key: string; json: string; expected?: number }; answer: { version: number } }
  'zeus.delete': { asks: { key: string; expected?: number }; answer: Nothing }
  'zeus.next': { asks: { counter: string }; answer: { number: number } }
  'zeus.claim': {
    asks: { vdisk: VDiskId; by: Claimant; reason: ClaimReason; atLeast: Epoch }
    answer: { owner: Owner }
  }
  'zeus.release': { asks: { vdisk: VDiskId; epoch: Epoch; next?: NodeId }; answer: Nothing }
  'zeus.open-session': { asks: Claimant & { json: string }; answer: Nothing }
  'zeus.update-session': { asks: Claimant & { json: string }; answer: Nothing }
  'zeus.end-session': { asks: Claimant; answer: Nothing }
  /** The sessions that live: what the server asks when it starts. */
  'zeus.sessions': { asks: Nothing; answer: { sessions: readonly Claimant[] } }
  /**
   * What is new for each watch. The server holds the request until there is something, for at most `holdMs`; a newer
   * one of the same `poller` takes its place.
   */
  'zeus.changes': {
    asks: { poller: string; watches: readonly WatchSince[]; holdMs: number }
    answer: { revision: number; news: readonly WatchNews[] }
  }
  /** Says that the session's node lives. `alive` false: the session has ended. */
  'zeus.heartbeat': { asks: Claimant; answer: { alive: boolean } }
}

export type ZeusKind = keyof ZeusCalls
export type ZeusAsks<K extends ZeusKind> = ZeusCalls[K]['asks']
export type ZeusAnswer<K extends ZeusKind> = ZeusCalls[K]['answer']

export type ZeusEngineKind = Exclude<ZeusKind, 'zeus.heartbeat'>

/** Zeus keeps little: a key is a short path, a value what a person could read. */
export const zeusKeyBytesMax = 512
export const zeusValueBytesMax = 256 * 1024

export const ownerKey = (vdisk: VDiskId): string => `owner/${vdisk}`
export const sessionKey = (node: NodeId): string => `session/${node}`

export function jsonOf(value: unknown): string {
  const json = JSON.stringify(value) as string | undefined
  assert(json !== undefined, 'a value for Zeus that JSON does not know')
  return json
}

/** It gave the vDisk up, or it is the owner itself that asks: whether its session lives doesn't matter. */
export const isFreeFor = (last: Owner, by: Claimant): boolean =>
  last.released === true || (last.node === by.node && last.incarnation === by.incarnation)

export function withIncarnation(value: unknown, incarnation: Incarnation): object {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new NdfsError('REFUSED', 'Cannot show this in a session: its value is not an object')
  return { ...value, incarnation }
}

export function checkKey(key: unknown): void {
  if (typeof key !== 'string' || key === '' || Buffer.byteLength(key) > zeusKeyBytesMax)
    throw new NdfsError(
      'REFUSED',
      `Cannot take a key that is empty or longer than ${zeusKeyBytesMax} bytes`,
      { key },
    )
}

export function checkJson(key: string, json: string): void {
  if (Buffer.byteLength(json) > zeusValueBytesMax)
    throw new NdfsError(
      'REFUSED',
      `Cannot set ${key} to ${Buffer.byteLength(json)} bytes: Zeus takes at most ${zeusValueBytesMax}`,
      { key },
    )
}

/** Claims alone set owners; sessions alone set and delete what shows them. */
export function checkSettable(verb: 'set' | 'delete', key: string): void {
  if (key.startsWith('session/') || (verb === 'set' && key.startsWith('owner/')))
    throw new NdfsError('REFUSED', `Cannot ${verb} ${key}: only sessions and claims change such keys`, {
      key,
    })
}

export function otherVersion(verb: string, key: string, expected: number, version: number): NdfsError {
  return new NdfsError(
    'CONFLICT',
    `Cannot ${verb} ${key}, which should be at version ${expected}: it is at version ${version}. Read it again`,
    { key, version },
  )
}

export function inUse(vdisk: VDiskId, by: Claimant, owner: Owner): NdfsError {
  return new NdfsError(
    'IN_USE',
    `Cannot claim vDisk ${vdisk} for ${by.node}: ${owner.node} owns it under epoch ${owner.epoch} and is alive`,
    { owner },
  )
}

export function sessionOver({ node, incarnation }: Claimant): NdfsError {
  return new NdfsError(
    'NOT_FOUND',
    `Cannot change what the session of ${node} shows: it has ended. Open a new one`,
    { node, incarnation },
  )
}
