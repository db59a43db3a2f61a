/**
 * Copies of an extent group that lie in fewer blocks than they could: after a node was said to be in another block, one in a new block
 * came, or a group was placed while nodes were away (I1, M13). Pure, but for what is known of blocks.
 *
 * Putting it right only ever adds a block to a group, so that it ends.
 */
import type { DiskRef, NodeId } from '../../base/ids.ts'

/** In how many blocks there are disks now that stay. */
export const blocksAmong = (disks: readonly { readonly block: string }[]): ReadonlySet<string> =>
  new Set(disks.map(({ block }) => block))

/** The copy that should be in another block; undefined where they lie in as many as they can, or nobody knows. */
export function misplacedAmong<Copy extends Pick<DiskRef, 'node'>>(
  copies: readonly Copy[],
  blockOf: (node: NodeId) => string | undefined,
  blocksThere: ReadonlySet<string>,
): Copy | undefined {
  const blocks = copies.map(({ node }) => blockOf(node))
  const taken = new Set(blocks)
  if (taken.has(undefined) || taken.size === copies.length) return undefined
  if (![...blocksThere].some((block) => !taken.has(block))) return undefined
  // The owner's own stands first, and stays.
  return copies.findLast((_, i) => blocks.indexOf(blocks[i]) !== blocks.lastIndexOf(blocks[i]))
}
