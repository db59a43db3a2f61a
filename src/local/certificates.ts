/**
 * Certificates of a cluster's own: an authority, and what it signs. X.509 version 3, keys and signatures of the curve P-256.
 *
 *   Certificate   ::= SEQUENCE { what is signed, ECDSA with SHA-256, the signature }
 *   what is signed::= SEQUENCE { [0] version, serial, ECDSA with SHA-256, issuer, validity, subject, key, [3] extensions }
 *
 * Only the encoding is ours, and it is DER: a tag, a length, and what is in it. Keys are made, and signatures too, by OpenSSL within Node.js.
 */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  sign,
  X509Certificate,
} from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { isIP } from 'node:net'
import { NdfsError } from '../base/errors.ts'

/** PEM. The key lies unencrypted: whoever can read it is whom the certificate names. */
export interface Certified {
  readonly certificate: string
  readonly key: string
}

export interface Validity {
  /** Milliseconds since 1970. */
  readonly from: number
  readonly days: number
}

/** At most 20 bytes by the standard: unpredictable ones, never two alike from one authority. */
export const serialBytes = 16

const dayMs = 24 * 3600 * 1000
/** Clocks of two machines may differ by this much. */
const clockSkewMs = 5 * 60 * 1000

/** An authority that signs itself; `name`: what it is called in certificates. */
export function makeAuthority(name: string, validity: Validity, serial: Buffer): Certified {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const extensions = [
    extension(oids.basicConstraints, sequence(truth), 'critical'),
    extension(oids.keyUsage, keyUsage.signsCertificates, 'critical'),
    extension(oids.subjectKey, octets(keyIdentifier(publicKey))),
  ]
  const signed = { subject: name, issuer: name, publicKey, validity, serial, extensions }
  return { certificate: certificateOf(signed, privateKey), key: pemOf(privateKey) }
}

/** For a node, a server or a client, by whichever of these names and addresses it is asked for; the first is its subject. REFUSED where the authority is not one made here. */
export function issueCertificate(
  authority: Certified,
  names: readonly [string, ...string[]],
  validity: Validity,
  serial: Buffer,
): Certified {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const issuer = new X509Certificate(authority.certificate)
  const extensions = [
    extension(oids.basicConstraints, sequence(), 'critical'),
    extension(oids.keyUsage, keyUsage.signs, 'critical'),
    extension(oids.extendedKeyUsage, sequence(oids.serverAuth, oids.clientAuth)),
    extension(oids.subjectNames, sequence(...names.map(subjectName))),
    extension(oids.subjectKey, octets(keyIdentifier(publicKey))),
    extension(oids.authorityKey, sequence(der(0x80, keyIdentifier(issuer.publicKey)))),
  ]
  const signed = {
    ...{ subject: names[0], issuer: issuer.subject.replace(/^CN=/, '') },
    ...{ publicKey, validity, serial, extensions },
  }
  const certificate = certificateOf(signed, createPrivateKey(authority.key))
  if (!new X509Certificate(certificate).checkIssued(issuer) || !isKeyOf(authority.key, issuer))
    throw new NdfsError(
      'REFUSED',
      `Cannot issue a certificate: the authority ${issuer.subject} was not made by \`ndfs certificate init\`, or its key is another's`,
    )
  return { certificate, key: pemOf(privateKey) }
}

const isKeyOf = (key: string, { publicKey }: X509Certificate): boolean =>
  createPublicKey(key).equals(publicKey)

interface Signed {
  readonly subject: string
  readonly issuer: string
  readonly publicKey: KeyObject
  readonly validity: Validity
  readonly serial: Buffer
  readonly extensions: readonly Buffer[]
}

function certificateOf(signed: Signed, key: KeyObject): string {
  const { subject, issuer, publicKey, validity, serial, extensions } = signed
  const until = validity.from + validity.days * dayMs
  const body = sequence(
    der(0xa0, integer(Buffer.from([2]))),
    integer(serial),
    sequence(oids.ecdsaWithSha256),
    nameOf(issuer),
    sequence(timeOf(validity.from - clockSkewMs), timeOf(until)),
    nameOf(subject),
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, sequence(...extensions)),
  )
  const whole = sequence(body, sequence(oids.ecdsaWithSha256), bits(sign('sha256', body, key)))
  return new X509Certificate(whole).toString()
}

