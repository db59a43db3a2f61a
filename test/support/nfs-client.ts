/** A client of NFS by its calls, each as the test says: no cache, no kernel. */
import assert from 'node:assert/strict'
import { nodePlatform } from '../../src/platform/node-platform.ts'
import {
  mount3ProgramNumber,
  mount3Status,
} from '../../src/stargate/front-end-adapter/nfs/mount3-protocol.ts'
import { nfs3Procedure, nfs3ProgramNumber } from '../../src/stargate/front-end-adapter/nfs/nfs3-protocol.ts'
import { nfs3Status } from '../../src/stargate/front-end-adapter/nfs/nfs3-types.ts'
import { connectRpc, type RpcClient } from '../../src/stargate/front-end-adapter/nfs/rpc-client.ts'
import type { XdrReader, XdrWriter } from '../../src/stargate/front-end-adapter/nfs/xdr.ts'
import type { Cluster } from './cluster.ts'

const timeoutMs = 30_000
const platform = nodePlatform({ level: 'silent' })
const root = { flavour: 'sys', machine: 'test', uid: 0, gid: 0, gids: [] } as const
const attributesBytes = 84

const nameOf = (table: Readonly<Record<string, number>>, status: number): string =>
  Object.keys(table).find((name) => table[name] === status) ?? `status ${status}`

export class NfsClient {
  readonly #rpc: RpcClient

  static async connect(cluster: Cluster, node: string): Promise<NfsClient> {
    const address = cluster.node(node).nfs?.address
    assert(address !== undefined, `${node} serves no NFS`)
    return new NfsClient(await connectRpc(platform, address, timeoutMs, { credentials: root }))
  }

  private constructor(rpc: RpcClient) {
    this.#rpc = rpc
  }

  close(): void {
    this.#rpc.close()
  }

  /** The handle of the root, or the status. */
  async mount(path: string): Promise<Buffer | string> {
    const target = { program: mount3ProgramNumber, version: 3, procedure: 1 }
    const reader = await this.#rpc.call(target, (writer) => writer.text(path), timeoutMs)
    const status = reader.uint32()
    return status === 0 ? reader.opaque(64) : nameOf(mount3Status, status)
  }

  /** What may be mounted, and by whom. */
  async exports(): Promise<Record<string, string[]>> {
    const target = { program: mount3ProgramNumber, version: 3, procedure: 5 }
    const reader = await this.#rpc.call(target, () => undefined, timeoutMs)
    const exports: Record<string, string[]> = {}
    while (reader.bool()) {
      const path = reader.opaque(1024).toString()
      const groups: string[] = []
      while (reader.bool()) groups.push(reader.opaque(255).toString())
      exports[path] = groups
    }
    return exports
  }

  /** A new file. */
  async create(directory: Buffer, name: string): Promise<Buffer> {
    const { status, reader } = await this.#call('create', (writer) => {
      writer.opaque(directory)
      writer.text(name)
      writer.uint32(1) // guarded, with no attributes: six times nothing
      for (let i = 0; i < 6; i++) writer.uint32(0)
    })
    assert.equal(status, 'OK', name)
    assert.ok(reader.bool(), 'no handle')
    return reader.opaque(64)
  }

  async lookup(directory: Buffer, name: string): Promise<Buffer> {
    const { status, reader } = await this.#call('lookup', (writer) => {
      writer.opaque(directory)
      writer.text(name)
    })
    assert.equal(status, 'OK', name)
    return reader.opaque(64)
  }

  async remove(directory: Buffer, name: string): Promise<void> {
    const { status } = await this.#call('remove', (writer) => {
      writer.opaque(directory)
      writer.text(name)
    })
    assert.equal(status, 'OK', name)
  }

  /** The status. */
  async write(file: Buffer, offset: number, bytes: Buffer): Promise<string> {
    const { status } = await this.#call('write', (writer) => {
      writer.opaque(file)
      writer.uint64(offset)
      writer.uint32(bytes.length)
      writer.uint32(2)
      writer.pieces([bytes])
    })
    return status
  }

  /** As many bytes as are answered; the status where it is no success. */
  async read(file: Buffer, offset: number, count: number): Promise<Buffer | string> {
    const { status, reader } = await this.#call('read', (writer) => {
      writer.opaque(file)
      writer.uint64(offset)
      writer.uint32(count)
    })
    if (status !== 'OK') return status
    reader.optional((each) => each.fixed(attributesBytes))
    reader.uint32()
    reader.bool()
    return reader.opaque(1024 * 1024)
  }

  /** All of a file, by READs one after the other. */
  async readAll(file: Buffer): Promise<Buffer> {
    const pieces: Buffer[] = []
    for (let offset = 0; ;) {
      const piece = await this.read(file, offset, 1024 * 1024)
      assert.ok(typeof piece !== 'string', `READ was answered with ${String(piece)}`)
      if (piece.length === 0) return Buffer.concat(pieces)
      pieces.push(Buffer.from(piece))
      offset += piece.length
    }
  }

  async #call(
    procedure: keyof typeof nfs3Procedure,
    encode: (writer: XdrWriter) => void,
  ): Promise<{ status: string; reader: XdrReader }> {
    const target = { program: nfs3ProgramNumber, version: 3, procedure: nfs3Procedure[procedure] }
    const reader = await this.#rpc.call(target, encode, timeoutMs)
    return { status: nameOf(nfs3Status, reader.uint32()), reader }
  }
}
