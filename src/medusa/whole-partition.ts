/** A partition, or a part of it, that comes in several answers is one read: it begins anew when a change came between them. */
import { NdfsError } from '../base/errors.ts'
import type { Partition, PartitionName, Row } from './medusa.ts'
import type { PartOfPartition } from './medusa-requests.ts'

/** A reader that met a change between its parts this often is told so: only one owner changes a partition. */
const readsMax = 20

/** @param readAfter The part that follows the rows read so far. */
export async function readWhole(
  { table, key }: PartitionName,
  readAfter: (rows: readonly Row[]) => Promise<PartOfPartition>,
): Promise<Partition> {
  for (let reads = 0; reads < readsMax; reads++) {
    const first = await readAfter([])
    const rows = [...first.rows]
    let { more } = first
    let same = true
    while (more && same) {
      const next = await readAfter(rows)
      same = next.static.version === first.static.version && next.static.changeId === first.static.changeId
      for (const row of next.rows) rows.push(row)
      more = next.more
    }
    if (same) return { static: first.static, rows }
  }
  throw new NdfsError(
    'UNAVAILABLE',
    `Cannot read ${table} ${key} at one version: it changed during each of ${readsMax} reads. Try again`,
    { table, key },
  )
}
