import { test } from 'node:test'
import { type Plan, simulate } from './simulate.ts'

/** Much is written in streams, and the flash disks become full of it. */
const streams: Partial<Plan> = {
  nodes: 3,
  copies: 2,
  vdisks: 1,
  clientsPerVDisk: 2,
  readersPerVDisk: 1,
  handsMost: 4,
  sectors: 8192,
  streamShare: 0.08,
  troubles: { kill: 2, 'slow disk': 3, cut: 1 },
  troubleEveryMs: [100, 2_000],
  lossesMax: 0,
}

for (const seed of [2, 5])
  test(`streams go straight to extent groups, and all that they leave is right in the end, seed ${seed}`, async () => {
    await simulate({ seed, plan: streams })
  })
