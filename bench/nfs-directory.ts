/** A directory with many files, made and listed by calls of NFS version 3 and nothing else. */
import { nodePlatform } from '../src/platform/node-platform.ts'
import { mount3ProgramNumber } from '../src/stargate/front-end-adapter/nfs/mount3-protocol.ts'
import { nfs3Procedure, nfs3ProgramNumber } from '../src/stargate/front-end-adapter/nfs/nfs3-protocol.ts'
import { connectRpc, type RpcClient } from '../src/stargate/front-end-adapter/nfs/rpc-client.ts'
import type { XdrReader, XdrWriter } from '../src/stargate/front-end-adapter/nfs/xdr.ts'

const depth = 32
const timeoutMs = 60_000
const attributeBytes = 84

export interface DirectoryFigures {
  readonly files: number
  readonly createsPerSecond: number
  readonly listSeconds: number
}

/** In `/vms` of the node at this address. The files stay. */
export async function measureDirectory(
  address: string,
  files: number,
  signal: AbortSignal,
): Promise<DirectoryFigures> {
  const client = await connectRpc(nodePlatform({ level: 'silent' }), address, timeoutMs, {
    credentials: { flavour: 'sys', machine: 'bench', uid: 0, gid: 0, gids: [] },
  })
  try {
    const root = handleOf(await call(client, 'MNT', (writer) => writer.text('/vms')))
    const made = await call(client, 'mkdir', (writer) => {
      writer.opaque(root)
      writer.text(`many-${files}`)
      noAttributes(writer)
    })
    if (!made.bool()) throw new Error('MKDIR told no handle')
    const directory = made.opaque(64)
    const startedAt = performance.now()
    let next = 0
    const worker = async (): Promise<void> => {
      while (next < files) {
        signal.throwIfAborted()
        const name = `file-${String(next++).padStart(8, '0')}`
        await call(client, 'create', (writer) => {
          writer.opaque(directory)
          writer.text(name)
          writer.uint32(1)
          noAttributes(writer)
        })
      }
    }
    await Promise.all(Array.from({ length: depth }, worker))
    const madeAt = performance.now()
    const listed = await list(client, directory)
    if (listed !== files + 2) throw new Error(`${listed} entries were listed of ${files} and two`)
    return {
      files,
      createsPerSecond: (files * 1000) / (madeAt - startedAt),
      listSeconds: (performance.now() - madeAt) / 1000,
    }
  } finally {
    client.close()
  }
}

/** How many entries there are. */
async function list(client: RpcClient, directory: Buffer): Promise<number> {
  let count = 0
  let cookie = 0n
  let verifier: Buffer = Buffer.alloc(8)
  for (;;) {
    const results = await call(client, 'readdirplus', (writer) => {
      writer.opaque(directory)
      writer.bigUint64(cookie)
      writer.fixed(verifier)
      writer.uint32(64 * 1024)
      writer.uint32(256 * 1024)
    })
    results.optional((reader) => reader.fixed(attributeBytes))
    verifier = results.fixed(8)
    while (results.bool()) {
      results.bigUint64()
      results.opaque(255)
      cookie = results.bigUint64()
      results.optional((reader) => reader.fixed(attributeBytes))
      results.optional((reader) => reader.opaque(64))
      count++
    }
    if (results.bool()) return count
  }
}

const handleOf = (results: XdrReader): Buffer => results.opaque(64)

function noAttributes(writer: XdrWriter): void {
  for (let i = 0; i < 6; i++) writer.uint32(0)
}

/** Resolves to what follows the status. */
async function call(
  client: RpcClient,
  procedure: 'MNT' | keyof typeof nfs3Procedure,
  encode: (writer: XdrWriter) => void,
): Promise<XdrReader> {
  const target =
    procedure === 'MNT'
      ? { program: mount3ProgramNumber, version: 3, procedure: 1 }
      : { program: nfs3ProgramNumber, version: 3, procedure: nfs3Procedure[procedure] }
  const results = await client.call(target, encode, timeoutMs)
  const status = results.uint32()
  if (status !== 0) throw new Error(`${procedure} answered ${status}`)
  return results
}
