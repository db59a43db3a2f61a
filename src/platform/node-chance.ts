/** Chance by Node.js: all of it from the system's generator, fit for keys and nonces. */
import { randomBytes, randomInt } from 'node:crypto'
import type { Chance } from './platform.ts'

export const nodeChance: Chance = {
  below: (below) => randomInt(below),
  bytes: (count) => randomBytes(count),
}
