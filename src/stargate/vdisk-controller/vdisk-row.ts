/**
 * The owner's hold on its vDisk's partition in Medusa: the state row, and what proves that the vDisk is still its own.
 */
import { assert } from '../../base/assert.ts'
import { hasCode, NdfsError } from '../../base/errors.ts'
import type { Epoch, VDiskId } from '../../base/ids.ts'
import { changeForCertain, newChangeId, type Row } from '../../medusa/medusa.ts'
import { type MedusaAccess, OwnedPartition, type Ownership } from './owned-partition.ts'
import { decodeVDiskState, encodeVDiskState, stateRowKey, vdiskPartition, type VDiskState } from './rows.ts'

/** How long making a vDisk may wait for Medusa; an operator stands in front of it. */
const createWaitMaxMs = 10_000

export class VDiskRow implements Ownership {
  readonly vdisk: VDiskId
  readonly epoch: Epoch
  #alive = true
  readonly #goesOn: () => boolean
  // Set by `raise` before anyone sees the object.
  #partition!: OwnedPartition
  #state!: VDiskState

  private constructor(vdisk: VDiskId, epoch: Epoch, goesOn: () => boolean) {
    this.#goesOn = goesOn
    this.vdisk = vdisk
    this.epoch = epoch
  }

  /**
   * Raises the row's epoch to `epoch`, and only then reads it (C1). Rejects with CONFLICT (facts `epoch`: the row's) where the row
   * has that epoch or a higher one: claim again, above it. NOT_FOUND where there is no such vDisk. `goesOn`: false once
   * the process ends; nothing is then tried on.
   */
  static async raise(
    access: MedusaAccess,
    vdisk: VDiskId,
    epoch: Epoch,
    goesOn: () => boolean = () => true,
  ): Promise<VDiskRow> {
    const seen = (await access.medusa.get(vdiskPartition(vdisk), [])).static
    if (seen.version === 0) throw new NdfsError('NOT_FOUND', `There is no vDisk ${vdisk}`, { vdisk })
    if (seen.epoch >= epoch)
      throw new NdfsError(
        'CONFLICT',
        `Cannot raise the epoch of vDisk ${vdisk} to ${epoch}: it has ${seen.epoch}`,
        {
          epoch: seen.epoch,
        },
      )
    const row = new VDiskRow(vdisk, epoch, goesOn)
    row.#partition = await OwnedPartition.raise(access, vdiskPartition(vdisk), row)
    const rows = await row.#partition.read([stateRowKey])
    assert(rows.length === 1, 'a vDisk has a state row from its first version on')
    row.#state = decodeVDiskState(rows[0].value)
    return row
  }

  /** Makes the row of a new vDisk. ALREADY_EXISTS where there is one. */
  static async create(access: MedusaAccess, vdisk: VDiskId, state: VDiskState): Promise<void> {
    const giveUpAt = access.platform.clock.now() + createWaitMaxMs
    const result = await changeForCertain(
      access.medusa,
      access.platform.clock,
      vdiskPartition(vdisk),
      {
        id: newChangeId(access.platform.chance),
        expected: { epoch: 0 as Epoch, version: 0 },
        epoch: 0 as Epoch,
        put: [{ key: stateRowKey, value: encodeVDiskState(state) }],
      },
      () => access.platform.clock.now() < giveUpAt,
    )
    if (result.outcome === 'conflict')
      throw new NdfsError('ALREADY_EXISTS', `There is a vDisk ${vdisk} already`, { vdisk })
  }

  /** The state as the row has it, for whoever doesn't own the vDisk: all but the map and the log, and a moment old. */
  static async peek(access: Pick<MedusaAccess, 'medusa'>, vdisk: VDiskId): Promise<VDiskState | undefined> {
    return (await VDiskRow.peekWithEpoch(access, vdisk))?.state
  }

  /** The same, with the epoch that the row had then: no change under a lower one is made any more. */
  static async peekWithEpoch(
    access: Pick<MedusaAccess, 'medusa'>,
    vdisk: VDiskId,
  ): Promise<{ epoch: Epoch; state: VDiskState } | undefined> {
    const { static: seen, rows } = await access.medusa.get(vdiskPartition(vdisk), [stateRowKey])
    return rows.length === 0 ? undefined : { epoch: seen.epoch, state: decodeVDiskState(rows[0].value) }
  }

  get alive(): boolean {
    return this.#alive && this.#goesOn()
  }

  /** As of the last change that is known to have been applied. */
  get state(): VDiskState {
    return this.#state
  }

  /** Other rows of the partition, as they are now. */
  rows(keys: readonly string[]): Promise<readonly Row[]> {
    return this.#partition.read(keys)
  }

  /**
   * Changes the state row, and puts `rows` beside it, in one conditional batch; durable when it resolves. `decide` sees the
   * state after all earlier updates. Rejects with FENCED where another owner has raised the epoch.
   * An outcome that is unknown is looked after until it is known: nothing else is changed before that (C2).
   */
  update(decide: (state: VDiskState) => VDiskState, rows: readonly Row[] = []): Promise<VDiskState> {
    return this.#partition.serial.run(async () => {
      if (!this.#alive)
        throw new NdfsError('NOT_OWNER', `This node no longer owns vDisk ${this.vdisk}`, {
          epoch: this.epoch,
        })
      const state = decide(this.#state)
      await this.#partition.change([{ key: stateRowKey, value: encodeVDiskState(state) }, ...rows])
      this.#state = state
      return state
    })
  }

  /** One serial read, begun now, that shows our epoch: what a read may rest on when grants are missing (F10). */
  async proveOwnership(): Promise<void> {
    await this.#partition.read([])
  }

  /** No further update is tried, also not one whose outcome is not yet known. */
  giveUp(): void {
    this.#alive = false
  }
}

export const isOwnershipOver = (error: unknown): boolean => hasCode(error, 'FENCED', 'NOT_OWNER')
