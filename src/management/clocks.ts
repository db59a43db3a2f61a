/** What `status` says of nodes whose clock is wrong. Nothing of safety rests on it: leases and sessions go by clocks that never jump. */
import { millis, type Millis } from '../base/units.ts'

/** What one node's clock said when it was asked, less what the asking node's said. */
export interface ClockTold {
  readonly node: string
  readonly aheadMs: number
  /** It may be off by so much either way: half of the time that asking took. */
  readonly withinMs: number
}

/** People look at times of files and of logs, and compare them. */
export const clockDifferenceMsMax: Millis = millis(500)

/** The asking node told as any other. Each clock is held against the one in the middle, which is right where most are. */
export function clockProblems(told: readonly ClockTold[]): readonly string[] {
  const sorted = told.toSorted((a, b) => a.aheadMs - b.aheadMs)
  const middle = sorted.at(Math.floor((sorted.length - 1) / 2))
  if (middle === undefined) return []
  return told.flatMap(({ node, aheadMs, withinMs }) => {
    const ahead = aheadMs - middle.aheadMs
    if (Math.abs(ahead) - withinMs - middle.withinMs <= clockDifferenceMsMax) return []
    const seconds = (Math.abs(ahead) / 1000).toFixed(1)
    return [
      `the clock of ${node} is ${seconds} s ${ahead > 0 ? 'ahead' : 'behind'}, held against that of ${middle.node}: set it by NTP. ` +
        'No data is in danger by it; times of files and in logs are wrong',
    ]
  })
}
