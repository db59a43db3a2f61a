/** What `status` says of extent groups that have fewer copies than asked for; nothing where all are full. */
import { formatSize } from '../base/units.ts'
import type { RepairStatus } from './management.ts'

/** What each node that owns vDisks tells of them. */
export interface RepairTold {
  readonly lists: readonly {
    readonly copies: number
    readonly endangered: readonly { readonly left: number; readonly groups: number; readonly bytes: number }[]
    readonly moving?: { readonly groups: number; readonly bytes: number }
    readonly waitsFor?: string
  }[]
  readonly bytesPerSecond: number
  /** vDisks that nobody owns, and that are yet to be looked at since disks were gone. */
  readonly toLookAt: number
}

/** The sum of all nodes' shares; undefined where nothing is to be repaired or looked at. */
export function repairStatus(told: readonly RepairTold[]): RepairStatus | undefined {
  const sums = new Map<string, { copies: number; left: number; groups: number; bytes: number }>()
  for (const { copies, endangered } of told.flatMap(({ lists }) => lists))
    for (const { left, groups, bytes } of endangered) {
      const key = `${left} of ${copies}`
      const sum = sums.get(key) ?? { copies, left, groups: 0, bytes: 0 }
      sums.set(key, { ...sum, groups: sum.groups + groups, bytes: sum.bytes + bytes })
    }
  const toLookAt = told.reduce((sum, one) => sum + one.toLookAt, 0)
  if (sums.size === 0 && toLookAt === 0) return undefined
  const endangered = [...sums.values()].sort((a, b) => a.left - b.left || b.copies - a.copies)
  const bytesLeft = endangered.reduce((sum, { bytes }) => sum + bytes, 0)
  const bytesPerSecond = Math.round(told.reduce((sum, one) => sum + one.bytesPerSecond, 0))
  const waitsFor = told
    .flatMap(({ lists }) => lists)
    .find((list) => list.endangered.length > 0 && list.waitsFor !== undefined)?.waitsFor
  return {
    endangered,
    bytesLeft,
    bytesPerSecond,
    ...(bytesPerSecond > 0 ? { secondsLeft: Math.ceil(bytesLeft / bytesPerSecond) } : {}),
    ...(waitsFor === undefined ? {} : { waitsFor }),
    vDisksToLookAt: toLookAt,
  }
}

/** The same in a sentence, as `ndfs status` shows it. */
export function repairProblems(repair: RepairStatus | undefined): string[] {
  if (repair === undefined) return []
  const { endangered, bytesPerSecond, secondsLeft, waitsFor, vDisksToLookAt } = repair
  const problems: string[] = []
  if (endangered.length > 0) {
    const parts = endangered.map(
      ({ copies, left, groups, bytes }) =>
        `${groups} extent ${groups === 1 ? 'group' : 'groups'} (${formatSize(bytes)}) ` +
        `${groups === 1 ? 'has' : 'have'} ${wordOf(left)} ${left < 2 ? 'copy' : 'copies'} of ${wordOf(copies)}`,
    )
    const goesOn =
      bytesPerSecond > 0 && secondsLeft !== undefined
        ? `repair goes on, ${formatSize(bytesPerSecond)}/s, about ${timeOf(secondsLeft)} left`
        : 'repair begins'
    problems.push(
      `${parts.join(', ')}: ${waitsFor === undefined ? goesOn : `repair waits for some of them: ${waitsFor}`}`,
    )
  }
  if (vDisksToLookAt > 0)
    problems.push(
      `${vDisksToLookAt} ${vDisksToLookAt === 1 ? 'vDisk that no node owns is' : 'vDisks that no node owns are'} looked through for copies that are gone`,
    )
  return problems
}

const wordOf = (count: number): string => ['no', 'one', 'two', 'three'][count] ?? String(count)

function timeOf(seconds: number): string {
  if (seconds < 120) return `${seconds} s`
  if (seconds < 2 * 3600) return `${Math.round(seconds / 60)} min`
  return `${Math.round(seconds / 3600)} h`
}
