import { plantedBugs } from './planted/bugs.ts'
import { expectFound } from './planted/found-suite.ts'

expectFound(plantedBugs.filter(({ scenario }) => scenario !== undefined))
