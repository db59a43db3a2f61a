/**
 * The Network Lock Manager, version 4 (RFC 1813, appendix II), as a program of ONC RPC: locks of byte ranges beside NFS version 3.
 *
 * TEST, LOCK, CANCEL, UNLOCK and GRANTED come in two forms. In one the answer is the reply. In the other (`…_MSG`) the reply is empty, and
 * the answer is a call of ours to the client's lock manager (`…_RES`), whose reply is empty too. Both end in the same method of the service;
 * what is to be called back is given to `answer`.
 */
import type { Maybe } from '../../io/io.ts'
import {
  decodeCancelArguments,
  decodeFreeAllArguments,
  decodeLockArguments,
  decodeNlm4Result,
  decodeShareArguments,
  decodeTestArguments,
  decodeTestResult,
  decodeUnlockArguments,
  encodeNlm4Result,
  encodeShareResult,
  encodeTestResult,
  type Nlm4CancelArguments,
  type Nlm4FreeAllArguments,
  type Nlm4LockArguments,
  type Nlm4Result,
  type Nlm4ShareArguments,
  type Nlm4ShareResult,
  type Nlm4TestArguments,
  type Nlm4TestResult,
  type Nlm4UnlockArguments,
} from './nlm4-messages.ts'
import {
  nothing,
  nullProcedure,
  procedure,
  type Caller,
  type Procedure,
  type Program,
} from './rpc-program.ts'
import type { XdrReader } from './xdr.ts'

export const nlm4ProgramNumber = 100021

export const nlm4Procedure = {
  null: 0,
  test: 1,
  lock: 2,
  cancel: 3,
  unlock: 4,
  granted: 5,
  testMsg: 6,
  lockMsg: 7,
  cancelMsg: 8,
  unlockMsg: 9,
  grantedMsg: 10,
  testRes: 11,
  lockRes: 12,
  cancelRes: 13,
  unlockRes: 14,
  grantedRes: 15,
  share: 20,
  unshare: 21,
  nmLock: 22,
  freeAll: 23,
} as const

export type Nlm4Answer = 'testRes' | 'lockRes' | 'cancelRes' | 'unlockRes' | 'grantedRes'

export interface Nlm4Service {
  test(args: Nlm4TestArguments, caller: Caller): Maybe<Nlm4TestResult>
  lock(args: Nlm4LockArguments, caller: Caller): Maybe<Nlm4Result>
  cancel(args: Nlm4CancelArguments, caller: Caller): Maybe<Nlm4Result>
  unlock(args: Nlm4UnlockArguments, caller: Caller): Maybe<Nlm4Result>
  /** For who takes locks; a server answers DENIED. */
  granted(args: Nlm4TestArguments, caller: Caller): Maybe<Nlm4Result>
  /** For PC clients: refuse to let others open the file in some way. */
  share(args: Nlm4ShareArguments, caller: Caller): Maybe<Nlm4ShareResult>
  unshare(args: Nlm4ShareArguments, caller: Caller): Maybe<Nlm4ShareResult>
  /** As `lock`, of a client that has no status monitor. */
  nmLock(args: Nlm4LockArguments, caller: Caller): Maybe<Nlm4Result>
  /** A client without a status monitor has started again. */
  freeAll(args: Nlm4FreeAllArguments, caller: Caller): Maybe<void>
  /** A client answers our own GRANTED_MSG, or another of our messages. */
  answered(kind: Nlm4Answer, result: Nlm4Result | Nlm4TestResult, caller: Caller): Maybe<void>
  /**
   * A `…_MSG` was served: call the client's lock manager back with this, by the procedure of that name. `encodeNlm4Result` encodes it, or
   * for `testRes` `encodeTestResult`. It is not waited for, and rejects nothing.
   */
  answer(kind: Nlm4Answer, result: Nlm4Result | Nlm4TestResult, caller: Caller): void
}

