/** What status says of nodes and disks that are being left: modes from Zeus, what is still there from a count of rows. */
import type { ClusterView } from './cluster-view.ts'
import { leavingSentence } from './management/leaving.ts'
import type { Leaving, Mode } from './management/management.ts'
import type { RepairTold } from './management/repair-status.ts'
import { settingOf } from './leaving-disks.ts'
import { type Configuration, disksOfNode, leavingDisksOf, type OrderlyChange } from './orderly-change.ts'
import { type DiskRef, isThatDisk, type NodeId, sameDisk } from './base/ids.ts'
import type { SettingValue } from './zeus/zeus.ts'

/** Undefined where all are active: then nothing is counted. */
export async function leavingStatus(
  orderly: OrderlyChange,
  view: ClusterView,
  told: readonly RepairTold[],
): Promise<Leaving[] | undefined> {
  const cluster = await orderly.configuration()
  const disks = leavingDisksOf(cluster)
  if (![...cluster.settings.values()].some(hasMode)) return undefined
  const held = await orderly.held(disks)
  const bytesPerSecond = Math.round(told.reduce((sum, one) => sum + one.bytesPerSecond, 0))
  const waitsFor = told
    .flatMap(({ lists }) => lists)
    .find((list) => list.moving !== undefined && list.waitsFor !== undefined)?.waitsFor
  const statusOf = (node: NodeId, mode: Mode, those: readonly DiskRef[], disk?: string): Leaving => {
    const on = held.disks.filter((one) => those.some((ref) => sameDisk(ref, one.disk)))
    const sum = (what: 'groups' | 'bytes' | 'logs'): number => on.reduce((total, one) => total + one[what], 0)
    const vdisks = disk === undefined ? ownedBy(view, node) : 0
    const isEmpty = sum('logs') + vdisks + held.unknown.length === 0
    const until = cluster.settings.get(node)?.repairWaitsUntil
    const leaving = {
      node,
      ...(disk === undefined ? {} : { disk }),
      mode,
      groups: sum('groups'),
      bytes: sum('bytes'),
      logs: sum('logs'),
      vdisks,
      unknown: held.unknown.length,
      done: mode !== 'removed' && isEmpty && (mode === 'maintenance' || sum('groups') === 0),
      bytesPerSecond,
      ...(waitsFor === undefined || sum('groups') === 0 ? {} : { waitsFor }),
      ...(mode === 'maintenance' && until !== undefined ? { repairWaitsUntil: until } : {}),
    }
    return { sentence: leavingSentence(leaving), ...leaving }
  }
  const all: Leaving[] = []
  for (const [node, setting] of cluster.settings) {
    const its = disksOfNode(cluster, node)
    if (setting.mode !== undefined && cluster.nodes.has(node)) all.push(statusOf(node, setting.mode, its))
    else
      for (const disk of its) {
        const mode = settingOf(setting, disk)?.mode
        // One that is out of service is gone, and only its tombstone is left.
        const isOver = mode === 'removed' && !isOnline(cluster, disk)
        if (mode !== undefined && !isOver) all.push(statusOf(node, mode, [disk], disk.disk))
      }
  }
  return all.length === 0 ? undefined : all
}

const isOnline = ({ sessions }: Configuration, disk: DiskRef): boolean =>
  sessions.get(disk.node)?.disks.some((one) => isThatDisk(one, disk) && one.state !== 'failed') === true

const hasMode = ({ mode, disks }: SettingValue): boolean => mode !== undefined || (disks?.length ?? 0) > 0

const ownedBy = (view: ClusterView, node: NodeId): number =>
  [...view.owners.values()].filter(
    (owner) => owner.node === node && owner.released !== true && view.lives(node, owner.incarnation),
  ).length
