/**
 * Disks and nodes that shall be left, in order, as operators' settings in Zeus have it (docs/vdisk-protocol.md, "Orderly change").
 *
 *                      moves off it   gets nothing new   owns nothing   is gone
 *   draining disk           ×                ×
 *   draining node           ×                ×                ×
 *   maintenance                              ×                ×
 *   removed                                  ×                ×             ×
 *
 * What is read here may be a moment old. It decides where things should go, and never what is true.
 */
import { type DiskRef, isThatDisk, noIncarnation, type NodeId } from './base/ids.ts'
import type { DiskSetting, NodeMode, SettingValue } from './zeus/zeus.ts'

export class LeavingDisks {
  readonly #settings: ReadonlyMap<NodeId, SettingValue>

  constructor(settings: ReadonlyMap<NodeId, SettingValue>) {
    this.#settings = settings
  }

  modeOf(node: NodeId): NodeMode | undefined {
    return this.#settings.get(node)?.mode
  }

  /** The disk's own mode, or that of its node. */
  modeOfDisk(disk: DiskRef): NodeMode | undefined {
    const setting = this.#settings.get(disk.node)
    const own = setting && settingOf(setting, disk)?.mode
    return own === 'removed' ? own : (setting?.mode ?? own)
  }

  /** Copies on it are to be made elsewhere, and unlinked there. */
  readonly isLeaving = (disk: DiskRef): boolean => {
    const setting = this.#settings.get(disk.node)
    if (setting === undefined) return false
    if (setting.mode === 'draining') return true
    return settingOf(setting, disk)?.mode === 'draining'
  }

  /** Nothing new is placed on it where another can be had. */
  readonly isPassedOver = (disk: DiskRef): boolean => this.modeOfDisk(disk) !== undefined

  /** It is no disk of the cluster any more: what an index still names there is nowhere. */
  readonly isRemoved = (disk: DiskRef): boolean =>
    disk.incarnation === noIncarnation || this.modeOfDisk(disk) === 'removed'

  /** The node owns vDisks. */
  readonly mayOwn = (node: NodeId): boolean => this.#settings.get(node)?.mode === undefined

  /** Somewhere copies are to move. */
  get isAny(): boolean {
    for (const { mode, disks } of this.#settings.values())
      if (mode === 'draining' || disks?.some((one) => one.mode === 'draining') === true) return true
    return false
  }
}

/** What is set for this disk alone. */
export const settingOf = (setting: SettingValue, disk: DiskRef): DiskSetting | undefined =>
  setting.disks?.find((one) => isThatDisk(one, disk))

/** Something is to be left that was not before: copies may have to move. */
export function leavesMore(now: SettingValue | undefined, before: SettingValue | undefined): boolean {
  if (now?.mode === 'draining' && before?.mode !== 'draining') return true
  const draining = now?.disks?.filter(({ mode }) => mode === 'draining') ?? []
  return draining.some(
    ({ id, incarnation }) =>
      before?.disks?.some(
        (one) => one.id === id && one.incarnation === incarnation && one.mode === 'draining',
      ) !== true,
  )
}
