/**
 * Locks of byte ranges for NFS clients. They are kept with the metadata, the same on all nodes, and none is lost when a node dies: there is no
 * period of grace, and a client that reclaims a lock is answered as one that asks for it.
 *
 *  1. A client is its address and its name without the domain. What it says of itself (FREE_ALL, NOTIFY) goes for its own address only.
 *  2. Who may read or write a file may lock it; nobody needs a right to unlock or cancel, nor the file to be there.
 *  3. Where metadata is out of reach, LOCK, TEST and UNLOCK are answered as in a period of grace: clients ask again after a while. CANCEL is
 *     answered with DENIED_NOLOCKS, for it is then that clients repeat it.
 *
 * Not here: SHARE, by which PC clients lock whole files (it is refused: nobody else would be kept out by it); deadlocks of owners who wait for
 * each other.
 */
import { isIP } from 'node:net'
import { SerialByKey } from '../../../base/serial.ts'
import {
  endOfFile,
  type FileLock,
  type FileLocks,
  type LockClient,
  type LockOwner,
  ownerInFile,
} from '../../file-locks/file-locks.ts'
import type { InodeId } from '../../namespace/namespace.ts'
import { Export } from './export-rules.ts'
import type { FileHandles } from './file-handle.ts'
import type { LockManagers } from './lock-managers.ts'
import type { Heard, LockWait, LockWaiters } from './lock-waiters.ts'
import { Refusal, statusOf } from './nfs-errors.ts'
import type { Nfs3Error } from './nfs3-types.ts'
import {
  decodeNlm4Result,
  encodeNlm4Result,
  encodeTestArguments,
  encodeTestResult,
  type LockRange,
  type Nlm4CancelArguments,
  type Nlm4FreeAllArguments,
  type Nlm4Lock,
  type Nlm4LockArguments,
  type Nlm4Result,
  type Nlm4ShareArguments,
  type Nlm4ShareResult,
  type Nlm4Status,
  type Nlm4TestArguments,
  type Nlm4TestResult,
  type Nlm4UnlockArguments,
} from './nlm4-messages.ts'
import type { Nlm4Answer, Nlm4Service } from './nlm4-protocol.ts'
import { allowsData, may } from './permissions.ts'
import { nothing, type Caller } from './rpc-program.ts'
import type { Share, Shares } from './shares.ts'
import type { XdrWriter } from './xdr.ts'

export interface LockServiceParts {
  readonly locks: FileLocks
  readonly shares: Shares
  readonly handles: FileHandles
  readonly waiters: LockWaiters
  readonly managers: LockManagers
}

const clientNameMax = 255
/** Answers that are called back at once; beyond these none is, and the client asks again. Few, for the places are those of GRANTED. */
const answersMax = 16

interface Target {
  readonly share: Share
  readonly id: InodeId
}

/** Inodes of all containers have different ids. */
const fileOf = ({ id }: Target): string => String(id)

export class LockService implements Nlm4Service {
  readonly #parts: LockServiceParts
  /** Of each owner in each file. */
  readonly #order = new SerialByKey()
  #answers = 0

  constructor(parts: LockServiceParts) {
    this.#parts = parts
  }

  async test({ cookie, exclusive, lock }: Nlm4TestArguments, caller: Caller): Promise<Nlm4TestResult> {
    try {
      const file = await this.#lockable(lock.handle, exclusive, caller)
      const held = await this.#parts.locks.test(file, lockOf(lock, exclusive, caller))
      return held === undefined
        ? { cookie, status: 'GRANTED' }
        : { cookie, status: 'DENIED', holder: holderOf(held) }
    } catch (error) {
      const status = refusalOf(error)
      return { cookie, status }
    }
  }

  lock(args: Nlm4LockArguments, caller: Caller): Promise<Nlm4Result> {
    return this.#lock(args, args.state, caller)
  }

  nmLock(args: Nlm4LockArguments, caller: Caller): Promise<Nlm4Result> {
    return this.#lock(args, 0, caller)
  }

