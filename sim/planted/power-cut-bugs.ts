/**
 * Planted bugs below what the simulator runs: only a power cut with real parts (test/power-cut/) can find them.
 */
import { patch, type PlantedBug } from './planted-bug.ts'

export const powerCutBugs: readonly PlantedBug[] = [
  {
    name: 'store commits without a sync',
    breaks: 'I3',
    does: "SQLite's log is not synced when a change of metadata is committed.",
    patches: [
      patch(
        'local/store/store-database.ts',
        "database.pragma('synchronous = FULL')",
        "database.pragma('synchronous = OFF')",
      ),
    ],
  },
]
