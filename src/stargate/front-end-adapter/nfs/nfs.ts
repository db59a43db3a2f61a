/**
 * The NFS datastore: NFS version 3, MOUNT, NLM and NSM on one port, over the files of containers (R1, R10, R16), and a port mapper that tells
 * which. docs/nfs.md says what clients see.
 *
 *  1. An answered change is durable on all copies (I1), also a WRITE that asked for less. All nodes serve the same files.
 *  2. Handles hold over restarts and on every node, and can't be made up.
 *  3. Connections, calls and memory are bounded (I9, rpc-limits.ts); a call that must not be done twice is not, while its answer is kept.
 *
 * Asked of the caller: `shares` and `locks` that reject with NdfsErrors.
 *
 * Not here: where files and directories are kept (stargate/namespace), locks (stargate/file-locks), and the bytes of the long ones (vDisks).
 */
import type { Address, Platform } from '../../../platform/platform.ts'
import type { FileLocks } from '../../file-locks/file-locks.ts'
import { FileHandles } from './file-handle.ts'
import { LockManagers } from './lock-managers.ts'
import { LockWaiters } from './lock-waiters.ts'
import { mount3Program } from './mount3-protocol.ts'
import { MountService } from './mount-service.ts'
import { nfs3Program } from './nfs3-protocol.ts'
import { RpcPrograms } from './nfs-server.ts'
import { type Admission, NfsService } from './nfs-service.ts'
import { nlm4Program } from './nlm4-protocol.ts'
import { LockService, tellGranted } from './nlm4-service.ts'
import { nsm1Program } from './nsm1-protocol.ts'
import { StatusService } from './nsm1-service.ts'
import type { PortMapperState } from './port-mapper.ts'
import type { RpcLimits } from './rpc-limits.ts'
import type { RpcStatistics } from './rpc-server.ts'
import type { Shares } from './shares.ts'

export type { PortMapperState } from './port-mapper.ts'

export interface NfsServerParts {
  readonly platform: Pick<Platform, 'clock' | 'chance' | 'sockets' | 'log'>
  readonly shares: Shares
  readonly locks: FileLocks
  /** For handles: the same on all nodes, and theirs alone; at least 32 bytes. */
  readonly key: Buffer
  readonly admission?: Admission
  readonly limits?: Partial<RpcLimits>
  /** Of clients, by which their lock managers are found; 111 where nothing else is said. */
  readonly portMapperPort?: number
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
  statistics(): RpcStatistics & {
    /** Clients that wait here for locks. */
    readonly lockWaiters: number
  }
}

const cookieBytes = 8

export function createNfsServer(parts: NfsServerParts): NfsServer {
  const { platform, shares, locks, key, admission, limits, portMapperPort } = parts
  const handles = new FileHandles(key)
  const { clock, chance, log } = platform
  const managers = new LockManagers({ platform, ...(portMapperPort === undefined ? {} : { portMapperPort }) })
  const waiters = new LockWaiters({
    ...{ locks, clock, chance, log },
    tell: (wait, begins) => tellGranted(managers, chance.bytes(cookieBytes), wait, begins),
  })
  const programs = [
    nfs3Program(
      new NfsService({ clock, log, shares, handles, ...(admission === undefined ? {} : { admission }) }),
    ),
    mount3Program(new MountService(shares, handles)),
    nlm4Program(new LockService({ locks, shares, handles, waiters, managers })),
    nsm1Program(new StatusService({ locks, waiters, shares })),
  ]
  const served = new RpcPrograms({ platform, programs, ...(limits === undefined ? {} : { limits }) })
  return {
    listen: (address) => served.listen(address),
    announce: (portMapper) => served.announce(portMapper),
    close: () => {
      waiters.close()
      return served.close()
    },
    statistics: () => ({ ...served.statistics(), lockWaiters: waiters.count }),
  }
}
