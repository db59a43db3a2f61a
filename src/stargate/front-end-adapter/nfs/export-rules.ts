/**
 * Who may use a container by NFS, and as whom: the rules of an export, as an operator sets them.
 *
 * By default only this machine's own processes may; a network that is allowed is trusted as hypervisors are: they write as root, from any
 * port. Credentials of AUTH_SYS are the client's word, so the list of networks is what keeps others out. The list is all that may: who is
 * not on it is out, this machine too, and an empty one lets nobody in.
 */
import { isDeepStrictEqual } from 'node:util'
import { loopback, Networks } from '../../../base/networks.ts'
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
  readonly #networks: Networks

  /** REFUSED where a network is none. */
  constructor(rules: ExportRules) {
    this.rules = rules
    this.#networks = new Networks(rules.networks)
  }

  /** By address and port alone; callers over a Unix socket are this machine's. */
  allows({ host, port }: Pick<Caller, 'host' | 'port'>): boolean {
    if (host === '') return true
    if (this.rules.privilegedPorts && port >= privilegedPortsEnd) return false
    return this.#networks.has(host)
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
