/**
 * The NFS datastore: NFS version 3 and MOUNT on one port, over the files of containers (R1, R10, R16), and a port mapper that tells which.
 * docs/nfs.md says what clients see.
 *
 *  1. An answered change is durable on all copies (I1), also a WRITE that asked for less. All nodes serve the same files.
 *  2. Handles hold over restarts and on every node, and can't be made up.
 *  3. Connections, calls and memory are bounded (I9, rpc-limits.ts); a call that must not be done twice is not, while its answer is kept.
 *
 * Asked of the caller: `shares` that reject with NdfsErrors.
 *
 * Not here: where files and directories are kept (stargate/namespace), and the bytes of the long ones (vDisks).
 */
import type { Address, Platform } from '../../../platform/platform.ts'
import { FileHandles } from './file-handle.ts'
import { mount3Program } from './mount3-protocol.ts'
import { MountService } from './mount-service.ts'
import { nfs3Program } from './nfs3-protocol.ts'
import { RpcPrograms } from './nfs-server.ts'
import { type Admission, NfsService } from './nfs-service.ts'
import type { PortMapperState } from './port-mapper.ts'
import type { RpcLimits } from './rpc-limits.ts'
import type { RpcStatistics } from './rpc-server.ts'
import type { Shares } from './shares.ts'

export type { PortMapperState } from './port-mapper.ts'

export interface NfsServerParts {
  readonly platform: Pick<Platform, 'clock' | 'sockets' | 'log' | 'chance'>
  readonly shares: Shares
  /** For handles: the same on all nodes, and theirs alone; at least 32 bytes. */
  readonly key: Buffer
  readonly admission?: Admission
  readonly limits?: Partial<RpcLimits>
}

export interface NfsServer {
  /**
   * Resolves when it listens, to the address with the port that was picked. Where UDP can't be had on that port, TCP serves alone, and the log
   * says so.
   */
  listen(address: Address): Promise<Address>
  /**
   * Where clients ask for our ports: a port mapper of ours at this address, port 111 usually, or else entries in the table of the one that
   * listens there. After `listen`. Never rejects: who knows the ports is served all the same.
   */
  announce(portMapper: Address): Promise<PortMapperState>
  /** Takes no more, answers what is under way, and resolves when each connection is over. */
  close(): Promise<void>
  statistics(): RpcStatistics
}

export function createNfsServer({ platform, shares, key, admission, limits }: NfsServerParts): NfsServer {
  const handles = new FileHandles(key)
  const { clock, log } = platform
  const programs = [
    nfs3Program(
      new NfsService({ clock, log, shares, handles, ...(admission === undefined ? {} : { admission }) }),
    ),
    mount3Program(new MountService(shares, handles)),
  ]
  return new RpcPrograms({ platform, programs, ...(limits === undefined ? {} : { limits }) })
}
