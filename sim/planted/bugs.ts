/** Planted bugs: those that must be found, and those that are not found yet. */
import { dataBugs } from './data-bugs.ts'
import { ownerBugs } from './owner-bugs.ts'
import type { PlantedBug } from './planted-bug.ts'
import { replicaBugs } from './replica-bugs.ts'
import { scenarioBugs } from './scenario-bugs.ts'
import { unfoundBugs } from './unfound-bugs.ts'

export const plantedBugs: readonly PlantedBug[] = [...replicaBugs, ...ownerBugs, ...dataBugs, ...scenarioBugs]

export function bugNamed(name: string): PlantedBug {
  const bug = [...plantedBugs, ...unfoundBugs].find((one) => one.name === name)
  if (bug === undefined) throw new Error(`There is no planted bug called ${JSON.stringify(name)}`)
  return bug
}
