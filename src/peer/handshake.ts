/**
 * How two nodes prove to each other that they have the cluster's key, without showing it.
 *
 *   caller                                                     called
 *     hello     cluster, node, incarnation, lane,      ──▶       checks cluster, versions and formats
 *               versions, formats, nonce
 *     checks the proof, then cluster, node             ◀──       challenge   cluster, node, incarnation, version, formats,
 *     and formats                                                            nonce
 *                                                      ◀──       proof       HMAC(key, "called", hello, challenge)
 *     proof     HMAC(key, "caller", hello, challenge)  ──▶       checks the proof
 *                                                      ◀──       welcome
 *
 * Either side may send `refused` instead, with a sentence, and then closes. The proofs cover both messages as they were
 * sent, so that nobody in between can change one, and name the side, so that none can be sent back as an answer.
 * Not here: secrecy, and proof against someone who changes bytes after the handshake: TLS around it gives both (peer-network.ts), and
 * without it the peers' network is trusted with that. What is in the messages is CBOR; frames, and these messages, stay as they are in every version.
 *
 * Values in, values out: what to send, and what follows.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'
import { decodeControl, encodeControl } from '../base/control.ts'
import { messageOf } from '../base/errors.ts'
import { type Release, releaseText, servesFormat } from '../base/formats.ts'
import type { Incarnation, NodeId } from '../base/ids.ts'
import { frameTypes } from './framing.ts'
import type { FrameType } from './framing.ts'
import type { Lane } from './peer.ts'

/** What requests, answers and errors mean between two nodes. Version 1, of before the first release, told no formats. */
export const protocolVersions = { least: 2, greatest: 2 } as const

/** What a node tells of the cluster's format: one that can't serve it is no peer. */
export interface Formats {
  readonly release: Release
  /** As far as the node has heard; 0 while it hasn't. */
  readonly now: () => number
}

export interface Self {
  readonly cluster: string
  readonly node: NodeId
  readonly incarnation: Incarnation
  readonly key: Uint8Array
  readonly versions: { readonly least: number; readonly greatest: number }
  /** Those who are no nodes, such as the store, have none: formats are not their affair. */
  readonly formats?: Formats
}

export interface ProvenPeer {
  readonly node: NodeId
  readonly incarnation: Incarnation
  readonly lane: Lane
  readonly version: number
}

export interface Message {
  readonly type: FrameType
  readonly body: Buffer
}

export type Step =
  | { readonly state: 'going on'; readonly send: readonly Message[] }
  | { readonly state: 'proven'; readonly send: readonly Message[]; readonly peer: ProvenPeer }
  | { readonly state: 'refused'; readonly send: readonly Message[]; readonly reason: string }

export const nonceBytes = 16

/** The side that connects. */
export class CallerHandshake {
  readonly #self: Self
  readonly #expected: NodeId
  readonly #lane: Lane
  readonly #hello: Buffer
  #challenge: Buffer | undefined
  #peer: ProvenPeer | undefined

  /** `expected`: the node that should be at that address. */
  constructor(self: Self, expected: NodeId, lane: Lane, nonce: Uint8Array) {
    this.#self = self
    this.#expected = expected
    this.#lane = lane
    const { cluster, node, incarnation, versions } = self
    this.#hello = encodeControl({ cluster, node, incarnation, lane, versions, ...told(self), nonce })
  }

