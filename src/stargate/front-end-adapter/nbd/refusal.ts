/** What a client may not ask: checked once, here at the door, and answered in the protocol's own words. */
import { requestBytesMax } from '../../io/io.ts'
import { command, commandFlag, type NbdErrno, type RequestHeader } from './nbd-protocol.ts'

/** What was agreed on in negotiation and decides which requests make sense. */
export interface Agreement {
  readonly structured: boolean
  /** The client chose the context `base:allocation` for the export that it then entered. */
  readonly allocationContext: boolean
}

export interface Refusal {
  readonly error: NbdErrno
  readonly message: string
}

// FUA is good for all commands: clients are known to set it on each.
const allowedFlags: readonly number[] = Object.assign(new Array<number>(8).fill(commandFlag.fua), {
  [command.read]: commandFlag.fua | commandFlag.df,
  [command.writeZeroes]: commandFlag.fua | commandFlag.noHole | commandFlag.fastZero,
  [command.blockStatus]: commandFlag.fua | commandFlag.reqOne,
})

const refuse = (error: NbdErrno, message: string): Refusal => ({ error, message })

/** `undefined`: the request is sound. Its range then lies inside the vDisk. */
export function refusalOf(
  request: RequestHeader,
  sizeBytes: number,
  agreement: Agreement,
): Refusal | undefined {
  const allowed = allowedFlags[request.command]
  if (allowed === undefined) return refuse('EINVAL', `There is no command ${request.command}`)
  if ((request.flags & ~allowed) !== 0 || (request.flags & commandFlag.df && !agreement.structured))
    return refuse(
      'EINVAL',
      `Command ${request.command} with flags ${request.flags}: not all of them are known for it`,
    )
  switch (request.command) {
    case command.disconnect:
      return undefined
    case command.flush:
      return request.offset === 0 && request.length === 0
        ? undefined
        : refuse('EINVAL', 'A flush has no range')
    case command.read:
    case command.cache:
    case command.write:
      return tooLong(request) ?? pastTheEnd(request, sizeBytes)
    // These and block status carry no payload in either direction, so the largest payload is no bound to them.
    case command.writeZeroes:
    case command.trim:
      return pastTheEnd(request, sizeBytes)
    default:
      if (!agreement.allocationContext)
        return refuse('EINVAL', 'Block status needs the context base:allocation: it was not negotiated')
      if (request.length === 0) return refuse('EINVAL', 'There is no status of no bytes')
      return pastTheEnd(request, sizeBytes)
  }
}

/** Also for a request that waited while the vDisk may have shrunk. */
export function pastTheEnd(
  request: { readonly command: number; readonly offset: number; readonly length: number },
  sizeBytes: number,
): Refusal | undefined {
  if (request.offset + request.length <= sizeBytes) return undefined
  const fills = request.command === command.write || request.command === command.writeZeroes
  return refuse(
    fills ? 'ENOSPC' : 'EINVAL',
    `The ${request.length} bytes from ${request.offset} do not lie inside the vDisk: it has ${sizeBytes} bytes`,
  )
}

function tooLong(request: RequestHeader): Refusal | undefined {
  if (request.length <= requestBytesMax) return undefined
  return refuse(
    'EINVAL',
    `A request of ${request.length} bytes is too long: the maximum is ${requestBytesMax}`,
  )
}