  cancel({ cookie, exclusive, lock }: Nlm4CancelArguments, caller: Caller): Promise<Nlm4Result> {
    return this.#inOrder(
      cookie,
      lock,
      caller,
      async () => {
        const { locks, waiters } = this.#parts
        const file = fileOf(await this.#target(lock.handle, caller))
        const cancelled = lockOf(lock, exclusive, caller)
        const dropped = waiters.drop(file, cancelled)
        // Also where it does not wait any more: the lock may have got to it just now, and it does not want it.
        await locks.cancel(file, cancelled)
        await dropped
        return 'GRANTED'
      },
      'DENIED_NOLOCKS',
    )
  }

  unlock({ cookie, lock }: Nlm4UnlockArguments, caller: Caller): Promise<Nlm4Result> {
    return this.#inOrder(cookie, lock, caller, async () => {
      const { locks, waiters } = this.#parts
      const file = fileOf(await this.#target(lock.handle, caller))
      const owner = ownerOf(lock, caller)
      const range = rangeOf(lock)
      const dropped = waiters.dropRange(file, owner, range)
      await locks.unlock(file, owner, range)
      await dropped
      return 'GRANTED'
    })
  }

  granted({ cookie }: Nlm4TestArguments): Nlm4Result {
    return { cookie, status: 'DENIED' }
  }

  share({ cookie }: Nlm4ShareArguments): Nlm4ShareResult {
    return { cookie, status: 'FAILED', sequence: 0 }
  }

  /** There is none. */
  unshare({ cookie }: Nlm4ShareArguments): Nlm4ShareResult {
    return { cookie, status: 'GRANTED', sequence: 0 }
  }

  async freeAll({ name }: Nlm4FreeAllArguments, caller: Caller): Promise<void> {
    const { locks, waiters, shares } = this.#parts
    if (!mayUseAny(shares, caller)) return
    const client = clientOf(name, caller)
    await locks.release(client)
    waiters.dropClient(client)
  }

  /** We ask nothing in that form. */
  answered(): void {}

  /** Only to who may use an export: nobody else has us call whoever he names as sender. */
  answer(kind: Nlm4Answer, result: Nlm4Result | Nlm4TestResult, caller: Caller): void {
    const { managers, shares } = this.#parts
    if (!mayUseAny(shares, caller) || this.#answers >= answersMax) return
    const encode = (writer: XdrWriter): void =>
      kind === 'testRes'
        ? encodeTestResult(writer, result as Nlm4TestResult)
        : encodeNlm4Result(writer, result)
    this.#answers += 1
    // Who hears nothing asks again.
    void managers.call(caller, kind, encode, nothing).finally(() => {
      this.#answers -= 1
    })
  }

  #lock(
    { cookie, block, exclusive, lock }: Nlm4LockArguments,
    state: number,
    caller: Caller,
  ): Promise<Nlm4Result> {
    return this.#inOrder(cookie, lock, caller, async () => {
      const { locks, waiters } = this.#parts
      const file = await this.#lockable(lock.handle, exclusive, caller)
      const wanted = lockOf(lock, exclusive, caller)
      const { outcome } = await locks.lock(file, wanted, { state, waits: block })
      switch (outcome) {
        case 'granted':
          await waiters.drop(file, wanted)
          return 'GRANTED'
        case 'denied': {
          if (!block) return 'DENIED'
          const { host, localHost } = caller
          const isWaiting = await waiters.add({ file, wanted, state, client: { host, localHost }, lock })
          return isWaiting ? 'BLOCKED' : 'DENIED_NOLOCKS'
        }
        case 'full':
          return 'DENIED_NOLOCKS'
        case 'released':
          // Who asks from its new life asks again.
          return 'DENIED_GRACE_PERIOD'
        default:
          return outcome satisfies never
      }
    })
  }

  /** From where the file is looked up to where the waiter is noted, or dropped: what comes behind sees all of what went before. */
  #inOrder(
    cookie: Buffer,
    lock: Nlm4Lock,
    caller: Caller,
    serve: () => Promise<Nlm4Status>,
    later?: Nlm4Status,
  ): Promise<Nlm4Result> {
    const key = ownerInFile(lock.handle.toString('hex'), ownerOf(lock, caller))
    return this.#order.run(key, () => answered(cookie, serve, later))
  }

  async #target(handle: Buffer, caller: Caller): Promise<Target> {
    const { handles, shares } = this.#parts
    const named = handles.decode(handle)
    const share = named === undefined ? undefined : await shares.ofRoot(named.root)
    if (named === undefined || share === undefined) throw new Refusal('STALE')
    if (!share.export.allows(caller)) throw new Refusal('ACCES')
    return { share, id: named.inode }
  }

  /** The name of a file that is there and that the caller may lock. */
  async #lockable(handle: Buffer, exclusive: boolean, caller: Caller): Promise<string> {
    const target = await this.#target(handle, caller)
    const { share, id } = target
    if (exclusive && share.export.rules.readOnly) throw new Refusal('ROFS')
    const inode = await share.namespace.inode(id)
    if (inode.type !== 'file') throw new Refusal('INVAL')
    const user = share.export.userOf(caller)
    if (!allowsData(inode, user, may.read) && !allowsData(inode, user, may.write)) throw new Refusal('ACCES')
    return fileOf(target)
  }
}

