/** The platform of this machine, for the ndfs command, which does not know what it is made of. */
import type { NodeLogOptions } from '../platform/node-log.ts'
import { nodePlatform } from '../platform/node-platform.ts'
import type { Platform } from '../platform/platform.ts'

export type LocalPlatform = Platform

export const thisMachine = (log: NodeLogOptions): LocalPlatform => nodePlatform(log)

export { prepareProcess } from '../platform/node-process.ts'
