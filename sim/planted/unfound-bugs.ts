/**
 * Planted bugs that neither a seed nor a directed scenario has found yet: each is a hole in the simulator, in world, workload,
 * faults or checkers. `npm run sim:planted -- --unfound` tries them; one that is found moves to its fellows, and stays found.
 */
import { powerCuts, patch, type PlantedBug } from './planted-bug.ts'

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
]
