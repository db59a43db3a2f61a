/**
 * Whose requests may make, finish and unlink files of a vDisk's groups on this node: nobody's under a lower epoch than the
 * highest seen (I4).
 *
 * What a former owner sent may arrive long after a later one has given its group up and unlinked the copies: made anew,
 * it would be a file that no row knows of. A process that has just started has seen nothing. So the first request of an
 * epoch asks the vDisk's row, which was raised before a later owner could unlink anything.
 */
import { NdfsError } from '../../base/errors.ts'
import type { Epoch, VDiskId } from '../../base/ids.ts'

/** The epoch in the vDisk's row, read now; undefined where there is no such row. */
export type EpochOf = (vdisk: VDiskId) => Promise<Epoch | undefined>

export class EpochGuard {
  readonly #epochOf: EpochOf
  readonly #seen = new Map<VDiskId, Epoch>()
  readonly #asking = new Map<VDiskId, Promise<void>>()

  constructor(epochOf: EpochOf) {
    this.#epochOf = epochOf
  }

  /** An owner under this epoch has unlinked something: from now on no earlier one makes anything. */
  raise(vdisk: VDiskId, epoch: Epoch): void {
    if (epoch > (this.#seen.get(vdisk) ?? 0)) this.#seen.set(vdisk, epoch)
  }

  /** Undefined where nothing needs to be asked. Look with `assertCurrent` when it has resolved. */
  learn(vdisk: VDiskId, epoch: Epoch): Promise<void> | undefined {
    if (epoch <= (this.#seen.get(vdisk) ?? 0)) return undefined
    let asking = this.#asking.get(vdisk)
    if (asking === undefined) {
      asking = this.#ask(vdisk, epoch).finally(() => this.#asking.delete(vdisk))
      this.#asking.set(vdisk, asking)
    }
    return asking
  }

  assertCurrent(vdisk: VDiskId, epoch: Epoch): void {
    const seen = this.#seen.get(vdisk) ?? 0
    if (epoch < seen)
      throw new NdfsError(
        'FENCED',
        `Cannot write extent groups of vDisk ${vdisk} under epoch ${epoch}: epoch ${seen} was seen here`,
        { vdisk, epoch: seen },
      )
  }

  async #ask(vdisk: VDiskId, epoch: Epoch): Promise<void> {
    const row = await this.#epochOf(vdisk)
    this.raise(vdisk, epoch)
    if (row !== undefined) this.raise(vdisk, row)
  }
}
