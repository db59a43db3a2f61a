/**
 * What there is of a status monitor here: clients tell that they have started again, and lose the locks that they had. The other way round
 * nobody has to be told anything, as no node loses a lock by starting again: our state never changes, and nothing is watched for others.
 */
import type { FileLocks } from '../../file-locks/file-locks.ts'
import type { LockWaiters } from './lock-waiters.ts'
import { clientOf, mayUseAny } from './nlm4-service.ts'
import type { Nsm1Service, NsmNotice, NsmStat } from './nsm1-protocol.ts'
import type { Caller } from './rpc-program.ts'
import type { Shares } from './shares.ts'

/** Odd: up. */
const ourState = 1
const refused: NsmStat = { done: false, state: ourState }

export interface StatusServiceParts {
  readonly locks: FileLocks
  readonly waiters: LockWaiters
  readonly shares: Shares
}

export class StatusService implements Nsm1Service {
  readonly #parts: StatusServiceParts

  constructor(parts: StatusServiceParts) {
    this.#parts = parts
  }

  stat(): NsmStat {
    return refused
  }

  mon(): NsmStat {
    return refused
  }

  unmon(): number {
    return ourState
  }

  unmonAll(): number {
    return ourState
  }

  simuCrash(): void {}

  /** Believed of the caller's own address only. Where it is done already nothing happens: notices come again. */
  async notify({ name, state }: NsmNotice, caller: Caller): Promise<void> {
    const { locks, waiters, shares } = this.#parts
    if (!mayUseAny(shares, caller)) return
    const client = clientOf(name, caller)
    await locks.started(client, state)
    waiters.dropClient(client, state)
  }
}
