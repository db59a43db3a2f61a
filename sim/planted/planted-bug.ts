/**
 * A planted bug: a small change of the source that breaks a promise. A simulator that does not find it has a hole.
 */
import type { SourcePatch } from '../patches/source-patch.ts'
import type { Plan } from '../simulate.ts'

export type Invariant = 'I1' | 'I2' | 'I3' | 'I4' | 'I5' | 'I6' | 'I7' | 'I8' | 'I9' | 'I10' | 'progress'

export interface PlantedBug {
  readonly name: string
  /** `progress`: no promise about bytes is broken, but the cluster does not heal by itself. */
  readonly breaks: Invariant
  /** One sentence: what the code does wrongly. */
  readonly does: string
  readonly patches: readonly SourcePatch[]
  /** What a run must be like for this bug to show soon; `hardTimes` where nothing is said. */
  readonly plan?: Partial<Plan>
  /** A seed that finds it under this plan: kept by planted.test.ts. */
  readonly seed: number
}

/** Few nodes, one vDisk, all troubles, close together: most bugs show within seconds of processor time. */
export const hardTimes: Partial<Plan> = {
  nodes: 3,
  copies: 2,
  vdisks: 1,
  clientsPerVDisk: 2,
  handsMost: 3,
  sectors: 4096,
  hardTimesMs: 25_000,
  lossesMax: 0,
  troubleEveryMs: [100, 4_000],
}

export const patch = (file: string, find: string, replace: string): SourcePatch => ({
  file: `src/${file}`,
  find,
  replace,
})
