/**
 * The programs of the NFS datastore where clients look for them: NFS by TCP, the small programs around it also by UDP on the same port, and
 * all of them in a port mapper's table.
 *
 * Only TCP on the node's own port is what the datastore can't do without. What else can't be had is told, and all goes on without it.
 */
import { assert } from '../../../base/assert.ts'
import { messageOf } from '../../../base/errors.ts'
import { hostAndPort } from '../../../base/networks.ts'
import type { Address, Platform } from '../../../platform/platform.ts'
import { mount3ProgramNumber } from './mount3-protocol.ts'
import { nlm4ProgramNumber } from './nlm4-protocol.ts'
import { nsm1ProgramNumber } from './nsm1-protocol.ts'
import { mappingsOf, PortMapper, type PortMapperState } from './port-mapper.ts'
import { portmap2Program, portmap2ProgramNumber, type PortMapping } from './portmap2-protocol.ts'
import type { RpcLimits } from './rpc-limits.ts'
import type { Program } from './rpc-program.ts'
import { createRpcServer, type RpcServer, type RpcStatistics } from './rpc-server.ts'
import { Rpcbind } from './rpcbind.ts'

/** NFS itself is not among them: its calls are larger than datagrams may be here, and its clients have come by TCP for decades. */
const datagramPrograms: ReadonlySet<number> = new Set([
  mount3ProgramNumber,
  nlm4ProgramNumber,
  nsm1ProgramNumber,
  portmap2ProgramNumber,
])

/** Here `rpcbind` knows that it is its own machine that asks. */
const rpcbindSocketUsual = 'unix:/run/rpcbind.sock'

export interface RpcProgramsParts {
  readonly platform: Pick<Platform, 'clock' | 'sockets' | 'log' | 'chance'>
  readonly programs: readonly Program[]
  readonly limits?: Partial<RpcLimits>
  /** Where the port mapper of the machine is met, before its port is tried; left out: where `rpcbind` usually is. */
  readonly rpcbindSocket?: Address
}

export class RpcPrograms {
  readonly #parts: RpcProgramsParts
  readonly #server: RpcServer
  #mappings: readonly PortMapping[] = []
  #mapper: RpcServer | undefined
  #rpcbind: Rpcbind | undefined

  constructor(parts: RpcProgramsParts) {
    this.#parts = parts
    this.#server = createRpcServer({ ...parts, datagramPrograms })
  }

  async listen(address: Address): Promise<Address> {
    const own = await this.#server.listen(address)
    const byUdp = await this.#bind(this.#server, own)
    this.#mappings = mappingsOf(
      this.#parts.programs,
      hostAndPort(own).port,
      (program) => byUdp === undefined && datagramPrograms.has(program),
    )
    return own
  }

  async announce(address: Address): Promise<PortMapperState> {
    assert(this.#mappings.length > 0, 'programs are to be announced that listen nowhere')
    const state = await this.#serve(address).catch((error: unknown) => this.#register(address, error))
    const { log } = this.#parts.platform
    if (state.reason === undefined) log.info('Clients find the ports of NFS', { by: state.by, address })
    else log.warn('Not all clients find the ports of NFS', { ...state, address })
    return state
  }

  statistics(): RpcStatistics {
    return this.#server.statistics()
  }

  async close(): Promise<void> {
    // Who asks for ports now is to look elsewhere. A port mapper that has gone has forgotten them.
    await this.#rpcbind?.withdraw().catch(() => undefined)
    await Promise.all([this.#mapper?.close(), this.#server.close()])
  }

  /** Our own port mapper. Rejects where another one has the port, or we may not have it. */
  async #serve(address: Address): Promise<PortMapperState> {
    const byUdp = {
      program: portmap2ProgramNumber,
      version: 2,
      protocol: 17,
      port: hostAndPort(address).port,
    }
    const mappings = [...this.#mappings, byUdp, { ...byUdp, protocol: 6 }]
    const programs = [portmap2Program(new PortMapper(mappings))]
    const { platform, limits } = this.#parts
    const mapper = createRpcServer({ platform, programs, datagramPrograms, ...(limits && { limits }) })
    await mapper.listen(address)
    this.#mapper = mapper
    const withoutUdp = await this.#bind(mapper, address)
    return { by: 'ndfs', ...(withoutUdp === undefined ? {} : { reason: `only by TCP: ${withoutUdp}` }) }
  }

  async #register(address: Address, whyNotOurs: unknown): Promise<PortMapperState> {
    const { platform, programs, rpcbindSocket = rpcbindSocketUsual } = this.#parts
    const rpcbind = new Rpcbind({
      platform,
      addresses: [rpcbindSocket, atThisMachine(address, hostAndPort(address).port)],
      addressOf: (port) => atThisMachine(address, port),
    })
    this.#rpcbind = rpcbind
    try {
      const others = await rpcbind.register(this.#mappings)
      if (others.length === 0) return { by: 'rpcbind' }
      const names = programs.filter(({ number }) => others.some(({ program }) => program === number))
      const reason = `another server of this machine has registered ${names.map(({ name }) => name).join(', ')} first`
      return { by: others.length < this.#mappings.length ? 'rpcbind' : 'nobody', reason }
    } catch (error) {
      return { by: 'nobody', reason: `${messageOf(whyNotOurs)}; ${messageOf(error)}` }
    }
  }

  /** Resolves to the reason where it could not be had. */
  async #bind(server: RpcServer, address: Address): Promise<string | undefined> {
    try {
      await server.bind(address)
      return undefined
    } catch (error) {
      this.#parts.platform.log.warn('Clients are not served by UDP', { address, reason: messageOf(error) })
      return messageOf(error)
    }
  }
}

/** On this machine: where it is to listen at all of its addresses, it meets itself at one. */
function atThisMachine(address: Address, port: number): Address {
  const { host } = hostAndPort(address)
  const own = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host
  return own.includes(':') ? `[${own}]:${port}` : `${own}:${port}`
}
