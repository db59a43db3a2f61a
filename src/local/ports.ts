/**
 * Ports for the nodes of one machine: node `i` gets the first one + `i`.
 *
 * A port that was asked for is had or refused by name: somebody counts on it. A default range that is busy, in part or
 * whole, moves up, and is printed.
 */
import { NdfsError } from '../base/errors.ts'
import type { Sockets } from '../platform/platform.ts'

export const loopback = '127.0.0.1'
/** All addresses that a machine has, or gets. */
export const everywhere = '0.0.0.0'
/** Where clients look for a port mapper, and nowhere else. */
export const portMapperPort = 111
export const firstPorts = { http: 9440, peer: 9640, nbd: 10809, nfs: 2049 } as const
/** The ports for peers stand so far above those for HTTP: clusters that were kept apart there stay apart here. */
export const peerPortsAboveHttp = firstPorts.peer - firstPorts.http
export type PortUse = keyof typeof firstPorts

const portMax = 65535
/** Ranges that are tried before giving up. */
const rangesMax = 200

export interface PortRange {
  readonly first: number
  /** Not where the defaults stand. */
  readonly moved: boolean
}

/** `taken`: ports that are spoken for, though nobody listens on them yet. `usual`: where a default range begins. */
export async function portRange(
  use: PortUse,
  given: number | undefined,
  count: number,
  taken: ReadonlySet<number>,
  sockets: Sockets,
  usual: number = firstPorts[use],
): Promise<PortRange> {
  if (given !== undefined) {
    const busy = await firstBusy(given, count, taken, sockets)
    if (busy !== undefined)
      throw new NdfsError(
        'IN_USE',
        `Cannot use port ${busy} for ${use}: ${busy > portMax ? `ports end at ${portMax}` : 'another program listens on it'}. ` +
          `Stop that program, or give another --${use}-port (the nodes take ${count} in a row).`,
        { port: busy, use },
      )
    return { first: given, moved: false }
  }
  for (let range = 0; range < rangesMax; range++) {
    const first = usual + range * Math.max(10, count)
    if (first + count - 1 > portMax) break
    if ((await firstBusy(first, count, taken, sockets)) === undefined)
      return { first, moved: first !== usual }
  }
  throw new NdfsError('IN_USE', `Cannot find ${count} free ports in a row for ${use}, from ${usual} up.`, {
    use,
  })
}

async function firstBusy(
  first: number,
  count: number,
  taken: ReadonlySet<number>,
  sockets: Sockets,
): Promise<number | undefined> {
  for (let port = first; port < first + count; port++)
    if (port > portMax || taken.has(port) || !(await isFree(port, sockets))) return port
  return undefined
}

async function isFree(port: number, sockets: Sockets): Promise<boolean> {
  try {
    const listener = await sockets.listen(`${loopback}:${port}`, (socket) => {
      socket.onData = () => undefined
      socket.onClose = () => undefined
      socket.destroy()
    })
    await listener.close()
    return true
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EADDRINUSE' || code === 'EACCES') return false
    throw error
  }
}
