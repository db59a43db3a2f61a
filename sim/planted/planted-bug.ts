/**
 * A planted bug: a small change of the source that breaks a promise. A simulator that does not find it has a hole.
 */
import { KiB } from '../../src/base/units.ts'
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
  /** What a run must be like for this bug to show soon; whatever the seed says where nothing is said here. */
  readonly plan?: Partial<Plan>
  /** A seed that finds it under this plan. */
  readonly seed?: number
  /** The directed scenario that finds it, where seeds would meet its history too seldom: a test file, and names of tests in it. */
  readonly scenario?: { readonly file: string; readonly tests: string }
}

const busy: Partial<Plan> = {
  nodes: 3,
  copies: 2,
  vdisks: 1,
  clientsPerVDisk: 3,
  handsMost: 4,
  sectors: 256,
  lossesMax: 0,
}

/** What is at rest changes, and disks lie about what they wrote: never all copies of anything. */
export const damage: Partial<Plan> = {
  ...busy,
  sectors: 1024,
  lossesMax: 1,
  cacheBytes: 256 * KiB,
  troubles: { 'group rot': 6, 'group write lost': 4, 'group write misdirected': 4, kill: 2 },
  troubleEveryMs: [50, 800],
}

/** Disks that fail what they are asked, or take long. */
export const failingDisks: Partial<Plan> = {
  ...busy,
  sectors: 1024,
  cacheBytes: 256 * KiB,
  troubles: { 'failed write': 4, 'failed sync': 4, 'slow disk': 4, kill: 2 },
  troubleEveryMs: [50, 1_200],
}

/** The store does what it was asked, and nobody hears of it. */
export const lostAnswers: Partial<Plan> = {
  ...busy,
  troubles: { 'store answer lost': 6, 'store restart': 2, kill: 2, cut: 2 },
  troubleEveryMs: [50, 1_000],
}

/** Much is written in streams, straight to extent groups. */
export const streams: Partial<Plan> = {
  ...busy,
  sectors: 8192,
  clientsPerVDisk: 2,
  streamShare: 0.08,
  hardTimesMs: 4_000,
  troubles: { kill: 2, 'slow disk': 3, cut: 1 },
  troubleEveryMs: [100, 2_000],
}

export const patch = (file: string, find: string, replace: string): SourcePatch => ({
  file: `src/${file}`,
  find,
  replace,
})
