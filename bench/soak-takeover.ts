/**
 * `npm run soak:takeover`: how long a client behind `ndfs connect` stands still when the owner of its vDisk goes.
 *
 * The owner is killed 50 times, started again each time, and killed again once the cluster is healed; then one is frozen for 30 s, and where
 * there are network namespaces one is cut off for 30 s. Prints p50, p99 and the longest; ends with 1 where a goal is missed, a client was
 * answered with an error, or what clients saw no single disk could have shown.
 *
 * Options: --kills N, --silent-seconds N, --silences N of each kind, --seed N.
 */
import { parseArgs } from 'node:util'
import { type ClusterOptions, withCluster } from '../test/support/cluster.ts'
import { Namespaces, withoutNamespaces } from '../test/support/namespaces.ts'
import { describeStalls, quantile, type Stall, TakeoverWatch } from '../test/support/takeover.ts'
import { machineAndCommit } from './machine.ts'

const killedMsMax = 3000
const silentMsMax = 6000

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '50' },
    'silent-seconds': { type: 'string', default: '30' },
    silences: { type: 'string', default: '3' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
  },
})
const [kills, silences, seed] = [values.kills, values.silences, values.seed].map(Number)
const silentMs = Number(values['silent-seconds']) * 1000

async function watched(
  options: ClusterOptions,
  rounds: number,
  what: string,
  once: (watch: TakeoverWatch) => Promise<Stall>,
): Promise<readonly number[]> {
  const stalls: Stall[] = []
  await withCluster(options, async (cluster) => {
    const watch = await TakeoverWatch.begin(cluster, seed, options.namespaces)
    for (let round = 1; round <= rounds; round++) {
      const stall = await once(watch)
      stalls.push(stall)
      console.log(
        `${what} ${round} of ${rounds}: ${stall.owner}, ${(stall.ms / 1000).toFixed(2)} s to the next answer, ` +
          `${(stall.requestMs / 1000).toFixed(2)} s for the slowest request`,
      )
    }
    await watch.end()
  })
  console.log(`${what}, ${rounds} times: ${describeStalls(stalls)}`)
  return stalls.map(({ ms }) => ms).sort((a, b) => a - b)
}

console.log(machineAndCommit())
console.log(`seed ${seed}`)
const missed: string[] = []
const goal = (what: string, ms: number, most: number): void => {
  if (ms >= most) missed.push(`${what}: ${(ms / 1000).toFixed(2)} s, the goal is under ${most / 1000} s`)
}
if (kills > 0)
  goal(
    'killed, p99',
    quantile(await watched({}, kills, 'killed', (watch) => watch.kill()), 0.99),
    killedMsMax,
  )
if (silences > 0) {
  const frozen = await watched({}, silences, 'frozen', (watch) => watch.freeze(silentMs))
  goal('frozen, longest', quantile(frozen, 1), silentMsMax)
  const left = withoutNamespaces()
  if (left === false) {
    const namespaces = new Namespaces(3)
    try {
      const cut = await watched({ namespaces }, silences, 'cut off', (watch) => watch.cut(silentMs))
      goal('cut off, longest', quantile(cut, 1), silentMsMax)
    } finally {
      namespaces.remove()
    }
  } else console.log(`left out: cut off: ${left}`)
}
for (const miss of missed) console.log(`MISSED ${miss}`)
process.exitCode = missed.length === 0 ? 0 : 1
