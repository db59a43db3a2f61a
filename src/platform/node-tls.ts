/**
 * TLS by Node.js, and so by OpenSSL: version 1.3 and no older.
 *
 * Nothing is resumed: each connection proves itself anew, by what holds now. One that has ended its handshake is told in a turn of its own,
 * and only then read from, so that its user is there before its first byte.
 */
import { constants, X509Certificate } from 'node:crypto'
import type { Socket as NetSocket } from 'node:net'
import { isIP } from 'node:net'
import { connect, createSecureContext, TLSSocket } from 'node:tls'
import type { SecureContext } from 'node:tls'
import { assert } from '../base/assert.ts'
import { messageOf, NdfsError } from '../base/errors.ts'
import { NodeSocket } from './node-socket.ts'
import { failureOf, goneEarly } from './node-tls-failures.ts'
import type { Address, Proof, SecureSocket, Socket, Tls, TlsCredentials, TlsSide } from './platform.ts'
import { SocketReads } from './socket-reads.ts'

export const nodeTls: Tls = { side: (credentials) => new NodeTlsSide(credentials) }

class NodeTlsSide implements TlsSide {
  readonly #credentials: TlsCredentials
  readonly #context: SecureContext

  constructor(credentials: TlsCredentials) {
    this.#credentials = credentials
    this.#context = contextOf(credentials)
  }

  async accept(socket: Socket): Promise<SecureSocket> {
    const plain = await released(socket)
    const credentials = this.#credentials
    const requestCert = credentials.kind === 'certificate' && credentials.authorities !== undefined
    const keyOf = (_: unknown, identity: string): Buffer | null =>
      credentials.kind === 'shared keys' ? (credentials.keys.get(identity) ?? null) : null
    let identity = ''
    const options = {
      isServer: true,
      secureContext: this.#context,
      requestCert,
      // Of a server Node.js asks no more than this; what came of it is looked at below.
      rejectUnauthorized: requestCert,
      pskCallback: (from: TLSSocket, named: string): Buffer | null => keyOf(from, (identity = named)),
    }
    const secure = new TLSSocket(plain, options)
    return afterHandshake(secure, 'secure', socket, () => {
      if (credentials.kind === 'shared keys') return { text: identity, names: (name) => name === identity }
      if (!requestCert) return undefined
      const fault = (
        secure as unknown as { ssl: { verifyError(): NodeJS.ErrnoException | null } }
      ).ssl.verifyError()
      if (fault) throw failureOf(fault)
      return proofOf(secure)
    })
  }

  async connect(socket: Socket): Promise<SecureSocket> {
    const plain = await released(socket)
    const secure = connect({
      socket: plain,
      secureContext: this.#context,
      // Whom the certificate names is for the caller to look at: nodes have names that are no hosts'.
      checkServerIdentity: () => undefined,
    })
    return afterHandshake(secure, 'secureConnect', socket, () => proofOf(secure))
  }
}

function contextOf(credentials: TlsCredentials): SecureContext {
  const always = {
    minVersion: 'TLSv1.3',
    maxVersion: 'TLSv1.3',
    secureOptions: constants.SSL_OP_NO_TICKET,
  } as const
  if (credentials.kind === 'shared keys') return createSecureContext(always)
  const { certificate, key, authorities } = credentials
  try {
    // OpenSSL passes over what is no certificate, and would then trust nobody, in silence.
    if (authorities !== undefined) for (const one of pemCertificates(authorities)) new X509Certificate(one)
    // Without any of its own Node.js would trust all the world's.
    return createSecureContext({ ...always, cert: certificate, key, ca: authorities ?? [] })
  } catch (error) {
    throw new NdfsError(
      'REFUSED',
      `Cannot use the certificate, its key or its authorities: ${messageOf(error)}`,
    )
  }
}

/** One certificate at least; what a file has between them is passed over. */
export function pemCertificates(text: string): string[] {
  const found = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g)
  if (found === null) throw new TypeError('there is no certificate in PEM')
  return found
}

/** What TLS is to run over, once all that was written to it has left. */
async function released(socket: Socket): Promise<NetSocket> {
  assert(socket instanceof NodeSocket, 'a socket of this platform')
  return socket.release()
}

function afterHandshake(
  secure: TLSSocket,
  event: 'secure' | 'secureConnect',
  { remoteAddress, localAddress }: Socket,
  proofNow: () => Proof | undefined,
): Promise<SecureSocket> {
  return new Promise((resolve, reject) => {
    let fault: Error | undefined
    const failed = (error: Error): void => {
      fault ??= error
      secure.destroy()
    }
    const ended = (): void => failed(goneEarly())
    const closed = (): void => reject(failureOf(fault))
    secure.on('error', failed)
    // A server's errors, where no tls.Server stands behind it.
    secure.on('_tlsError', failed)
    secure.on('end', ended)
    secure.on('close', closed)
    secure.once(event, () => {
      // Whatever else came with the end of the handshake is told first.
      setImmediate(() => {
        if (secure.destroyed) return
        try {
          const proof = proofNow()
          secure.off('end', ended).off('close', closed)
          resolve(new NodeSecureSocket(secure, proof, remoteAddress, localAddress))
        } catch (error) {
          failed(error as Error)
        }
      })
    })
  })
}

class NodeSecureSocket extends NodeSocket implements SecureSocket {
  readonly proof: Proof | undefined

  constructor(secure: TLSSocket, proof: Proof | undefined, remoteAddress: Address, localAddress: Address) {
    const reads = new SocketReads()
    super(secure, reads, remoteAddress, localAddress)
    this.proof = proof
    setImmediate(() => {
      secure.on('data', (bytes: Buffer) => {
        if (!reads.push(bytes)) secure.pause()
      })
    })
  }
}

function proofOf(secure: TLSSocket): Proof {
  const certificate = secure.getPeerX509Certificate()
  assert(certificate !== undefined, 'a certificate that was verified is there')
  return {
    text: certificate.subjectAltName ?? 'nobody',
    names: (name) =>
      isIP(name) === 0
        ? certificate.checkHost(name, { subject: 'never', wildcards: false }) !== undefined
        : certificate.checkIP(name) !== undefined,
  }
}
