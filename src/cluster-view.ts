/**
 * What this node has heard of the cluster through Zeus's watches: who lives, who owns what, what is called how. Everything here may be
 * a moment old; whoever acts on it meets the truth in the claim, the fence or the row.
 */
import type { Incarnation, NodeId, VDiskId } from './base/ids.ts'
import type { Locations } from './stargate/front-end-adapter/front-end-adapter.ts'
import type {
  ContainerValue,
  FormatValue,
  NodeValue,
  Owner,
  SessionValue,
  SettingValue,
  VDiskNameValue,
  Versioned,
  Watch,
  Zeus,
} from './zeus/zeus.ts'

export class ClusterView implements Locations {
  readonly nodes = new Map<NodeId, NodeValue>()
  readonly sessions = new Map<NodeId, SessionValue>()
  readonly owners = new Map<VDiskId, Owner>()
  readonly vdisks = new Map<string, VDiskNameValue>()
  readonly containers = new Map<string, ContainerValue>()
  readonly settings = new Map<NodeId, SettingValue>()
  readonly #zeus: Zeus
  readonly #watches: readonly Watch[]
  #change = Promise.withResolvers<void>()
  /** A node's process began or ended, as Zeus has it; `now` undefined: it ended. */
  onSession: (node: NodeId, now: SessionValue | undefined, before: SessionValue | undefined) => void = () =>
    undefined
  /** What an operator has set for a node has changed. */
  onSetting: (node: NodeId, now: SettingValue | undefined, before: SettingValue | undefined) => void = () =>
    undefined
  /** The cluster's format, and who serves what. */
  onFormat: (now: FormatValue) => void = () => undefined

  constructor(zeus: Zeus) {
    this.#zeus = zeus
    this.#watches = [
      zeus.watch('node/', this.#keep<NodeId, NodeValue>('node/', this.nodes)),
      zeus.watch('session/', (key, now) => {
        const node = key.slice('session/'.length) as NodeId
        const before = this.sessions.get(node)
        this.#keep<NodeId, SessionValue>('session/', this.sessions)(key, now)
        this.onSession(node, now?.value as SessionValue | undefined, before)
      }),
      zeus.watch('owner/', (key, now) => {
        const vdisk = Number(key.slice('owner/'.length)) as VDiskId
        if (now === undefined) this.owners.delete(vdisk)
        else this.owners.set(vdisk, now.value as Owner)
        this.#changed()
      }),
      zeus.watch('vdisk/', this.#keep<string, VDiskNameValue>('vdisk/', this.vdisks)),
      zeus.watch('container/', this.#keep<string, ContainerValue>('container/', this.containers)),
      zeus.watch('setting/', (key, now) => {
        const node = key.slice('setting/'.length) as NodeId
        const before = this.settings.get(node)
        this.#keep<NodeId, SettingValue>('setting/', this.settings)(key, now)
        this.onSetting(node, now?.value as SettingValue | undefined, before)
      }),
      zeus.watch('format', (_, now) => {
        if (now !== undefined) this.onFormat(now.value as FormatValue)
      }),
    ]
  }

  async caughtUp(): Promise<void> {
    await Promise.all(this.#watches.map((watch) => watch.caughtUp))
  }

  names(): readonly string[] {
    return [...this.vdisks.keys()].sort()
  }

  async vdiskNamed(name: string): Promise<VDiskId | undefined> {
    return this.vdisks.get(name)?.id ?? this.vdiskNamedNow(name)
  }

  async vdiskNamedNow(name: string): Promise<VDiskId | undefined> {
    return ((await this.#zeus.get(`vdisk/${name}`))?.value as VDiskNameValue | undefined)?.id
  }

  /** The block that an operator put the node in, else the one that its own configuration names. */
  blockOf(node: NodeId): string | undefined {
    return this.settings.get(node)?.block ?? this.nodes.get(node)?.block
  }

  owner(vdisk: VDiskId): Owner | undefined {
    return this.owners.get(vdisk)
  }

  lives(node: NodeId, incarnation: Incarnation): boolean {
    return this.sessions.get(node)?.incarnation === incarnation
  }

  liveNodes(): readonly NodeId[] {
    return [...this.sessions.keys()].sort()
  }

  changed(): Promise<void> {
    return this.#change.promise
  }

  close(): void {
    for (const watch of this.#watches) watch.stop()
  }

  #keep<Key extends string, Value>(prefix: string, into: Map<Key, Value>) {
    return (key: string, now: Versioned | undefined): void => {
      const name = key.slice(prefix.length) as Key
      if (now === undefined) into.delete(name)
      else into.set(name, now.value as Value)
      this.#changed()
    }
  }

  #changed(): void {
    const change = this.#change
    this.#change = Promise.withResolvers<void>()
    change.resolve()
  }
}
