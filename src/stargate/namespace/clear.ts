/**
 * Takes a container's files and directories away, children first, and the root last: for one that is being deleted, when nobody makes
 * anything in it any more. Each step is an operation of its own, so whoever is interrupted does it again.
 *
 * What can't be read stays, with all that is above it: a container is not kept for rows that are damaged.
 */
import { atOnce } from '../../base/at-once.ts'
import { hasCode } from '../../base/errors.ts'
import { removeEmpty } from './closing.ts'
import { list } from './listing.ts'
import { FileError, type Inode, type InodeId } from './namespace.ts'
import { findRow, type Parts } from './parts.ts'
import { remove, removeDirectory } from './remove.ts'
import { isLive } from './rows.ts'

const pageEntries = 64
const removalsAtOnce = 16

interface Subdirectory {
  readonly id: InodeId
  readonly name: Buffer
}

/** A directory on the way from the root to where it is, with one page of those in it. */
interface Frame {
  readonly id: InodeId
  after: bigint
  isListed: boolean
  readonly page: Subdirectory[]
}

/** `gone`: told of each file that is no more. False: something stays. */
export async function clear(parts: Parts, gone: (inode: Inode) => Promise<void>): Promise<boolean> {
  const frameOf = (id: InodeId): Frame => ({ id, after: 0n, isListed: false, page: [] })
  for (const way = [frameOf(parts.root)]; way.length > 0;) {
    const last = way[way.length - 1]
    // The first of the page is the one that was just cleared, or is next.
    const [next] = last.page
    if (next !== undefined) way.push(frameOf(next.id))
    else if (!last.isListed) await clearPage(parts, last, gone)
    else {
      way.pop()
      const parent = way.at(-1)
      if (parent !== undefined) {
        const { name } = parent.page.shift()!
        await orStays(() => removeDirectory(parts, parent.id, name))
      }
    }
  }
  return clearRoot(parts)
}

async function clearPage(parts: Parts, frame: Frame, gone: (inode: Inode) => Promise<void>): Promise<void> {
  const { id } = frame
  frame.isListed = true
  await orStays(async () => {
    const { entries, done } = await list(parts, id, frame.after, pageEntries)
    await atOnce(entries, removalsAtOnce, async ({ name, inode }) => {
      if (inode.type === 'directory') frame.page.push({ id: inode.id, name })
      else
        await orStays(async () => {
          const removed = await remove(parts, id, name)
          if (removed.gone) await gone(removed.inode)
        })
    })
    frame.isListed = done
    if (entries.length > 0) frame.after = entries[entries.length - 1].cookie
  })
}

async function clearRoot(parts: Parts): Promise<boolean> {
  const { root } = parts
  const found = await findRow(parts, root)
  if (found.state !== 'found') return false
  const { row } = found
  return !isLive(row) || orStays(() => removeEmpty(parts, { id: root, row }))
}

/** False: it was gone already, or others are in it still, or it can't be read. */
async function orStays(work: () => Promise<unknown>): Promise<boolean> {
  try {
    await work()
    return true
  } catch (error) {
    if (!(error instanceof FileError) && !hasCode(error, 'DAMAGED_METADATA')) throw error
    return false
  }
}
