/**
 * The bytes of a file, wherever they lie: in the namespace, or, from 512 KiB on, in a vDisk.
 *
 * How a file that grows becomes a vDisk (M6), while others write to it from other nodes:
 *
 *   1. the inode says `promoting`, to which vDisk, and who fills it: nobody writes to the file from then on     (conditional)
 *   2. the vDisk is opened for that one's writes alone, and gets the file's bytes
 *   3. the inode says `vdisk`, on condition that it still says what it said                                     (conditional)
 *
 * Who finds a file promoting for longer than `promotionMs` goes on under a number one higher, on the inode first and then on the vDisk: what
 * the one before it still had under way is refused at the vDisk, and its last step by the inode.
 */
import { assert } from '../../../base/assert.ts'
import { hasCode, NdfsError } from '../../../base/errors.ts'
import { takeLarge } from '../../../base/large-buffers.ts'
import type { VDiskId } from '../../../base/ids.ts'
import type { VDiskOffset } from '../../../base/units.ts'
import type { Clock, Log } from '../../../platform/platform.ts'
import { FileError, fileTimeAt, inlineBytesMax, type Inode, type InodeId } from '../../namespace/namespace.ts'
import type { Maybe, VDiskNow } from '../../io/io.ts'
import { after } from './maybe.ts'
import type { FileVDisk, FileVDisks, Share } from './shares.ts'

/** A vDisk is no longer: 64 TiB. */
export const fileBytesMax = 64 * 2 ** 40
/** How long filling a vDisk with less than 512 KiB may take before another does it. */
const promotionMs = 5_000
const lookAgainMs = 50
/** Looks at a file that is another each time: then the client is asked to come again. */
const looksMax = 200
/** Of a file that others cut off all the time. */
const refusalsMax = 8

/** A file as whoever holds its bytes has it. */
export interface ReadBytes {
  /** In pieces. They are only read, and each is given back (large-buffers.ts) once, when nobody reads it any more. */
  readonly bytes: readonly Buffer[]
  readonly atEnd: boolean
  readonly inode: Inode
}

export class FileData {
  readonly #share: Share
  readonly #clock: Clock

  constructor(share: Share, clock: Clock) {
    this.#share = share
    this.#clock = clock
  }

  /** Size and times are those of whoever holds the bytes. */
  current(inode: Inode): Maybe<Inode> {
    const { content } = inode
    if (content?.kind !== 'vdisk') return inode
    return after(this.#share.vdisks.open(content.vdisk), (vdisk) =>
      after(vdisk.now(), (now) => asChanged(inode, now)),
    )
  }

  /** When a vDisk's file was changed last, by its owner's word; undefined of others. */
  async modifiedAt({ content }: Inode): Promise<number | undefined> {
    if (content?.kind !== 'vdisk') return undefined
    return (await (await this.#share.vdisks.open(content.vdisk)).now()).modifiedAt
  }

  /** At once where the vDisk is owned here, and its cache has the bytes. */
  read(inode: Inode, offset: number, count: number): Maybe<ReadBytes> {
    const { content } = inode
    if (content?.kind !== 'vdisk') return this.#readInline(inode, offset, count)
    return after(this.#share.vdisks.open(content.vdisk), (vdisk) => {
      // What lies behind the end that was known last may be there by now.
      if (offset + count > vdisk.lastKnown.sizeBytes) return this.#readToEnd(vdisk, inode, offset, count)
      const orShorter = (error: unknown): Promise<ReadBytes> => {
        if (!hasCode(error, 'REFUSED')) throw error
        return this.#readToEnd(vdisk, inode, offset, count)
      }
      try {
        const bytes = bytesOf(vdisk, offset as VDiskOffset, count)
        if (!(bytes instanceof Promise)) return readOf(vdisk, inode, offset, bytes, count)
        return bytes.then((pieces) => readOf(vdisk, inode, offset, pieces, count), orShorter)
      } catch (error) {
        return orShorter(error)
      }
    })
  }

  async #readInline(inode: Inode, offset: number, count: number): Promise<ReadBytes> {
    // What is promoting still lies here, whole.
    const { bytes, inode: now } = await this.#share.namespace.read(inode.id, offset, count)
    return { bytes: [bytes], atEnd: offset + bytes.length >= now.sizeBytes, inode: now }
  }