  begin(): Message {
    return { type: frameTypes.hello, body: this.#hello }
  }

  receive({ type, body }: Message): Step {
    if (type === frameTypes.refused) return refusedBy(body)
    if (type === frameTypes.challenge && this.#challenge === undefined) {
      this.#challenge = body
      return { state: 'going on', send: [] }
    }
    if (type === frameTypes.proof && this.#challenge !== undefined && this.#peer === undefined)
      return this.#checkProof(body, this.#challenge)
    if (type === frameTypes.welcome && this.#peer !== undefined)
      return { state: 'proven', send: [], peer: this.#peer }
    return refuse('a message came out of its turn')
  }

  #checkProof(proof: Buffer, challenge: Buffer): Step {
    const self = this.#self
    if (!isProof(proof, self.key, 'called', this.#hello, challenge))
      return refuse('the node called does not have the key of the cluster')
    const said = fieldsOf(challenge)
    const { cluster, node, incarnation, version } = said
    if (cluster !== self.cluster)
      return refuse(`the node called is of cluster ${text(cluster)}, the caller of ${self.cluster}`)
    if (node !== this.#expected) return refuse(`here is ${text(node)}, and ${this.#expected} was called`)
    if (typeof incarnation !== 'string' || typeof version !== 'number')
      return refuse('the challenge makes no sense')
    if (version < self.versions.least || version > self.versions.greatest)
      return refuse(`version ${version} of the protocol was not offered`)
    const formats = formatsIn(said)
    if (formats === 'nonsense') return refuse('the challenge makes no sense')
    const other = otherFormats({ caller: formatsOf(self), called: formats })
    if (other !== undefined) return refuse(other)
    this.#peer = {
      node: this.#expected,
      incarnation: incarnation as Incarnation,
      lane: this.#lane,
      version,
    }
    const send = { type: frameTypes.proof, body: proofOf(self.key, 'caller', this.#hello, challenge) }
    return { state: 'going on', send: [send] }
  }
}

/** What the called side has heard and said when it waits for the proof. */
interface Given {
  readonly hello: Buffer
  readonly challenge: Buffer
  readonly peer: ProvenPeer
}

/** The side that listens. */
export class CalledHandshake {
  readonly #self: Self
  readonly #nonce: Uint8Array
  #given: Given | undefined

  constructor(self: Self, nonce: Uint8Array) {
    this.#self = self
    this.#nonce = nonce
  }

  /** `lane`: that of the frames. */
  receive({ type, body }: Message, lane: Lane): Step {
    if (type === frameTypes.refused) return refusedBy(body)
    if (type === frameTypes.hello && this.#given === undefined) return this.#answer(body, lane)
    if (type === frameTypes.proof && this.#given !== undefined) return this.#checkProof(body, this.#given)
    return refuse('a message came out of its turn')
  }

  #answer(hello: Buffer, lane: Lane): Step {
    const self = this.#self
    const said = fieldsOf(hello)
    if (said.cluster !== self.cluster)
      return refuse(`the caller is of cluster ${text(said.cluster)}, the node called of ${self.cluster}`)
    const { node, incarnation } = said
    const versions = said.versions as Partial<Self['versions']> | null | undefined
    if (
      typeof node !== 'string' ||
      typeof incarnation !== 'string' ||
      said.lane !== lane ||
      !(said.nonce instanceof Uint8Array) ||
      said.nonce.length !== nonceBytes ||
      typeof versions?.least !== 'number' ||
      typeof versions.greatest !== 'number'
    )
      return refuse('the hello makes no sense')
    const version = Math.min(versions.greatest, self.versions.greatest)
    if (version < versions.least || version < self.versions.least)
      return refuse(
        `the caller speaks versions ${versions.least} to ${versions.greatest} of the protocol, the node called ` +
          `${self.versions.least} to ${self.versions.greatest}; install the same NDFS on both`,
      )
    const formats = formatsIn(said)
    if (formats === 'nonsense') return refuse('the hello makes no sense')
    const other = otherFormats({ caller: formats, called: formatsOf(self) })
    if (other !== undefined) return refuse(other)
    const challenge = encodeControl({
      cluster: self.cluster,
      node: self.node,
      incarnation: self.incarnation,
      version,
      ...told(self),
      nonce: this.#nonce,
    })
    this.#given = {
      hello,
      challenge,
      peer: { node: node as NodeId, incarnation: incarnation as Incarnation, lane, version },
    }
    return {
      state: 'going on',
      send: [
        { type: frameTypes.challenge, body: challenge },
        { type: frameTypes.proof, body: proofOf(self.key, 'called', hello, challenge) },
      ],
    }
  }

  #checkProof(proof: Buffer, { hello, challenge, peer }: Given): Step {
    if (!isProof(proof, this.#self.key, 'caller', hello, challenge))
      return refuse('the caller does not have the key of the cluster')
    return { state: 'proven', send: [{ type: frameTypes.welcome, body: Buffer.alloc(0) }], peer }
  }
}

interface ToldFormats extends Release {
  readonly now: number
}

const formatsOf = ({ formats }: Self): ToldFormats | undefined =>
  formats && { ...formats.release, now: formats.now() }

function told(self: Self): { formats?: ToldFormats } {
  const formats = formatsOf(self)
  return formats === undefined ? {} : { formats }
}

function formatsIn({ formats }: Record<string, unknown>): ToldFormats | 'nonsense' | undefined {
  if (formats === undefined) return undefined
  const { version, oldest, newest, now } = (formats ?? {}) as Record<string, unknown>
  const isNumber = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0
  if (typeof version !== 'string' || !isNumber(oldest) || !isNumber(newest) || !isNumber(now))
    return 'nonsense'
  return { version: text(version), oldest, newest, now }
}

/**
 * Which of the two can't serve the cluster's format. That only rises, and one of them may have heard of it before the other: the greater is what it is.
 */
function otherFormats({
  caller,
  called,
}: Record<'caller' | 'called', ToldFormats | undefined>): string | undefined {
  if (caller === undefined || called === undefined) return undefined
  const now = Math.max(caller.now, called.now)
  if (now === 0) return undefined
  const wrong = (
    [
      ['caller', caller],
      ['node called', called],
    ] as const
  ).find(([, formats]) => !servesFormat(formats, now))
  return (
    wrong &&
    `the ${wrong[0]} is of ${releaseText(wrong[1])}, and the cluster's format is ${now}; install another release there`
  )
}

/** The other side has refused, or was refused. */
export class Refused extends Error {
  constructor(reason: string) {
    super(`refused: ${reason}`)
  }
}

export function refuse(reason: string): Step {
  return { state: 'refused', send: [{ type: frameTypes.refused, body: Buffer.from(reason) }], reason }
}

const refusedBy = (body: Buffer): Step => ({
  state: 'refused',
  send: [],
  // For people to read: whoever sent it may be a stranger, so no line ends and no escapes.
  reason: body.toString().replace(/[^\x20-\x7e]/g, '?'),
})

function proofOf(key: Uint8Array, side: 'caller' | 'called', hello: Buffer, challenge: Buffer): Buffer {
  const lengths = Buffer.alloc(8)
  lengths.writeUInt32LE(hello.length, 0)
  lengths.writeUInt32LE(challenge.length, 4)
  return createHmac('sha256', key)
    .update(`ndfs peer ${side}`)
    .update(lengths)
    .update(hello)
    .update(challenge)
    .digest()
}

function isProof(
  proof: Buffer,
  key: Uint8Array,
  side: 'caller' | 'called',
  hello: Buffer,
  challenge: Buffer,
): boolean {
  const right = proofOf(key, side, hello, challenge)
  return proof.length === right.length && timingSafeEqual(proof, right)
}

/** What a stranger sent: anything. */
function fieldsOf(body: Buffer): Record<string, unknown> {
  try {
    const value = decodeControl<unknown>(body)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
  } catch (error) {
    return { cluster: `(unreadable: ${messageOf(error)})` }
  }
}

const text = (value: unknown): string =>
  (typeof value === 'string' ? value : '(none)').slice(0, 64).replace(/[^\x20-\x7e]/g, '?')
