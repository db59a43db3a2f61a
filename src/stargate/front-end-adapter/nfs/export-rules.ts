/**
 * Who may use a container by NFS, and as whom: the rules of an export, as an operator sets them.
 *
 * By default only this machine's own processes may; a network that is allowed is trusted as hypervisors are: they write as root, from any
 * port. Credentials of AUTH_SYS are the client's word, so the list of networks is what keeps others out. The list is all that may: who is
 * not on it is out, this machine too, and an empty one lets nobody in.
 */
import { BlockList, isIP } from 'node:net'
import { isDeepStrictEqual } from 'node:util'
import { NdfsError } from '../../../base/errors.ts'
import type { Caller } from './rpc-program.ts'

export interface ExportRules {
  /** Addresses, or networks as `10.0.0.0/8` and `fd00::/8`. */
  readonly networks: readonly string[]
  readonly readOnly: boolean
  /** Whose calls are taken for the anonymous user's: nobody's, root's, or everybody's. */
  readonly squash: 'none' | 'root' | 'all'
  readonly anonymousUid: number
  readonly anonymousGid: number
  /** Only ports below 1024 may call: those that a client's kernel, and its root, have. */
  readonly privilegedPorts: boolean
}

const loopback: readonly string[] = ['127.0.0.0/8', '::1/128']

export const defaultExportRules: ExportRules = {
  networks: loopback,
  readOnly: false,
  squash: 'none',
  anonymousUid: 65534,
  anonymousGid: 65534,
  privilegedPorts: false,
}

/** What a container says of its rules, and the usual ones where it says nothing. */
export const rulesOf = (said: Partial<ExportRules> = {}): ExportRules => ({ ...defaultExportRules, ...said })

/** Only what differs from the usual rules; undefined where nothing does. */
export function differencesOf(rules: ExportRules): Partial<ExportRules> | undefined {
  const different = Object.entries(rules).filter(
    ([name, value]) => !isDeepStrictEqual(value, defaultExportRules[name as keyof ExportRules]),
  )
  return different.length === 0 ? undefined : Object.fromEntries(different)
}

/** As whom a call is made. */
export interface User {
  readonly uid: number
  readonly gid: number
  readonly gids: readonly number[]
}

const privilegedPortsEnd = 1024

export class Export {
  readonly rules: ExportRules
  readonly #networks = new BlockList()

  /** REFUSED where a network is none. */
  constructor(rules: ExportRules) {
    this.rules = rules
    for (const network of rules.networks) addNetwork(this.#networks, network)
  }

  /** By address and port alone; callers over a Unix socket are this machine's. */
  allows({ host, port }: Pick<Caller, 'host' | 'port'>): boolean {
    if (host === '') return true
    if (this.rules.privilegedPorts && port >= privilegedPortsEnd) return false
    // Linux tells an IPv4 client of a socket for both so.
    const address = host.startsWith('::ffff:') && isIP(host.slice(7)) === 4 ? host.slice(7) : host
    const family = isIP(address)
    return family !== 0 && this.#networks.check(address, family === 4 ? 'ipv4' : 'ipv6')
  }

  userOf({ credentials }: Pick<Caller, 'credentials'>): User {
    const { squash, anonymousUid, anonymousGid } = this.rules
    const anonymous = { uid: anonymousUid, gid: anonymousGid, gids: [] }
    if (credentials.flavour !== 'sys' || squash === 'all') return anonymous
    const { uid, gid, gids } = credentials
    if (squash === 'none') return { uid, gid, gids }
    if (uid === 0) return anonymous
    const keep = (id: number): number => (id === 0 ? anonymousGid : id)
    return { uid, gid: keep(gid), gids: gids.map(keep) }
  }
}

function addNetwork(list: BlockList, network: string): void {
  const [address, prefix, ...more] = network.split('/')
  const family = isIP(address)
  const bits = family === 4 ? 32 : 128
  const length = prefix === undefined ? bits : /^\d{1,3}$/.test(prefix) ? Number(prefix) : NaN
  if (family === 0 || more.length > 0 || !(length <= bits))
    throw new NdfsError(
      'REFUSED',
      `Cannot allow ${JSON.stringify(network)}: it is no address or network. Write it as 10.1.2.3, 10.0.0.0/8 or fd00::/8`,
      { network },
    )
  list.addSubnet(address, length, family === 4 ? 'ipv4' : 'ipv6')
}
