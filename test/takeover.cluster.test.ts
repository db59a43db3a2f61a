/** The owner of a vDisk goes, killed, frozen or cut off: a client behind `ndfs connect` hardly notices. `npm run soak:takeover` does it often. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type ClusterOptions, withCluster } from './support/cluster.ts'
import { Namespaces, withoutNamespaces } from './support/namespaces.ts'
import { figure } from './support/run.ts'
import { describeStalls, type Stall, TakeoverWatch } from './support/takeover.ts'

/** Twice the goals: other tests, and other users of the machine, run beside this one. */
const killedMsMax = 6000
const silentMsMax = 12_000

async function watched(
  options: ClusterOptions,
  rounds: number,
  what: string,
  msMost: number,
  once: (watch: TakeoverWatch) => Promise<Stall>,
): Promise<void> {
  const stalls: Stall[] = []
  await withCluster(options, async (cluster) => {
    const watch = await TakeoverWatch.begin(cluster, Date.now() % 1_000_000, options.namespaces)
    for (let round = 0; round < rounds; round++) stalls.push(await once(watch))
    await watch.end()
  })
  figure(`${what}: ${describeStalls(stalls)}`)
  assert(Math.max(...stalls.map(({ ms }) => ms)) < msMost, `${what}: ${describeStalls(stalls)}`)
}

test(
  'R16 R23: the owner is killed, and a client behind ndfs connect is soon answered again',
  { timeout: 120_000 },
  () => watched({}, 3, 'the owner is killed', killedMsMax, (watch) => watch.kill()),
)

test(
  'a frozen owner is taken over; it acknowledges nothing, and once it is awake it serves nothing stale',
  { timeout: 120_000 },
  () => watched({}, 1, 'the owner is frozen', silentMsMax, (watch) => watch.freeze(8000)),
)

test(
  'an owner that is cut off is taken over; once its network is back it serves nothing stale',
  { skip: withoutNamespaces(), timeout: 120_000 },
  async () => {
    const namespaces = new Namespaces(3)
    try {
      await watched({ namespaces }, 1, 'the owner is cut off', silentMsMax, (watch) => watch.cut(8000))
    } finally {
      namespaces.remove()
    }
  },
)