/** Tells the client that waits that it has the lock. `begins`: as in `LockManagers.call`. */
export async function tellGranted(
  managers: LockManagers,
  cookie: Buffer,
  { client, lock, wanted: { exclusive } }: LockWait,
  begins: () => boolean,
): Promise<Heard> {
  const called = await managers.call(
    client,
    'granted',
    (writer) => encodeTestArguments(writer, { cookie, exclusive, lock }),
    decodeNlm4Result,
    begins,
  )
  if (called.outcome !== 'answered') return called.outcome
  const { status } = called.result
  return status === 'GRANTED' ? 'taken' : status === 'DENIED_GRACE_PERIOD' ? 'later' : 'refused'
}

/** Whoever may use no export has no locks that could end. */
export const mayUseAny = (shares: Shares, caller: Caller): boolean =>
  shares.exports().some(({ rules }) => new Export(rules).allows(caller))

/** `vm1`, `vm1.example.com` and `VM1` are one machine. */
export function clientOf(name: string, { host }: Pick<Caller, 'host'>): LockClient {
  const own = isIP(name) === 0 ? name.split('.', 1)[0].toLowerCase() : name
  return { host, name: own.slice(0, clientNameMax) }
}

async function answered(
  cookie: Buffer,
  serve: () => Promise<Nlm4Status>,
  later: Nlm4Status = 'DENIED_GRACE_PERIOD',
): Promise<Nlm4Result> {
  try {
    return { cookie, status: await serve() }
  } catch (error) {
    const status = refusalOf(error)
    return { cookie, status: status === 'DENIED_GRACE_PERIOD' ? later : status }
  }
}

const told: Partial<Record<Nfs3Error, Exclude<Nlm4Status, 'DENIED'>>> = {
  STALE: 'STALE_FH',
  ROFS: 'ROFS',
  NOSPC: 'DENIED_NOLOCKS',
  JUKEBOX: 'DENIED_GRACE_PERIOD',
}

const refusalOf = (error: unknown): Exclude<Nlm4Status, 'DENIED'> => told[statusOf(error)] ?? 'FAILED'

const ownerOf = (lock: Nlm4Lock, caller: Caller): LockOwner => ({
  client: clientOf(lock.caller, caller),
  svid: lock.svid,
  owner: lock.owner,
})

const lockOf = (lock: Nlm4Lock, exclusive: boolean, caller: Caller): FileLock => ({
  owner: ownerOf(lock, caller),
  exclusive,
  range: rangeOf(lock),
})

/** What reaches beyond the last offset goes to the end, too: some clients say so with the greatest length. */
function rangeOf({ offset, length }: LockRange): FileLock['range'] {
  const end = offset + length
  return { start: offset, end: length === 0n || end > endOfFile ? endOfFile : end }
}

const holderOf = ({ exclusive, owner: { svid, owner }, range: { start, end } }: FileLock) => ({
  ...{ exclusive, svid, owner },
  ...{ offset: start, length: end === endOfFile ? 0n : end - start },
})
