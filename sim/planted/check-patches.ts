/** `npm run check:patches`: every planted bug and every mark applies to the source as it is. */
import { markPatches } from '../marks.ts'
import { findPatchFaults } from '../patches/source-patch.ts'
import { plantedBugs } from './bugs.ts'
import { powerCutBugs } from './power-cut-bugs.ts'

const faults = [
  ...findPatchFaults(markPatches).map((fault) => `a mark: ${fault}`),
  ...[...plantedBugs, ...powerCutBugs].flatMap(({ name, patches }) =>
    findPatchFaults(patches).map((fault) => `${name}: ${fault}`),
  ),
]
for (const fault of faults) console.error(fault)
if (faults.length > 0) process.exitCode = 1
