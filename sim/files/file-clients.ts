/**
 * The clients of one container's files: a machine whose hands make NFS calls to any node, some in small trees (tree-work.ts), some in
 * files that grow (content-work.ts).
 */
import type { NodeId } from '../../src/base/ids.ts'
import type { Cluster } from '../cluster.ts'
import type { SectorHistory } from '../sector-history.ts'
import type { ClientObserver } from '../workload.ts'
import { ContentWork } from './content-work.ts'
import { type CallCounts, NfsCaller } from './nfs-caller.ts'
import * as nfs from './nfs-calls.ts'
import { TreeWork } from './tree-work.ts'

export interface FileClientsOptions {
  readonly container: string
  /** The address of their machine: one of the loopback's, which may use a container by default. */
  readonly host: string
  readonly treeHands: number
  readonly contentHands: number
  readonly pauseMsMost: () => number
  readonly nextStamp: () => number
  readonly observer: (history: SectorHistory) => ClientObserver
}

export class FileClients {
  readonly container: string
  readonly counts = emptyCounts()
  readonly #trees: TreeWork
  readonly #contents: ContentWork
  readonly #callers: readonly NfsCaller[]
  readonly #root: Buffer

  /** Resolves when the container is mounted. */
  static async mount(cluster: Cluster, options: FileClientsOptions): Promise<FileClients> {
    const { container, host } = options
    const caller = new NfsCaller(cluster, `${container} mount`, host, emptyCounts())
    const answer = await mustAnswer(caller, nfs.mount(container))
    caller.close()
    if (answer.handle === undefined) throw new Error(`${container} can't be mounted: ${answer.status}`)
    return new FileClients(cluster, options, answer.handle)
  }

  private constructor(cluster: Cluster, options: FileClientsOptions, root: Buffer) {
    const { container, host, treeHands, contentHands } = options
    this.container = container
    this.#root = root
    this.#callers = Array.from(
      { length: 2 * treeHands + contentHands },
      (_, i) => new NfsCaller(cluster, `${container}-${i + 1}`, host, this.counts),
    )
    const now = (): number => cluster.world.now
    const common = { ...options, name: container, root, now }
    const [callers, twins] = [
      this.#callers.slice(0, treeHands),
      this.#callers.slice(treeHands, 2 * treeHands),
    ]
    this.#trees = new TreeWork({ ...common, callers, twins })
    this.#contents = new ContentWork({ ...common, callers: this.#callers.slice(2 * treeHands) })
  }

  get does(): string {
    return this.#callers.map(({ does }) => does).join('\n')
  }

  /** Trees whose histories took too long to judge. */
  get undecided(): number {
    return this.#trees.undecided
  }

  /** Resolves when `stop` was called and all hands have ended. */
  async run(): Promise<void> {
    await Promise.all([this.#trees.run(), this.#contents.run()])
  }

  stop(): void {
    this.#trees.stop()
    this.#contents.stop()
  }

  /** All that there is, as one node shows it, for the histories. */
  async lookThrough(node: NodeId): Promise<void> {
    await this.#trees.lookThrough(node, this.#callers[0])
    await this.#contents.lookThrough(node, this.#callers[0])
  }

  /** Throws where no order of what was done explains what was seen (I2). */
  check(): void {
    this.#trees.check()
    this.#contents.check()
  }

  /** A last write to each file that is a vDisk. */
  touch(): Promise<void> {
    return this.#contents.touch(this.#callers[0])
  }

  /** Once nothing goes wrong any more. */
  async removeAll(): Promise<void> {
    const [caller] = this.#callers
    const empty = async (directory: Buffer): Promise<void> => {
      const { entries = [] } = await mustAnswer(caller, nfs.readdirplus(directory))
      for (const { name, handle, seen } of entries) {
        const isDirectory = seen?.type === 'directory'
        if (isDirectory && handle !== undefined) await empty(handle)
        await mustAnswer(caller, isDirectory ? nfs.rmdir(directory, name) : nfs.remove(directory, name))
      }
    }
    await empty(this.#root)
    const { entries = [] } = await mustAnswer(caller, nfs.readdirplus(this.#root))
    if (entries.length > 0)
      throw new Error(`${this.container} is not empty: ${entries.map(({ name }) => name).join()}`)
  }
}

const emptyCounts = (): CallCounts => ({ calls: 0, resent: 0, reconnects: 0, statuses: new Map() })

async function mustAnswer(caller: NfsCaller, call: nfs.NfsCall): Promise<nfs.Answer> {
  const answer = await caller.ask(() => ({ call, answered: () => undefined }))
  if (answer === undefined) throw new Error(`${caller.name} was not answered, with no trouble left`)
  return answer
}
