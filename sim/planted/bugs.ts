/** All planted bugs. */
import { dataBugs } from './data-bugs.ts'
import { fileBugs } from './file-bugs.ts'
import { leavingBugs } from './leaving-bugs.ts'
import { ownerBugs } from './owner-bugs.ts'
import type { PlantedBug } from './planted-bug.ts'
import { powerCutBugs } from './power-cut-bugs.ts'
import { repairBugs } from './repair-bugs.ts'
import { replicaBugs } from './replica-bugs.ts'
import { scenarioBugs } from './scenario-bugs.ts'
import { sicknessBugs } from './sickness-bugs.ts'
import { scrubBugs } from './scrub-bugs.ts'

export const plantedBugs: readonly PlantedBug[] = [
  ...replicaBugs,
  ...ownerBugs,
  ...dataBugs,
  ...scenarioBugs,
  ...repairBugs,
  ...fileBugs,
  ...leavingBugs,
  ...sicknessBugs,
  ...scrubBugs,
]

export function bugNamed(name: string): PlantedBug {
  const bug = [...plantedBugs, ...powerCutBugs].find((one) => one.name === name)
  if (bug === undefined) throw new Error(`There is no planted bug called ${JSON.stringify(name)}`)
  return bug
}
