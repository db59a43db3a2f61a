/**
 * More fails than there are copies, on purpose: first most nodes are frozen at once, then two nodes die and their disks are lost. Guests
 * wait, or get errors; what they read is right. What was never answered with an error or with bytes is not counted.
 */
import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { SeededChance } from '../../sim/seeded-chance.ts'
import type { Cluster } from './cluster.ts'
import { Door } from './doors.ts'
import { groupFiles } from './group-files.ts'
import { healed } from './health.ts'
import { RecordedWork, recordedWorkBytes } from './recorded-work.ts'
import { sleep } from './run.ts'

const workMs = 8000
const frozenMs = 30_000
/** After it a client of `ndfs connect` gets an error. */
const giveUp = '12s'

export interface BeyondPromise {
  readonly writes: number
  readonly reads: number
  readonly errors: number
}

export async function runBeyondPromise(
  cluster: Cluster,
  { seed, say }: { readonly seed: number; readonly say: (line: string) => void },
): Promise<BeyondPromise> {
  const chance = new SeededChance(seed, 'beyond the promise')
  const vdisk = await cluster.createVDisk(String(recordedWorkBytes), 'recorded')
  const { socket } = await cluster.connect(vdisk, '--give-up', giveUp)
  const connected = new Door('ndfs connect', vdisk, () => socket, true)
  const direct = cluster.nodes.map(({ id }) => new Door(id, vdisk, () => cluster.node(id).nbd.address))
  const work = new RecordedWork(seed, 20)
  const begin = (): void => {
    work.join(connected, 6)
    for (const door of direct) work.join(door, 1)
  }
  begin()
  const judged = (when: string): void => {
    assert.equal(work.judge(), undefined, when)
    const { writes, reads, unanswered } = work.counts
    say(
      `${when}: ${writes} writes and ${reads} reads right, ${unanswered} writes without answer, ${work.refusals.length} errors`,
    )
  }

  await sleep(workMs)
  judged('before')
  const ids = cluster.nodes.map(({ id }) => id)
  const shuffled = ids.map((id) => ({ id, at: chance.below(1000) })).sort((a, b) => a.at - b.at)
  const most = shuffled.slice(0, Math.floor(ids.length / 2) + 1).map(({ id }) => id)
  say(`${most.join(', ')} are frozen for ${frozenMs / 1000} s`)
  for (const node of most) await cluster.kill(node, 'SIGSTOP')
  await sleep(frozenMs)
  for (const node of most) await cluster.kill(node, 'SIGCONT')
  await healed(cluster)
  await sleep(workMs)
  judged('most nodes were frozen')

  // In extent groups, so that two nodes hold both copies of some.
  await work.leave()
  await cluster.drained(vdisk, 120)
  begin()
  await sleep(500)
  const [first, second] = nodesWithMostInCommon(cluster)
  const errorsBefore = work.refusals.length
  say(`${first} and ${second} die at once, and their disks are lost`)
  await Promise.all([first, second].map((node) => cluster.kill(node)))
  for (const node of [first, second]) rmSync(join(cluster.dir, 'nodes', node, 'disks'), { recursive: true })
  await sleep(3 * workMs)
  await work.leave()
  judged('the disks of two nodes are lost')
  assert(work.refusals.length > errorsBefore, 'nothing was lost with them: this shows nothing')
  for (const door of [connected, ...direct]) door.close()
  const { writes, reads } = work.counts
  return { writes, reads, errors: work.refusals.length }
}

/** The two nodes that together hold all copies of the most extent groups. */
function nodesWithMostInCommon(cluster: Cluster): readonly string[] {
  const copies = Map.groupBy(groupFiles(cluster.dir), ({ group }) => group)
  const pairs = Map.groupBy(copies.values(), (files) =>
    [...new Set(files.map(({ node }) => node))].sort().join(),
  )
  const [[most]] = [...pairs].sort(([, a], [, b]) => b.length - a.length)
  return most.split(',')
}
