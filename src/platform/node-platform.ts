/** The platform by Node.js, on Linux. */
import { nodeChance } from './node-chance.ts'
import { nodeClock } from './node-clock.ts'
import { nodeFiles } from './node-files.ts'
import { nodeLog } from './node-log.ts'
import type { NodeLogOptions } from './node-log.ts'
import { nodeSockets } from './node-sockets.ts'
import type { Platform } from './platform.ts'

export function nodePlatform(log: NodeLogOptions): Platform {
  return {
    clock: nodeClock,
    chance: nodeChance,
    files: nodeFiles,
    sockets: nodeSockets,
    log: nodeLog(log),
  }
}
