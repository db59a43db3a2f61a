/**
 * Files that are vDisks, as their inodes were read a moment ago: READ and WRITE come by the ten thousand, and ask for little of the inode.
 *
 *  1. None is older than `lastsMs`: for so long READ and WRITE of a long file may go by a mode, or an owner, that another node has just
 *     changed, or reach a file that it has just removed. What this node changes itself is seen at once (`forget`).
 *  2. That a file is a vDisk, and which one, does not change while there is such a file.
 *  3. At most `filesMax` are kept.
 */
import type { Clock } from '../../../platform/platform.ts'
import type { Maybe } from '../../io/io.ts'
import type { Inode, InodeId, Namespace } from '../../namespace/namespace.ts'

const lastsMs = 10
const filesMax = 1024

interface Known {
  /** When the reading of it began. */
  readonly since: number
  inode: Maybe<Inode>
}

export class KnownFiles {
  readonly #namespace: Pick<Namespace, 'inode'>
  readonly #clock: Clock
  readonly #files = new Map<InodeId, Known>()

  constructor(namespace: Pick<Namespace, 'inode'>, clock: Clock) {
    this.#namespace = namespace
    this.#clock = clock
  }

  /** As `inode` of the namespace rejects. */
  inode(id: InodeId): Maybe<Inode> {
    const since = this.#clock.now()
    const found = this.#files.get(id)
    if (found !== undefined && since - found.since < lastsMs) return found.inode
    const reading = this.#namespace.inode(id)
    const known: Known = { since, inode: reading }
    if (this.#files.size >= filesMax) this.#files.clear()
    this.#files.set(id, known)
    reading.then(
      (inode) => {
        // Of others the namespace has the bytes, and is asked for them with the inode.
        if (inode.content?.kind === 'vdisk') known.inode = inode
        else this.#drop(id, known)
      },
      () => this.#drop(id, known),
    )
    return reading
  }

  /** It is changed by this node, or was. */
  forget(id: InodeId): void {
    this.#files.delete(id)
  }

  #drop(id: InodeId, known: Known): void {
    if (this.#files.get(id) === known) this.#files.delete(id)
  }
}