export function nlm4Program(service: Nlm4Service): Program {
  const test: Procedure<Nlm4TestArguments, Nlm4TestResult> = {
    name: 'TEST',
    decode: decodeTestArguments,
    serve: (args, caller) => service.test(args, caller),
    encode: encodeTestResult,
  }
  const lock: Procedure<Nlm4LockArguments, Nlm4Result> = {
    name: 'LOCK',
    decode: decodeLockArguments,
    serve: (args, caller) => service.lock(args, caller),
    encode: encodeNlm4Result,
    once: true,
  }
  const cancel: Procedure<Nlm4CancelArguments, Nlm4Result> = {
    name: 'CANCEL',
    decode: decodeCancelArguments,
    serve: (args, caller) => service.cancel(args, caller),
    encode: encodeNlm4Result,
    once: true,
  }
  const unlock: Procedure<Nlm4UnlockArguments, Nlm4Result> = {
    name: 'UNLOCK',
    decode: decodeUnlockArguments,
    serve: (args, caller) => service.unlock(args, caller),
    encode: encodeNlm4Result,
    once: true,
  }
  const granted: Procedure<Nlm4TestArguments, Nlm4Result> = {
    name: 'GRANTED',
    decode: decodeTestArguments,
    serve: (args, caller) => service.granted(args, caller),
    encode: encodeNlm4Result,
    once: true,
  }
  const share: Procedure<Nlm4ShareArguments, Nlm4ShareResult> = {
    name: 'SHARE',
    decode: decodeShareArguments,
    serve: (args, caller) => service.share(args, caller),
    encode: encodeShareResult,
    once: true,
  }
  const byName: Record<keyof typeof nlm4Procedure, Procedure> = {
    null: nullProcedure,
    test: procedure(test),
    lock: procedure(lock),
    cancel: procedure(cancel),
    unlock: procedure(unlock),
    granted: procedure(granted),
    testMsg: message(service, test, 'testRes'),
    lockMsg: message(service, lock, 'lockRes'),
    cancelMsg: message(service, cancel, 'cancelRes'),
    unlockMsg: message(service, unlock, 'unlockRes'),
    grantedMsg: message(service, granted, 'grantedRes'),
    testRes: answer(service, 'TEST_RES', 'testRes', decodeTestResult),
    lockRes: answer(service, 'LOCK_RES', 'lockRes', decodeNlm4Result),
    cancelRes: answer(service, 'CANCEL_RES', 'cancelRes', decodeNlm4Result),
    unlockRes: answer(service, 'UNLOCK_RES', 'unlockRes', decodeNlm4Result),
    grantedRes: answer(service, 'GRANTED_RES', 'grantedRes', decodeNlm4Result),
    share: procedure(share),
    unshare: procedure<Nlm4ShareArguments, Nlm4ShareResult>({
      ...share,
      name: 'UNSHARE',
      serve: (args, caller) => service.unshare(args, caller),
    }),
    nmLock: procedure<Nlm4LockArguments, Nlm4Result>({
      ...lock,
      name: 'NM_LOCK',
      serve: (args, caller) => service.nmLock(args, caller),
    }),
    freeAll: procedure<Nlm4FreeAllArguments, void>({
      name: 'FREE_ALL',
      decode: decodeFreeAllArguments,
      serve: (args, caller) => service.freeAll(args, caller),
      encode: nothing,
      once: true,
    }),
  }
  const procedures: (Procedure | undefined)[] = []
  for (const name of Object.keys(nlm4Procedure) as (keyof typeof nlm4Procedure)[])
    procedures[nlm4Procedure[name]] = byName[name]
  return { name: 'NLM', number: nlm4ProgramNumber, versions: new Map([[4, procedures]]) }
}

/** The second form: whatever the service says is called back. */
function message<Args, Result extends Nlm4Result | Nlm4TestResult>(
  service: Nlm4Service,
  direct: Procedure<Args, Result>,
  kind: Nlm4Answer,
): Procedure {
  return procedure<Args, void>({
    name: `${direct.name}_MSG`,
    decode: (reader) => direct.decode(reader),
    serve: async (args, caller) => service.answer(kind, await direct.serve(args, caller), caller),
    encode: nothing,
    once: direct.once,
  })
}

function answer<Result extends Nlm4Result | Nlm4TestResult>(
  service: Nlm4Service,
  name: string,
  kind: Nlm4Answer,
  decode: (reader: XdrReader) => Result,
): Procedure {
  return procedure<Result, void>({
    name,
    decode,
    serve: (result, caller) => service.answered(kind, result, caller),
    encode: nothing,
  })
}
