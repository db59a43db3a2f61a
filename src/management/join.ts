/**
 * How a machine comes by the key of a cluster: it shows a join token to a node, over a connection that anyone may read.
 *
 *   joiner                                                                        a node
 *   { cluster, token, node, machine, release, publicKey, proof } ───────────────▶
 *                        ◀──────────────────────── { publicKey, sealed }
 *
 *   proof    HMAC-SHA256, under the token's secret, of all other fields of the request
 *   sealed   nonce (12) · the key and the operator's token, in JSON, by AES-256-GCM · tag (16), under
 *            HKDF-SHA256(X25519 of both public keys; salt: the token's secret; info: all of the request, and the answer's public key)
 *
 *  1. Who reads along learns nothing, not even with the token in hand later: both public keys are of this exchange alone.
 *  2. Who stands between can't answer in the node's place without the token's secret, nor change what is asked for.
 *  3. The secret is nowhere: the node derives it from the cluster's key and the token's number.
 *
 * Who has the token before it is used can join: it is to be treated as a password, for as long as it lasts.
 */
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  hkdfSync,
  timingSafeEqual,
} from 'node:crypto'
import Type, { type Static } from 'typebox'
import { NdfsError } from '../base/errors.ts'
import type { Chance } from '../platform/platform.ts'
import { nodeIdPattern } from './management.ts'
import { releaseSchema } from './upgrade.ts'

export const joinPath = '/api/v1/join'

const closed = { additionalProperties: false } as const
const hex = (bytes: number) => Type.String({ pattern: `^[0-9a-f]{${2 * bytes}}$` })

export const joinRequestSchema = Type.Object(
  {
    cluster: hex(8),
    /** The token's number. */
    token: hex(8),
    /** As what the machine wants to join. */
    node: Type.String({ pattern: nodeIdPattern }),
    /** Chosen once by the machine: who asks again is known by it. */
    machine: hex(16),
    /** What it would run: refused where that can't serve the cluster's format. */
    release: releaseSchema,
    publicKey: hex(32),
    proof: hex(32),
  },
  closed,
)
export type JoinRequest = Static<typeof joinRequestSchema>

export const joinAnswerSchema = Type.Object(
  { publicKey: hex(32), sealed: Type.String({ pattern: '^[0-9a-f]{56,2048}$' }) },
  closed,
)
export type JoinAnswer = Static<typeof joinAnswerSchema>

/** What a member knows. */
export interface MemberSecrets {
  /** The cluster's key, as hex digits. */
  readonly key: string
  /** The operator's. */
  readonly token: string
}

export interface JoinToken {
  /** `host:port` of the API of nodes that can be asked. */
  readonly apis: readonly string[]
  readonly cluster: string
  readonly number: string
  readonly secret: Buffer
}

const tokenMark = 'ndfs-join-'
const secretBytes = 32
const numberBytes = 8

export const newTokenNumber = (chance: Chance): string => chance.bytes(numberBytes).toString('hex')

/** Of the token with that number. Whoever has the cluster's key can make it again. */
export const tokenSecret = (key: Buffer, number: string): Buffer =>
  createHmac('sha256', key).update(`join token ${number}`).digest()

/** One word, to be carried to another machine. */
export function encodeJoinToken({ apis, cluster, number, secret }: JoinToken): string {
  const head = Buffer.from(cluster + number, 'hex')
  return tokenMark + Buffer.concat([head, secret, Buffer.from(apis.join(' '))]).toString('base64url')
}

/** `undefined` where it is none, or not all of it. */
export function decodeJoinToken(text: string): JoinToken | undefined {
  const written = text.trim()
  if (!written.startsWith(tokenMark)) return undefined
  const bytes = Buffer.from(written.slice(tokenMark.length), 'base64url')
  const secretAt = 2 * numberBytes
  const apis = bytes.subarray(secretAt + secretBytes).toString()
  if (bytes.length <= secretAt + secretBytes || !/^[\w.:[\]-]+:\d+(?: [\w.:[\]-]+:\d+)*$/.test(apis))
    return undefined
  return {
    apis: apis.split(' '),
    cluster: bytes.toString('hex', 0, numberBytes),
    number: bytes.toString('hex', numberBytes, secretAt),
    secret: Buffer.from(bytes.subarray(secretAt, secretAt + secretBytes)),
  }
}