const pemOf = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }).toString()

/** Any will do that tells keys apart; by the first bytes of a hash, as others make it. */
const keyIdentifier = (key: KeyObject): Buffer =>
  createHash('sha256')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest()
    .subarray(0, 20)

/** A host or a node, or an address: the standard keeps them apart. */
function subjectName(name: string): Buffer {
  const family = isIP(name)
  if (family === 0) return der(0x82, Buffer.from(name, 'latin1'))
  return der(0x87, family === 4 ? Buffer.from(name.split('.').map(Number)) : ipv6Bytes(name))
}

function ipv6Bytes(address: string): Buffer {
  // As a URL has it there is no IPv4 within, and at most one gap.
  const [head, tail] = new URL(`http://[${address}]`).hostname.slice(1, -1).split('::')
  const groups = (part = ''): number[] =>
    part === '' ? [] : part.split(':').map((group) => parseInt(group, 16))
  const [before, after] = [groups(head), groups(tail)]
  const all = [...before, ...new Array<number>(8 - before.length - after.length).fill(0), ...after]
  return Buffer.from(all.flatMap((group) => [group >> 8, group & 255]))
}

function extension(oid: Buffer, value: Buffer, critical?: 'critical'): Buffer {
  return sequence(oid, ...(critical ? [truth] : []), octets(value))
}

const nameOf = (commonName: string): Buffer =>
  sequence(der(0x31, sequence(oids.commonName, der(0x0c, Buffer.from(commonName)))))

/** Two digits of the year until 2049, four from then on: the standard wants it so. */
function timeOf(milliseconds: number): Buffer {
  const digits = new Date(milliseconds).toISOString().replace(/\.\d+|[-:T]/g, '')
  return Number(digits.slice(0, 4)) < 2050
    ? der(0x17, Buffer.from(digits.slice(2)))
    : der(0x18, Buffer.from(digits))
}

function der(tag: number, ...contents: readonly Buffer[]): Buffer {
  const body = Buffer.concat(contents)
  const { length } = body
  const long = length < 256 ? [0x81, length] : [0x82, length >> 8, length & 255]
  return Buffer.concat([Buffer.from([tag, ...(length < 128 ? [length] : long)]), body])
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return der(0x30, ...parts)
}
const octets = (bytes: Buffer): Buffer => der(0x04, bytes)
/** `unused`: bits of the last byte that are none. */
function bits(bytes: Buffer, unused = 0): Buffer {
  return der(0x03, Buffer.from([unused]), bytes)
}
/** Not negative, and without needless zeros before it. */
function integer(bytes: Buffer): Buffer {
  const first = bytes.findIndex((byte) => byte !== 0)
  const trimmed = first === -1 ? Buffer.from([0]) : bytes.subarray(first)
  return trimmed[0] & 0x80 ? der(0x02, Buffer.from([0]), trimmed) : der(0x02, trimmed)
}

function oid(text: string): Buffer {
  const [first, second, ...more] = text.split('.').map(Number)
  const bytes = more.flatMap((part) => {
    const sevens = [part & 127]
    for (let rest = part >>> 7; rest > 0; rest >>>= 7) sevens.unshift(128 | (rest & 127))
    return sevens
  })
  return der(0x06, Buffer.from([first * 40 + second, ...bytes]))
}

const truth = der(0x01, Buffer.from([255]))

const oids = {
  commonName: oid('2.5.4.3'),
  ecdsaWithSha256: oid('1.2.840.10045.4.3.2'),
  subjectKey: oid('2.5.29.14'),
  keyUsage: oid('2.5.29.15'),
  subjectNames: oid('2.5.29.17'),
  basicConstraints: oid('2.5.29.19'),
  authorityKey: oid('2.5.29.35'),
  extendedKeyUsage: oid('2.5.29.37'),
  serverAuth: oid('1.3.6.1.5.5.7.3.1'),
  clientAuth: oid('1.3.6.1.5.5.7.3.2'),
}

const keyUsage = { signs: bits(Buffer.from([0x80]), 7), signsCertificates: bits(Buffer.from([0x06]), 1) }
