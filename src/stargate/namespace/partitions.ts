/** All partitions of a container's tree, for whoever saves it: each directory, and behind it the files, links and others that it names. */
import type { Medusa, PartitionName } from '../../medusa/medusa.ts'
import { entriesBegin, entriesEnd } from './cookies.ts'
import { type InodeId, isDirectoryId } from './namespace.ts'
import { decodeEntry, partitionOf } from './rows.ts'
import { walkDirectories } from './walk.ts'

const pageRows = 256

/**
 * What has several names is met several times; what changes meanwhile is met as it was or as it is. DAMAGED_METADATA where an entry can't
 * be read.
 */
export async function* partitionsOfTree(medusa: Medusa, root: InodeId): AsyncGenerator<PartitionName> {
  for await (const { id } of walkDirectories({ medusa, root }, () => undefined)) {
    const directory = partitionOf(id)
    yield directory
    for (let after = entriesBegin; ;) {
      const { rows } = await medusa.scan(directory, { after, before: entriesEnd, limit: pageRows })
      for (const { value } of rows)
        for (const candidate of decodeEntry(value).candidates)
          if (!isDirectoryId(candidate)) yield partitionOf(candidate)
      if (rows.length < pageRows) break
      after = rows[rows.length - 1].key
    }
  }
}
