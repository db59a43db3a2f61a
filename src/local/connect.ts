/**
 * `ndfs connect CONTAINER/NAME --socket PATH`: an NBD endpoint on this machine for one VM, in front of all nodes.
 * connect-session.ts keeps the VM's requests until a node has answered them.
 */
import { access } from 'node:fs/promises'
import { resolve } from 'node:path'
import { NdfsError } from '../base/errors.ts'
import type { NodeInfo } from '../management/management.ts'
import type { Files, Platform } from '../platform/platform.ts'
import { createNbdServer } from '../stargate/front-end-adapter/nbd/nbd.ts'
import type { Exports, OpenVDisk } from '../stargate/io/io.ts'
import { ApiClient, type ApiPlace } from './api-client.ts'
import { readClusterFile } from './cluster-file.ts'
import { ConnectSession, type NodePlace } from './connect-session.ts'
import { socketPathBytesMax } from './doctor.ts'
import { findApi, usualDir, type ApiWishes } from './find-api.ts'
import type { Output } from './local.ts'
import { loopback } from './ports.ts'
import { TlsFiles, type TlsPaths } from './tls-files.ts'
import { whenAborted } from './when-aborted.ts'

export interface ConnectOptions extends ApiWishes {
  readonly name: string
  readonly socket: string
  readonly giveUpMs: number
  /** For nodes on other machines. */
  readonly tls?: TlsPaths
}

/** Resolves when it was told to stop, and has. */
export async function connect(
  options: ConnectOptions,
  platform: Platform,
  output: Output,
  stopped: AbortSignal,
): Promise<void> {
  const { name, giveUpMs } = options
  const path = resolve(options.socket)
  if (Buffer.byteLength(path) > socketPathBytesMax)
    throw new NdfsError(
      'REFUSED',
      `Cannot listen on ${path}: the system takes socket paths of ${socketPathBytesMax} bytes. Choose a shorter one.`,
    )
  const tls = options.tls && (await TlsFiles.open(options.tls, 'nodes', platform))
  const session = new ConnectSession({
    name,
    giveUpMs,
    ...(tls === undefined ? {} : { tls: () => tls.side }),
    platform,
    output,
    nodes: await nodesOf(options, platform.files),
  })
  const server = createNbdServer({ platform, exports: new OneExport(name, session) })
  try {
    await session.start()
    await server.listen(`unix:${path}`)
    output.line(`ready: nbd+unix:///?socket=${path}`)
    output.event({ event: 'ready', socket: path })
    await whenAborted(stopped)
  } finally {
    session.close()
    await server.close()
    tls?.close()
  }
}

/** The vDisk under its own name, and as the default. */
class OneExport implements Exports {
  readonly defaultName: string
  readonly #session: ConnectSession

  constructor(name: string, session: ConnectSession) {
    this.defaultName = name
    this.#session = session
  }

  async list(): Promise<readonly string[]> {
    return [this.defaultName]
  }

  async open(name: string): Promise<OpenVDisk> {
    if (name !== this.defaultName)
      throw new NdfsError('NOT_FOUND', `Cannot open ${name}: only ${this.defaultName} is served here.`)
    return this.#session.openVDisk()
  }
}

/** From the cluster's own file where it lies on this machine, else from the API of any node. */
async function nodesOf(wishes: ApiWishes, files: Files): Promise<() => Promise<readonly NodePlace[]>> {
  const dir = resolve(wishes.dir ?? usualDir)
  const asked = wishes.api ?? process.env.NDFS_API
  if (asked === undefined && (await readClusterFile(files, dir))) return () => nodesOfClusterFile(files, dir)
  const place = await findApi(files, wishes)
  return rememberLast(() => nodesOfApi(place))
}

async function nodesOfClusterFile(files: Files, dir: string): Promise<readonly NodePlace[]> {
  const nodes = (await readClusterFile(files, dir))?.nodes ?? []
  // One that is down may just have come back.
  const runningFirst = [
    ...nodes.filter(({ pid }) => pid !== null),
    ...nodes.filter(({ pid }) => pid === null),
  ]
  return Promise.all(runningFirst.map(({ id, nbd }) => placeOf(id, nbd, true)))
}

async function nodesOfApi(place: ApiPlace): Promise<readonly NodePlace[]> {
  const nodes = await new ApiClient(place).get<NodeInfo[]>('/api/v1/nodes')
  const onThisMachine = place.apis.every(
    (api) => api.startsWith(`${loopback}:`) || api.startsWith('localhost:'),
  )
  return Promise.all(nodes.map(({ id, addresses }) => placeOf(id, addresses.nbd, onThisMachine)))
}

/** Where no node says where the nodes are, they are taken to be where they were. */
function rememberLast<T>(learn: () => Promise<T>): () => Promise<T> {
  let last: T | undefined
  return async () => {
    try {
      return (last = await learn())
    } catch (error) {
      if (last === undefined) throw error
      return last
    }
  }
}

/** The Unix socket is the faster way, for who can reach it; a node on an address of its own is reached there, as others reach it. */
async function placeOf(
  id: string,
  nbd: { readonly address: string; readonly socket: string },
  onThisMachine: boolean,
): Promise<NodePlace> {
  const reachable =
    onThisMachine &&
    nbd.address.startsWith(`${loopback}:`) &&
    (await access(nbd.socket).then(
      () => true,
      () => false,
    ))
  return { id, address: reachable ? `unix:${nbd.socket}` : nbd.address }
}
