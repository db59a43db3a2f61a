/**
 * MOUNT over containers: the path of an export is `/container`, or of a directory in it. Who has mounted what is remembered for people, and
 * never grows beyond `mountsMax`.
 */
import { FileError, type Inode } from '../../namespace/namespace.ts'
import type { FileHandles } from './file-handle.ts'
import {
  mountFlavour,
  type Mount3Service,
  type Mount3Status,
  type MountArguments,
  type MountEntry,
  type MountResult,
} from './mount3-protocol.ts'
import { Refusal, statusOf } from './nfs-errors.ts'
import { allows, may } from './permissions.ts'
import type { Caller } from './rpc-program.ts'
import type { Shares } from './shares.ts'

const mountsMax = 1024

export class MountService implements Mount3Service {
  readonly #shares: Shares
  readonly #handles: FileHandles
  /** The oldest first. */
  readonly #mounts = new Map<string, MountEntry>()

  constructor(shares: Shares, handles: FileHandles) {
    this.#shares = shares
    this.#handles = handles
  }

  async mnt({ path }: MountArguments, caller: Caller): Promise<MountResult> {
    try {
      const [container, ...names] = namesOf(path)
      const share = container === undefined ? undefined : await this.#shares.named(container.toString())
      if (share === undefined) throw new Refusal('NOENT')
      if (!share.export.allows(caller)) throw new Refusal('ACCES')
      const { namespace } = share
      const user = share.export.userOf(caller)
      let inode: Inode = await namespace.inode(namespace.root)
      for (const name of names) {
        if (!allows(inode, user, may.execute)) throw new Refusal('ACCES')
        inode = await namespace.lookup(inode.id, name)
      }
      if (inode.type !== 'directory') throw new Refusal('NOTDIR')
      this.#note({ host: caller.host, path })
      const handle = this.#handles.encode(namespace.root, inode.id)
      return { status: 'OK', handle, flavours: [mountFlavour.sys, mountFlavour.none] }
    } catch (error) {
      return { status: mountStatusOf(error) }
    }
  }

  dump(): readonly MountEntry[] {
    return [...this.#mounts.values()]
  }

  umnt({ path }: MountArguments, { host }: Caller): void {
    this.#mounts.delete(keyOf({ host, path }))
  }

  umntall(_: undefined, { host }: Caller): void {
    for (const [key, entry] of this.#mounts) if (entry.host === host) this.#mounts.delete(key)
  }

  /** Without those that nobody may mount: a list without networks would mean everybody. */
  export(): { path: Buffer; groups: readonly string[] }[] {
    return this.#shares
      .exports()
      .filter(({ rules }) => rules.networks.length > 0)
      .map(({ name, rules }) => ({ path: Buffer.from(`/${name}`), groups: rules.networks }))
  }

  #note(entry: MountEntry): void {
    const key = keyOf(entry)
    this.#mounts.delete(key)
    this.#mounts.set(key, entry)
    if (this.#mounts.size > mountsMax)
      for (const oldest of [...this.#mounts.keys()].slice(0, 1)) this.#mounts.delete(oldest)
  }
}

const keyOf = ({ host, path }: MountEntry): string => `${host} ${path.toString('latin1')}`

/** Of a path, however many slashes its user wrote. */
function namesOf(path: Buffer): Buffer[] {
  const names: Buffer[] = []
  for (let from = 0; from < path.length;) {
    const slash = path.indexOf('/', from)
    const end = slash < 0 ? path.length : slash
    if (end > from) names.push(path.subarray(from, end))
    from = end + 1
  }
  return names
}

const told: Partial<Record<string, Mount3Status>> = {
  NOENT: 'NOENT',
  ACCES: 'ACCES',
  NOTDIR: 'NOTDIR',
  NAMETOOLONG: 'NAMETOOLONG',
  STALE: 'NOENT',
  IO: 'IO',
}

const mountStatusOf = (error: unknown): Exclude<Mount3Status, 'OK'> => {
  const status = error instanceof FileError && error.code === 'CHANGED' ? 'IO' : statusOf(error)
  return (told[status] ?? 'SERVERFAULT') as Exclude<Mount3Status, 'OK'>
}
