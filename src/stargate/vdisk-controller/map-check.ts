/**
 * A layer's map, read by whoever doesn't own the vDisk: which groups it names, and whether all of its rows are there. Nothing is fenced, so
 * what is read may change meanwhile; where rows do not fit the digest of their partition it is read again, all in one step.
 *
 * Only partitions that the vDisk's row knows of are read: the others were never drained to, or are ahead of the row and hidden by the log.
 */
import { atOnce } from '../../base/at-once.ts'
import type { GroupId, LayerId, VDiskId } from '../../base/ids.ts'
import type { Medusa, PartitionName, Row } from '../../medusa/medusa.ts'
import { bad, hole, type VBlock } from './map-row.ts'
import { keyBefore } from './map-delta.ts'
import { digestKey } from './map-digest.ts'
import { PartitionRows } from './partition-rows.ts'
import { mapPartition, partRowKey, vdiskPartition } from './rows.ts'
import { vBlockKey } from './vdisk-map.ts'

const partitionsAtOnce = 4
const rowsAtOnce = 256
/** In front of all vBlocks' rows: deltas and digest. More than there ever are. */
const headKeysEnd = 'e'
const headsMax = 10_000

/** One place that names the group: that of its highest page there is in the map. */
export interface NamedGroup {
  readonly page: number
  readonly partition: number
  readonly vBlock: number
}

export interface SeenMap {
  readonly named: Map<GroupId, NamedGroup>
  /** Of which all copies were bad when they were drained. */
  badPages: number
  /** What is missing or old, a sentence each. */
  readonly damage: string[]
}

export async function readMap(medusa: Medusa, vdisk: VDiskId, layer: LayerId): Promise<SeenMap> {
  const seen: SeenMap = { named: new Map(), badPages: 0, damage: [] }
  // The least versions first: what was read of a partition afterwards can only be newer.
  const parts = await leastVersions(medusa, vdisk, layer)
  await atOnce(parts, partitionsAtOnce, (part) => readPartition(medusa, vdisk, layer, part, seen))
  return seen
}

/** Whether the map still names that page of the group, at a place where it did. */
export async function stillNames(
  medusa: Medusa,
  vdisk: VDiskId,
  layer: LayerId,
  group: GroupId,
  { partition, vBlock, page }: NamedGroup,
): Promise<boolean> {
  const name = mapPartition(vdisk, layer, partition)
  const { head } = await readHead(medusa, name)
  const [row] = (await medusa.get(name, [vBlockKey(vBlock)])).rows
  let read = head
  let block = head.vBlockOf(vBlock, row)
  if (block === undefined) {
    // It has changed in between, or is damaged.
    read = new PartitionRows((await medusa.get(name)).rows)
    block = read.vBlock(vBlock)
  }
  return block?.groups.some((handle, i) => read.idOf(handle) === group && block.pages[i] === page) === true
}

/** The digest and the deltas that it needs, of one version. */
async function readHead(
  medusa: Medusa,
  name: PartitionName,
): Promise<{ readonly version: number; readonly head: PartitionRows }> {
  const first = await medusa.get(name, [digestKey])
  const { oldest } = new PartitionRows(first.rows)
  if (oldest === undefined) return { version: first.static.version, head: new PartitionRows(first.rows) }
  // The oldest one that is needed is never an older one later.
  const after = keyBefore(oldest)
  const seen = await medusa.scan(name, { after, before: headKeysEnd, limit: headsMax })
  return { version: seen.static.version, head: new PartitionRows(seen.rows) }
}

interface Part {
  readonly number: number
  readonly least: number
}

async function leastVersions(medusa: Medusa, vdisk: VDiskId, layer: LayerId): Promise<Part[]> {
  const prefix = partRowKey(layer, 0).slice(0, -8)
  const parts: Part[] = []
  for (let after = prefix; ;) {
    const { rows } = await medusa.scan(vdiskPartition(vdisk), {
      after,
      before: `${prefix}~`,
      limit: rowsAtOnce,
    })
    for (const { key, value } of rows)
      parts.push({ number: Number(key.slice(prefix.length)), least: Number(value.readBigUInt64LE(0)) })
    if (rows.length < rowsAtOnce) return parts
    after = rows[rowsAtOnce - 1].key
  }
}

async function readPartition(
  medusa: Medusa,
  vdisk: VDiskId,
  layer: LayerId,
  { number, least }: Part,
  seen: SeenMap,
): Promise<void> {
  const name = mapPartition(vdisk, layer, number)
  const where = `partition ${number} of the map of vDisk ${vdisk}`
  const { version, head } = await readHead(medusa, name)
  if (version < least || head.digest === undefined) {
    seen.damage.push(`${where} is missing or older than its vDisk's row says`)
    return
  }
  const unsure = new Set<number>()
  head.digest.forEach((version, vBlock) => version > 0 && unsure.add(vBlock))
  const look = (read: PartitionRows, vBlock: number, row: Row | undefined): void => {
    const block = read.vBlockOf(vBlock, row)
    if (block === undefined) return
    unsure.delete(vBlock)
    visit(read, block, number, vBlock, seen)
  }
  for (let after = 'v'; ;) {
    const { rows } = await medusa.scan(name, { after, before: 'w', limit: rowsAtOnce })
    for (const row of rows) look(head, Number(row.key.slice(1)), row)
    if (rows.length < rowsAtOnce) break
    after = rows[rowsAtOnce - 1].key
  }
  for (const vBlock of [...unsure]) look(head, vBlock, undefined)
  if (unsure.size === 0) return
  // Something has changed since, or is missing.
  const again = new PartitionRows((await medusa.get(name)).rows)
  for (const vBlock of [...unsure]) look(again, vBlock, again.row(vBlock))
  for (const vBlock of unsure)
    seen.damage.push(
      `row ${vBlockKey(vBlock)} of ${where}, or a change upon it, is missing, old or unreadable`,
    )
}

function visit(
  read: PartitionRows,
  { groups, pages }: VBlock,
  partition: number,
  vBlock: number,
  seen: SeenMap,
): void {
  groups.forEach((handle, i) => {
    if (handle === bad) seen.badPages++
    if (handle === bad || handle === hole) return
    const group = read.idOf(handle)!
    const known = seen.named.get(group)
    if (known === undefined || known.page < pages[i])
      seen.named.set(group, { page: pages[i], partition, vBlock })
  })
}