  async #readToEnd(vdisk: FileVDisk, inode: Inode, offset: number, count: number): Promise<ReadBytes> {
    for (let refusals = 0; ;)
      try {
        const { sizeBytes } = await vdisk.now()
        const bytes = takeLarge(Math.max(0, Math.min(count, sizeBytes - offset)))
        if (bytes.length > 0) await vdisk.read(offset as VDiskOffset, bytes)
        return readOf(vdisk, inode, offset, [bytes], bytes.length)
      } catch (error) {
        // It was cut off meanwhile.
        if (!hasCode(error, 'REFUSED') || ++refusals > refusalsMax) throw error
      }
  }

  /** Durable when it resolves, to the file after it. */
  write(inode: Inode, offset: number, bytes: Buffer): Promise<Inode> {
    const end = offset + bytes.length
    // What was refused may still lie with a peer that it was sent to: each further attempt has a copy.
    let attempts = 0
    const payload = (): Buffer => (attempts++ === 0 ? bytes : Buffer.from(bytes))
    return this.#change(inode, end, {
      inline: async (id) => (await this.#share.namespace.write(id, offset, bytes)).after,
      vdisk: async (vdisk) => {
        if (end > vdisk.lastKnown.sizeBytes) await vdisk.grow(end)
        try {
          await vdisk.write(offset as VDiskOffset, payload())
        } catch (error) {
          // It was longer when this node heard of it last.
          if (!hasCode(error, 'REFUSED')) throw error
          await vdisk.grow(end)
          await vdisk.write(offset as VDiskOffset, payload())
        }
      },
    })
  }

  /** Cuts the file, or lets it grow with zeros. */
  resize(inode: Inode, sizeBytes: number): Promise<Inode> {
    return this.#change(inode, sizeBytes, {
      inline: async (id) => (await this.#share.namespace.setAttributes(id, { sizeBytes })).after,
      vdisk: (vdisk) => vdisk.resize(sizeBytes),
    })
  }

  async #change(
    inode: Inode,
    end: number,
    to: { inline(id: InodeId): Promise<Inode>; vdisk(vdisk: FileVDisk): Promise<void> },
  ): Promise<Inode> {
    let promotingSince: number | undefined
    let refusals = 0
    for (let looks = 0; looks < looksMax; looks++) {
      const { content } = inode
      assert(content !== undefined, 'bytes are written to files alone')
      try {
        if (content.kind === 'vdisk') {
          const vdisk = await this.#share.vdisks.open(content.vdisk)
          await to.vdisk(vdisk)
          return asChanged(inode, vdisk.lastKnown)
        }
        if (content.kind === 'promoting') {
          promotingSince ??= this.#clock.now()
          if (this.#clock.now() - promotingSince > promotionMs) {
            promotingSince = undefined
            const taken = await this.#share.namespace.takePromotion(inode.id, content.vdisk, content.filler)
            await this.#fill(taken)
          } else await this.#clock.sleep(lookAgainMs)
        } else if (end < inlineBytesMax) {
          return await to.inline(inode.id)
        } else await this.#promote(inode)
      } catch (error) {
        if (!isOvertaken(error) || (hasCode(error, 'REFUSED') && ++refusals > refusalsMax)) throw error
      }
      inode = await this.#share.namespace.inode(inode.id)
    }
    throw new FileError('CHANGED', `the file ${inode.id} is another at each look`)
  }

  async #promote(inode: Inode): Promise<void> {
    const { namespace, vdisks } = this.#share
    const vdisk = await vdisks.create(inode.id)
    let promoting: Inode
    try {
      promoting = await namespace.beginPromotion(inode.id, vdisk)
    } catch (error) {
      // Nobody names it; where that is not known it is left, for the inode may name it.
      if (error instanceof FileError) await this.#forget(vdisk)
      throw error
    }
    await this.#fill(promoting)
  }

  /** Fills the vDisk of a file that says that this is ours to do, and says so. */
  async #fill({ id, content, sizeBytes }: Inode): Promise<void> {
    const { namespace, vdisks } = this.#share
    assert(content?.kind === 'promoting', 'a vDisk is filled while its file is promoting')
    const { vdisk: number, filler } = content
    const vdisk = await vdisks.openFor({ client: `promotion-${id}`, number: filler }, number)
    try {
      await vdisk.grow(sizeBytes)
      const { bytes } = await namespace.read(id, 0, inlineBytesMax)
      if (bytes.length > 0) await vdisk.write(0 as VDiskOffset, bytes)
    } finally {
      vdisk.close()
    }
    await namespace.endPromotion(id, number, filler)
  }

  async #forget(vdisk: VDiskId): Promise<void> {
    await this.#share.vdisks.delete(vdisk)
  }
}

/** Lent, or read into memory of their own. */
function bytesOf(vdisk: FileVDisk, offset: VDiskOffset, count: number): Maybe<readonly Buffer[]> {
  const lent = vdisk.lend?.(offset, count)
  if (lent !== undefined) return lent
  const target = takeLarge(count)
  return after(vdisk.read(offset, target), () => [target])
}

const readOf = (
  vdisk: FileVDisk,
  inode: Inode,
  offset: number,
  bytes: readonly Buffer[],
  count: number,
): ReadBytes => ({
  bytes,
  atEnd: offset + count >= vdisk.lastKnown.sizeBytes,
  inode: asChanged(inode, vdisk.lastKnown),
})

/** A vDisk's file: its size is its owner's, and so are its times, until a client has set another since the last change (M6). */
function asChanged(inode: Inode, { sizeBytes, modifiedAt }: VDiskNow): Inode {
  const changedAt = fileTimeAt(modifiedAt)
  return {
    ...inode,
    sizeBytes,
    modifyTime: modifiedAt > (inode.modifySetOver ?? 0) ? changedAt : inode.modifyTime,
    changeTime: changedAt > inode.changeTime ? changedAt : inode.changeTime,
  }
}

/**
 * Somebody else was faster: the file is another by now, another fills its vDisk, or has cut off what was to be read or written. Nothing
 * was done.
 */
const isOvertaken = (error: unknown): boolean =>
  error instanceof FileError ? error.code === 'CHANGED' : hasCode(error, 'STALE_SESSION', 'REFUSED')

/** Of a file that is no more. What can't be deleted is told, and fails nothing: the file has no name any more. */
export async function deleteVDiskOf({ id, content }: Inode, vdisks: FileVDisks, log: Log): Promise<void> {
  if (content === undefined || content.kind === 'inline') return
  const { vdisk } = content
  try {
    await vdisks.delete(vdisk)
  } catch (error) {
    if (!(error instanceof NdfsError)) throw error
    log.warn(`vDisk ${vdisk} of a file that was removed is still there`, { reason: error.message, inode: id })
  }
}
