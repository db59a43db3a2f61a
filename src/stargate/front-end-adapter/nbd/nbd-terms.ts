/**
 * On which terms a client comes: whether it has to speak TLS, and what it may have without.
 *
 * Within the machine all is open, as whoever is there could read the disks as well. From without TLS is needed, but for exports of containers
 * that allow the client's network; where there is neither, there is no way in.
 */
import { hostAndPort, isWithinMachine } from '../../../base/networks.ts'
import type { Address } from '../../../platform/platform.ts'

/** What operators allow: `container/vdisk` is the name of an export. */
export interface PlainClients {
  /** Whether there may be an export that this host may have without TLS. */
  mayAny(host: string): boolean
  may(host: string, name: string): boolean
}

/** They hold for as long as the connection lasts: the protocol wants the mode to. */
export interface Terms {
  /** The protocol document's NOTLS, SELECTIVETLS and FORCEDTLS. */
  readonly mode: 'none' | 'selective' | 'forced'
  /** Whether the client may have this export without TLS. */
  readonly allows: (name: string) => boolean
}

/** Undefined: it may not come at all. */
export function termsOf(
  client: Address,
  hasTls: boolean,
  plain: PlainClients | undefined,
): Terms | undefined {
  const mode = hasTls ? 'selective' : 'none'
  if (isWithinMachine(client)) return { mode, allows: () => true }
  const { host } = hostAndPort(client)
  if (plain?.mayAny(host)) return { mode, allows: (name) => plain.may(host, name) }
  return hasTls ? { mode: 'forced', allows: () => false } : undefined
}
