/**
 * A file becomes a vDisk once, and stays that one: of two its bytes would be in either. Nobody fills one that another fills in his place.
 * Seen where the store makes a change of an inode's row.
 */
import type { Content, InodeId } from '../../src/stargate/namespace/namespace.ts'

export class PromotedOnce {
  readonly #contents = new Map<InodeId, Content>()

  /** The content of an inode's row from now on; undefined: it has none, or is gone. */
  changed(id: InodeId, content: Content | undefined): string | undefined {
    const before = this.#contents.get(id)
    if (content === undefined) this.#contents.delete(id)
    else this.#contents.set(id, content)
    if (before === undefined || content === undefined || before.kind === 'inline') return undefined
    if (content.kind === 'inline') return `file ${id} was ${before.kind}, and is inline again`
    if (content.vdisk !== before.vdisk) return `file ${id} was vDisk ${before.vdisk}, and is ${content.vdisk}`
    if (content.kind === 'promoting' && before.kind === 'vdisk') return `file ${id} is filled again`
    if (content.kind === 'promoting' && before.kind === 'promoting' && content.filler < before.filler)
      return `filler ${content.filler} of file ${id} comes after ${before.filler}`
    return undefined
  }
}
