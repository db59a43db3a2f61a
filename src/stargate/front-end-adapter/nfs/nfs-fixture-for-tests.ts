/** A server with files in memory and clients of it, for tests: all of them end with the test. */
import type { TestContext } from 'node:test'
import { KiB } from '../../../base/units.ts'
import type { Platform, Socket } from '../../../platform/platform.ts'
import { MemoryTree } from './memory-tree-for-tests.ts'
import { mount3Program, mount3ProgramNumber } from './mount3-protocol.ts'
import { nfs3Procedure, nfs3Program, nfs3ProgramNumber } from './nfs3-protocol.ts'
import { encodeRecord } from './record-reader.ts'
import { RpcClient } from './rpc-client.ts'
import type { RpcLimits } from './rpc-limits.ts'
import type { Program } from './rpc-program.ts'
import { createRpcServer, type RpcServer } from './rpc-server.ts'
import { encodeCall, type Credentials } from './rpc.ts'
import type { XdrReader, XdrWriter } from './xdr.ts'

export const mount = { program: mount3ProgramNumber, version: 3 } as const
export const nfs = (procedure: keyof typeof nfs3Procedure) => ({
  program: nfs3ProgramNumber,
  version: 3,
  procedure: nfs3Procedure[procedure],
})
export const timeoutMs = 5000

export interface NfsFixture {
  readonly tree: MemoryTree
  readonly server: RpcServer
  readonly connect: (credentials?: Credentials) => Promise<RpcClient>
  /** A socket to the server whose callbacks the test sets in the same turn. */
  readonly socket: () => Promise<Socket>
}

/** The tree has a file `data` of 300 KiB. */
export async function startNfs(
  t: TestContext,
  platform: Platform,
  options: {
    limits?: Partial<RpcLimits>
    programs?: readonly Program[]
    datagramPrograms?: ReadonlySet<number>
  } = {},
): Promise<NfsFixture> {
  const tree = new MemoryTree()
  tree.add(tree.root, 'data', Buffer.alloc(300 * KiB, 'data'))
  const programs = [nfs3Program(tree.nfs), mount3Program(tree.mount), ...(options.programs ?? [])]
  const server = createRpcServer({ ...options, platform, programs })
  const address = await server.listen('127.0.0.1:0')
  const ends: (() => void)[] = []
  t.after(async () => {
    for (const end of ends) end()
    await server.close()
  })
  let xid = 1
  const socket = async (): Promise<Socket> => {
    const connected = await platform.sockets.connect(address, timeoutMs)
    connected.onData = connected.onFilled = connected.onClose = () => {}
    ends.push(() => connected.destroy())
    return connected
  }
  const connect = async (credentials?: Credentials): Promise<RpcClient> =>
    new RpcClient(await socket(), platform.clock, (xid += 1000), credentials)
  return { tree, server, socket, connect }
}

/** A call as it travels. */
export const callRecord = (
  xid: number,
  target: { program: number; version: number; procedure: number },
  encode: (writer: XdrWriter) => void = () => {},
): Buffer =>
  Buffer.concat(
    encodeRecord((writer) => {
      encodeCall(writer, { ...target, xid, credentials: { flavour: 'none' } })
      encode(writer)
    }),
  )

export const place =
  (directory: Buffer, name: string) =>
  (writer: XdrWriter): void => {
    writer.opaque(directory)
    writer.text(name)
  }

export const range =
  (handle: Buffer, offset: number, count: number) =>
  (writer: XdrWriter): void => {
    writer.opaque(handle)
    writer.uint64(offset)
    writer.uint32(count)
  }

export const writing =
  (handle: Buffer, offset: number, data: Buffer) =>
  (writer: XdrWriter): void => {
    range(handle, offset, data.length)(writer)
    writer.uint32(2)
    writer.pieces([data])
  }

/** Of the results of READ. */
export function readBytes(results: XdrReader): Buffer {
  const status = results.uint32()
  if (status !== 0) throw new Error(`READ answered ${status}`)
  results.optional((each) => each.fixed(84))
  results.uint32()
  results.bool()
  return results.opaque(2 ** 20)
}
