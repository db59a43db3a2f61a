/**
 * Our programs in the table of the port mapper that runs on this machine already, mostly `rpcbind`.
 *
 *   (none)   → ours       the program has no entry, or one behind which nobody listens: left by a node that died   [register]
 *   (none)   → another's  somebody listens where its entry leads: it stays                                         [register]
 *   ours     → (none)     the node ends in order                                                                   [withdraw]
 *
 * The table knows ports and no addresses: of nodes that share a machine the first has the entry, and those on the same port share it.
 */
import type { Address, Platform } from '../../../platform/platform.ts'
import {
  encodePortMapping,
  portmap2Procedure,
  portmap2ProgramNumber,
  portmapProtocol,
  type PortMapping,
} from './portmap2-protocol.ts'
import { connectRpc, type RpcClient } from './rpc-client.ts'

/** Of the port mapper, which is on this machine. */
const timeoutMs = 1000

export interface RpcbindParts {
  readonly platform: Pick<Platform, 'sockets' | 'clock' | 'chance'>
  /** Where it may be met: the first at which somebody listens. */
  readonly addresses: readonly Address[]
  /** Where somebody listens who serves what an entry says. */
  readonly addressOf: (port: number) => Address
}

export class Rpcbind {
  readonly #parts: RpcbindParts
  /** The entries for TCP; those for UDP go with them. */
  readonly #ours: PortMapping[] = []

  constructor(parts: RpcbindParts) {
    this.#parts = parts
  }

  /** All of a program by its entry for TCP. Resolves to those that are another's. Rejects with an NdfsError where there is no port mapper, or it doesn't answer. */
  async register(mappings: readonly PortMapping[]): Promise<PortMapping[]> {
    const others: PortMapping[] = []
    await this.#withClient(async (client) => {
      const set = async (one: PortMapping): Promise<boolean> => (await this.#ask(client, 'set', one)) > 0
      for (const byTcp of mappings.filter(isByTcp)) {
        const isOurs = (await this.#makeRoom(client, byTcp)) && (await set(byTcp))
        if (isOurs) this.#ours.push(byTcp)
        for (const one of mappings.filter((one) => isSame(one, byTcp)))
          if (!isOurs || (!isByTcp(one) && !(await set(one)))) others.push(one)
      }
    })
    return others
  }

  async withdraw(): Promise<void> {
    const ours = this.#ours.splice(0)
    if (ours.length === 0) return
    await this.#withClient(async (client) => {
      for (const mapping of ours) await this.#ask(client, 'unset', mapping)
    })
  }

  /** False: the entry leads to somebody. */
  async #makeRoom(client: RpcClient, mapping: PortMapping): Promise<boolean> {
    const port = await this.#ask(client, 'getport', mapping)
    if (port === 0 || port === mapping.port) return true
    if (!(await this.#isDead(port))) return false
    return (await this.#ask(client, 'unset', mapping)) > 0
  }

  /** Only a refusal says so: who is slow, or far, still serves. */
  async #isDead(port: number): Promise<boolean> {
    const { sockets } = this.#parts.platform
    try {
      const socket = await sockets.connect(this.#parts.addressOf(port), timeoutMs)
      socket.onData = socket.onClose = () => {}
      socket.destroy()
      return false
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === 'ECONNREFUSED'
    }
  }

  async #ask(
    client: RpcClient,
    procedure: 'set' | 'unset' | 'getport',
    mapping: PortMapping,
  ): Promise<number> {
    const target = {
      program: portmap2ProgramNumber,
      version: 2,
      procedure: portmap2Procedure[procedure],
    }
    return (await client.call(target, (writer) => encodePortMapping(writer, mapping), timeoutMs)).uint32()
  }

  async #withClient(work: (client: RpcClient) => Promise<void>): Promise<void> {
    const { platform, addresses } = this.#parts
    const client = await firstOf(addresses, (address) => connectRpc(platform, address, timeoutMs))
    try {
      await work(client)
    } finally {
      client.close()
    }
  }
}

async function firstOf<T>(
  addresses: readonly Address[],
  attempt: (address: Address) => Promise<T>,
): Promise<T> {
  const [address, ...others] = addresses
  if (others.length === 0) return attempt(address)
  return attempt(address).catch(() => firstOf(others, attempt))
}

const isByTcp = ({ protocol }: PortMapping): boolean => protocol === portmapProtocol.tcp
const isSame = (a: PortMapping, b: PortMapping): boolean => a.program === b.program && a.version === b.version
