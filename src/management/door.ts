/**
 * Who may come in: pure decisions about the headers of one request.
 *
 * A browser on this machine can be made to send requests here by any page that it shows. Two things stop that. The
 * `Host` must be a name of this node: a page that let its own name point to our address (DNS rebinding) bears its
 * name there. And a request that names an `Origin` must come from our own pages. What changes something needs the
 * operator's token besides: other users of the machine reach the port too.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import { failure, type HttpFailure } from './http-errors.ts'

export interface Headers {
  readonly host?: string
  readonly origin?: string
  readonly authorization?: string
}

/** Names under which this machine always reaches itself. */
const localhostNames = ['localhost', '127.0.0.1', '[::1]'] as const

/** `host` of `host:port`, of `[v6]:port`, or alone. */
export function hostNameOf(host: string): string {
  return host.replace(/:\d{1,5}$/, '').toLowerCase()
}

/** Names that `Host` may bear: localhost's, and the host of each address that the node answers at. */
export function ownHostNames(addresses: readonly string[]): ReadonlySet<string> {
  return new Set([...localhostNames, ...addresses.map(hostNameOf)])
}

/** `undefined`: may come in. */
export function refusedAtTheDoor(headers: Headers, ownHosts: ReadonlySet<string>): HttpFailure | undefined {
  const { host, origin } = headers
  if (host === undefined || !ownHosts.has(hostNameOf(host)))
    return failure(
      421,
      'REFUSED',
      `Cannot answer for the host ${JSON.stringify(host ?? '')}: this node answers only to its own addresses. ` +
        `Use one of ${[...ownHosts].join(', ')}.`,
    )
  if (origin !== undefined && origin.toLowerCase() !== `http://${host.toLowerCase()}`)
    return failure(
      403,
      'REFUSED',
      `Cannot take a request that a page of ${JSON.stringify(origin)} sends: only this node's own pages may.`,
    )
  return undefined
}

/** `undefined`: bears the operator's token. */
export function refusedForItsToken(headers: Headers, token: string): HttpFailure | undefined {
  const given = /^Bearer (\S{1,200})$/i.exec(headers.authorization ?? '')?.[1]
  if (given !== undefined && sameSecret(given, token)) return undefined
  return failure(
    401,
    'UNAUTHORIZED',
    given === undefined
      ? 'Cannot change anything without the operator token: send it as `Authorization: Bearer TOKEN`. ' +
          'It stands in the file `token` of the cluster directory; the ndfs command takes it from NDFS_TOKEN too.'
      : 'Cannot change anything with this token: it is not the one of this cluster. ' +
          'It stands in the file `token` of the cluster directory.',
  )
}

/** Takes as long wherever the two differ. Digests have one length, so the length of the secret does not show either. */
function sameSecret(given: string, secret: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(given), digest(secret))
}
