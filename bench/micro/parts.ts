/** All hot parts, in the order in which a write meets them. */
import { cacheParts } from './cache.ts'
import { checksumParts } from './checksums.ts'
import { frameParts } from './frames.ts'
import { indexParts } from './indexes.ts'
import { nbdParts } from './nbd.ts'
import { oplogParts } from './oplog.ts'
import type { Part } from './part.ts'

export const allParts = (): Part[] => [
  ...nbdParts(),
  ...oplogParts(),
  ...frameParts(),
  ...indexParts(),
  ...cacheParts(),
  ...checksumParts(),
]
