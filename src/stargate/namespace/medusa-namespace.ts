/** The namespace in Medusa: joins its operations, and bounds how many are under way at once. */
import { Limit } from '../../base/limit.ts'
import type { Medusa } from '../../medusa/medusa.ts'
import type { Platform } from '../../platform/platform.ts'
import * as attributes from './attributes.ts'
import { clear } from './clear.ts'
import * as content from './content.ts'
import { ContainerCheck } from './check.ts'
import { nameHash, type NameHash } from './cookies.ts'
import { create, insertRoot, link } from './create.ts'
import { list, listAhead } from './listing.ts'
import { lookup, parentOf } from './lookup.ts'
import { Moves } from './moves.ts'
import type { Inode, InodeId, Namespace } from './namespace.ts'
import { PartitionChanges } from '../partition-changes/partition-changes.ts'
import { type Parts, readLive } from './parts.ts'
import { RowReads } from './row-reads.ts'
import { remove, removeDirectory } from './remove.ts'
import { rename } from './rename.ts'
import { inodeOf } from './rows.ts'

export interface NamespaceOptions {
  readonly medusa: Medusa
  readonly platform: Pick<Platform, 'clock' | 'chance' | 'log'>
  /** Its name or id, never another's. */
  readonly container: string
  /** Odd, below 2^53, this container's alone. */
  readonly root: InodeId
  /** The container's, the same for ever: the cookies rest on it. */
  readonly secret: Buffer
  /** Told of an inode that ended while another node's unfinished operation was cleared away: its vDisk is to be deleted. */
  readonly ended?: (inode: Inode) => void
  /** In place of the keyed hash of names, 61 bits: tests make names meet with it. */
  readonly hash?: NameHash
}

/**
 * Operations of one container that a node has under way; others wait. Each is a client's request, and holds some KiB: enough for all that
 * the directories of a busy container can gather into their changes, little enough for the metadata store.
 */
const operationsAtOnceMax = 1024

/** The root, mode 0755 and of user 0, where there is none. */
export const createRoot = (options: NamespaceOptions): Promise<void> => insertRoot(partsOf(options))

export function createNamespace(options: NamespaceOptions): Namespace {
  const parts = partsOf(options)
  const moves = new Moves(parts)
  const limit = new Limit(operationsAtOnceMax)
  const { root } = options
  return {
    root,
    inode: (id) => limit.run(async () => inodeOf(id, await readLive(parts, id))),
    lookup: (directory, name) => limit.run(() => lookup(parts, directory, name)),
    parent: (directory) => limit.run(() => parentOf(parts, directory)),
    create: (directory, name, inode) => limit.run(() => create(parts, directory, name, inode)),
    remove: (directory, name) => limit.run(() => remove(parts, directory, name)),
    removeDirectory: (directory, name) => limit.run(() => removeDirectory(parts, directory, name)),
    rename: (from, name, to, newName) =>
      limit.run(() => rename(parts, moves, { directory: from, name }, { directory: to, name: newName })),
    link: (id, directory, name) => limit.run(() => link(parts, id, directory, name)),
    setAttributes: (id, change, ifChangedAt) =>
      limit.run(() => attributes.setAttributes(parts, id, change, ifChangedAt)),
    list: (directory, after, most) => limit.run(() => list(parts, directory, after, most)),
    listAhead: (directory, after, room) =>
      listAhead(parts, directory, after, room, (task) => limit.run(task)),
    read: (id, offset, length) => limit.run(() => content.read(parts, id, offset, length)),
    write: (id, offset, bytes) => limit.run(() => content.write(parts, id, offset, bytes)),
    beginPromotion: (id, vdisk) => limit.run(() => attributes.beginPromotion(parts, id, vdisk)),
    takePromotion: (id, vdisk, filler) => limit.run(() => attributes.takePromotion(parts, id, vdisk, filler)),
    endPromotion: (id, vdisk, filler) => limit.run(() => attributes.endPromotion(parts, id, vdisk, filler)),
    undoPromotion: (id, vdisk) => limit.run(() => attributes.undoPromotion(parts, id, vdisk)),
    // These two by themselves: else those who wait for their turn would wait for all files.
    check: (context) => new ContainerCheck(parts, context).run(),
    clear: (gone) => clear(parts, gone),
    disown: (id, vdisk) => limit.run(() => attributes.disown(parts, id, vdisk)),
  }
}

function partsOf({ medusa, platform, container, root, secret, ended, hash }: NamespaceOptions): Parts {
  return {
    medusa,
    platform,
    container,
    root,
    hash: hash ?? nameHash(secret),
    changes: new PartitionChanges({ medusa, platform }),
    reads: new RowReads({ medusa, platform }),
    ended: (inode) => {
      platform.log.info('an inode ended as an unfinished operation was cleared away', { inode: inode.id })
      ended?.(inode)
    },
  }
}
