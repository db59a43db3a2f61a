/**
 * Planted bugs that neither a seed nor a directed scenario has found yet: each is a hole in the simulator, in world, workload,
 * faults or checkers. `npm run sim:planted -- --unfound` tries them; one that is found moves to its fellows, and stays found.
 */
import { failingDisks, powerCuts, restarts, patch, type PlantedBug } from './planted-bug.ts'

export const unfoundBugs: readonly PlantedBug[] = [
  {
    name: 'synced mark ahead of the sync',
    breaks: 'progress',
    does: 'A batch says that it is synced itself, so that a torn one passes for damage of what was promised.',
    patches: [patch('stargate/oplog/physical-log.ts', 'synced: this.#end,', 'synced: this.#end + bytes,')],
    plan: powerCuts,
  },
  {
    name: 'replayed tail not made durable',
    breaks: 'I1',
    does: 'What replay read is vouched for without being put on stable media first.',
    patches: [
      patch(
        'stargate/oplog/physical-log.ts',
        'else await this.#makeDurable()',
        'else await Promise.resolve()',
      ),
    ],
    plan: powerCuts,
  },
  {
    name: 'fenced epoch not persisted',
    breaks: 'I4',
    does: 'A replica agrees to a fence that it forgets when it is restarted.',
    patches: [
      patch('stargate/oplog/replica-log.ts', 'await this.#log.persistTable()\n', 'await Promise.resolve()\n'),
    ],
    plan: restarts,
  },
  {
    name: 'attempt under way cut as never named',
    breaks: 'I1',
    does: 'A node cuts episodes that the row does not name though their epoch is not over, and its row may name them yet.',
    patches: [
      patch(
        'stargate/vdisk-controller/vdisk-host.ts',
        '.filter((tail) => epochOfEpisode(tail.episode) < epoch && !episodes.some(({ id }) => id === tail.episode))',
        '.filter((tail) => epochOfEpisode(tail.episode) <= epoch && !episodes.some(({ id }) => id === tail.episode))',
      ),
    ],
    plan: restarts,
  },
  {
    name: 'acknowledged before the row names the episode',
    breaks: 'I1',
    does: 'Records that have synced on the replicas of an attempt are acknowledged before the row names it (M1).',
    patches: [
      patch(
        'stargate/vdisk-controller/vdisk-log.ts',
        "if (current === undefined || !current.named || this.#state !== 'open') return",
        'if (current === undefined) return',
      ),
      patch(
        'stargate/vdisk-controller/vdisk-log.ts',
        'episode.onProgress = look',
        'episode.onProgress = () => (this.#advance(), look())',
      ),
    ],
  },
  {
    name: 'overlay of another instant than the base',
    breaks: 'I2',
    does: 'A read looks at the log again when its base has come, and a drain may have taken away what lay over it.',
    patches: [
      patch(
        'stargate/vdisk-controller/vdisk-reads.ts',
        'plans.forEach((plan, i) => paint(pages[i], plan.paint))',
        'plans.forEach((plan, i) => plan.paint.length > 0 && paint(pages[i], this.#plan(firstPage + i).paint))',
      ),
    ],
    plan: failingDisks,
  },
  {
    name: 'takeover shows the tail at once',
    breaks: 'I1',
    does: 'A taker counts what it kept as acknowledged, though it lies on one replica of the old episode only.',
    patches: [
      patch(
        'stargate/vdisk-controller/takeover.ts',
        'return { entries, mark: Math.max(mark, state.drained) as Sequence }',
        'return { entries, mark: Math.max(mark, last, state.drained) as Sequence }',
      ),
    ],
  },
]
