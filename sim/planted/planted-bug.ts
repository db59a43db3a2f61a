/**
 * A planted bug: a small change of the source that breaks a promise. A simulator that does not find it has a hole.
 */
import { KiB, MiB } from '../../src/base/units.ts'
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

/** Nothing but writes that fail: what their disks do afterwards is seen more often where little else happens. */
export const failingWrites: Partial<Plan> = {
  ...failingDisks,
  troubles: { 'failed write': 6 },
  troubleEveryMs: [50, 600],
}

/** Owners and the store stand still or are not heard, and go on later with what they had meant to do. */
export const standstill: Partial<Plan> = {
  ...busy,
  vdisks: 3,
  clientsPerVDisk: 2,
  troubles: { freeze: 4, 'store slow': 3, cut: 3, isolate: 3 },
  troubleEveryMs: [50, 1_000],
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

/** Logs are small, and so their segments are used again and again, while nodes end and replay what is there. */
export const smallLogs: Partial<Plan> = {
  ...streams,
  sectors: 1024,
  streamShare: 0.04,
  oplogSegmentBytes: 512 * KiB,
  troubles: { kill: 4, 'power cut': 4 },
  troubleEveryMs: [50, 1_500],
}

/** Much is written, and no drain begins by itself: only want of room makes one. */
export const lateDrains: Partial<Plan> = {
  ...streams,
  streamShare: 0.3,
  pace: {
    drainBeginsAtBytes: 32 * MiB,
    drainAgeMs: 60_000,
    idleReleaseMs: 60_000,
    freeAgainMs: 2_000,
    sweepMs: 3_000,
    goneGraceMs: 800,
    scrubEveryMs: 20_000,
  },
  troubles: { kill: 2, 'slow disk': 3 },
}

/** Clients use files, and little else happens. */
export const files: Partial<Plan> = {
  ...busy,
  ...{ clientsPerVDisk: 1, readersPerVDisk: 0, handsMost: 1, operator: false, orderly: false },
  ...{ beyondPromise: false, shares: 2, hardTimesMs: 3_000, oplogSegmentBytes: 1 * MiB },
  troubles: { kill: 2, cut: 2, freeze: 3, 'broken connections': 2, 'store slow': 3, 'store change late': 3 },
  troubleEveryMs: [50, 1_000],
}

export const patch = (file: string, find: string, replace: string): SourcePatch => ({
  file: `src/${file}`,
  find,
  replace,
})