/** What to send, and how to read the answer: REFUSED where it did not come from a node of the cluster. */
export function askToJoin(
  { cluster, number, secret }: JoinToken,
  { node, machine, release }: Pick<JoinRequest, 'node' | 'machine' | 'release'>,
  chance: Chance,
): { readonly request: JoinRequest; readonly open: (answer: JoinAnswer) => MemberSecrets } {
  const own = keyPair(chance)
  const fields = { cluster, token: number, node, machine, release, publicKey: own.publicKey }
  const request = { ...fields, proof: proofOf(secret, fields) }
  return {
    request,
    open(answer) {
      try {
        const key = sealingKey(secret, own, answer.publicKey, request, answer.publicKey)
        return JSON.parse(unseal(key, Buffer.from(answer.sealed, 'hex')).toString()) as MemberSecrets
      } catch (error) {
        throw new NdfsError(
          'REFUSED',
          'Cannot join: the answer is not from a node that knows the token. Is there something between this machine and the node?',
          {},
          { cause: error },
        )
      }
    },
  }
}

/** Whether who sent it has the token. */
export function isProven(secret: Buffer, { proof, ...fields }: JoinRequest): boolean {
  return timingSafeEqual(Buffer.from(proof, 'hex'), Buffer.from(proofOf(secret, fields), 'hex'))
}

export function answerToJoin(
  secret: Buffer,
  request: JoinRequest,
  secrets: MemberSecrets,
  chance: Chance,
): JoinAnswer {
  const own = keyPair(chance)
  const key = sealingKey(secret, own, request.publicKey, request, own.publicKey)
  return {
    publicKey: own.publicKey,
    sealed: seal(key, Buffer.from(JSON.stringify(secrets)), chance).toString('hex'),
  }
}

const textOf = ({
  cluster,
  token,
  node,
  machine,
  release,
  publicKey,
}: Omit<JoinRequest, 'proof'>): string => {
  const { version, oldest, newest } = release
  return ['ndfs join', cluster, token, node, machine, version, oldest, newest, publicKey].join('\n')
}

const proofOf = (secret: Buffer, fields: Omit<JoinRequest, 'proof'>): string =>
  createHmac('sha256', secret).update(textOf(fields)).digest('hex')

interface KeyPair {
  readonly raw: Buffer
  readonly publicKey: string
}

// What stands before the 32 bytes of a key in DER (RFC 8410).
const privateKeyHead = Buffer.from('302e020100300506032b656e04220420', 'hex')
const publicKeyHead = Buffer.from('302a300506032b656e032100', 'hex')

const privateKeyOf = (raw: Buffer) =>
  createPrivateKey({ key: Buffer.concat([privateKeyHead, raw]), format: 'der', type: 'pkcs8' })

function keyPair(chance: Chance): KeyPair {
  const raw = chance.bytes(32)
  const der = createPublicKey(privateKeyOf(raw)).export({ format: 'der', type: 'spki' })
  return { raw, publicKey: der.subarray(publicKeyHead.length).toString('hex') }
}

/** Throws where the other's public key is none. */
function sealingKey(
  secret: Buffer,
  own: KeyPair,
  others: string,
  request: JoinRequest,
  answering: string,
): Buffer {
  const publicKey = createPublicKey({
    ...{ key: Buffer.concat([publicKeyHead, Buffer.from(others, 'hex')]), format: 'der', type: 'spki' },
  })
  const shared = diffieHellman({ privateKey: privateKeyOf(own.raw), publicKey })
  return Buffer.from(hkdfSync('sha256', shared, secret, `${textOf(request)}\n${answering}`, 32))
}

const nonceBytes = 12
const tagBytes = 16

function seal(key: Buffer, plain: Buffer, chance: Chance): Buffer {
  const nonce = chance.bytes(nonceBytes)
  const cipher = createCipheriv('aes-256-gcm', key, nonce)
  return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()])
}

function unseal(key: Buffer, sealed: Buffer): Buffer {
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, nonceBytes), {
    authTagLength: tagBytes,
  })
  decipher.setAuthTag(sealed.subarray(-tagBytes))
  return Buffer.concat([decipher.update(sealed.subarray(nonceBytes, -tagBytes)), decipher.final()])
}
