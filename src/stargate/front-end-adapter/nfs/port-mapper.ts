/** The port mapper's answers: the ports of our own programs, as they stand. Nobody else's are taken, or any of ours away. */
import type { Portmap2Service, PortMapping } from './portmap2-protocol.ts'
import { portmapProtocol } from './portmap2-protocol.ts'
import type { Program } from './rpc-program.ts'

/** Where clients find our ports. */
export interface PortMapperState {
  readonly by: 'ndfs' | 'rpcbind' | 'nobody'
  /** Why not, or what of it is missing. */
  readonly reason?: string
}

export class PortMapper implements Portmap2Service {
  readonly #mappings: readonly PortMapping[]

  constructor(mappings: readonly PortMapping[]) {
    this.#mappings = mappings
  }

  set(): boolean {
    return false
  }

  unset(): boolean {
    return false
  }

  getport({ program, version, protocol }: PortMapping): number {
    const found = this.#mappings.find(
      (one) => one.program === program && one.version === version && one.protocol === protocol,
    )
    return found?.port ?? 0
  }

  dump(): readonly PortMapping[] {
    return this.#mappings
  }
}

/** Of programs that listen at `port` by TCP, and where `byDatagrams` says so by UDP as well. */
export function mappingsOf(
  programs: readonly Program[],
  port: number,
  byDatagrams: (program: number) => boolean,
): PortMapping[] {
  return programs.flatMap(({ number: program, versions }) =>
    [...versions.keys()].flatMap((version) => [
      { program, version, protocol: portmapProtocol.tcp, port },
      ...(byDatagrams(program) ? [{ program, version, protocol: portmapProtocol.udp, port }] : []),
    ]),
  )
}
