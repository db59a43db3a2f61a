/**
 * A layer's map, read by whoever doesn't own the vDisk: which groups it names, and whether all of its rows are there. Nothing is fenced, so
 * what is read may change meanwhile; a row that does not fit the list of its partition is read again together with that list, in one step.
 *
 * Only partitions that the vDisk's row knows of are read: the others were never drained to, or are ahead of the row and hidden by the log.
 */
import { atOnce } from '../../base/at-once.ts'
import { hasCode } from '../../base/errors.ts'
import type { GroupId, LayerId, VDiskId } from '../../base/ids.ts'
import { mapPartitionBytes, vBlockBytes } from '../../base/units.ts'
import type { Medusa, Row } from '../../medusa/medusa.ts'
import { bad, decodeVBlock, hole } from './map-row.ts'
import { mapPartition, partRowKey, vdiskPartition } from './rows.ts'
import { digestKey, vBlockKey } from './vdisk-map.ts'

const vBlocksPerPartition = mapPartitionBytes / vBlockBytes
const partitionsAtOnce = 4
const rowsAtOnce = 256
const groupHandlesFrom = 1

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
  const { rows } = await medusa.get(mapPartition(vdisk, layer, partition), [vBlockKey(vBlock)])
  if (rows.length === 0) return false
  let names = false
  visitVBlock(rows[0].value, (id, at) => (names ||= id === group && at === page))
  return names
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
  const { static: now, rows: heads } = await medusa.get(name, [digestKey])
  if (now.version < least || heads.length === 0) {
    seen.damage.push(`${where} is missing or older than its vDisk's row says`)
    return
  }
  const digest = versionsIn(heads[0])
  const unsure = new Set<number>()
  digest.forEach((version, vBlock) => version > 0 && unsure.add(vBlock))
  for (let after = 'v'; ;) {
    const { rows } = await medusa.scan(name, { after, before: 'w', limit: rowsAtOnce })
    for (const { key, value } of rows) {
      const vBlock = Number(key.slice(1))
      // Another version than the list's: one of the two has changed since.
      if (value.readUInt32LE(0) !== digest[vBlock]) unsure.add(vBlock)
      else if (visit(value, number, vBlock, seen)) unsure.delete(vBlock)
    }
    if (rows.length < rowsAtOnce) break
    after = rows[rowsAtOnce - 1].key
  }
  for (const vBlock of unsure) {
    const key = vBlockKey(vBlock)
    const { rows } = await medusa.get(name, [digestKey, key])
    const head = rows.find((row) => row.key === digestKey)
    const row = rows.find((one) => one.key === key)
    const version = head === undefined ? undefined : versionsIn(head)[vBlock]
    if (version === 0 && row === undefined) continue
    if (row === undefined || row.value.readUInt32LE(0) !== version || !visit(row.value, number, vBlock, seen))
      seen.damage.push(`row ${key} of ${where} is missing, old or unreadable`)
  }
}

function versionsIn({ value }: Row): Uint32Array {
  const versions = new Uint32Array(vBlocksPerPartition)
  new Uint8Array(versions.buffer).set(value.subarray(0, versions.byteLength))
  return versions
}

/** False where the row can't be read. */
function visit(value: Buffer, partition: number, vBlock: number, seen: SeenMap): boolean {
  try {
    const badPages = visitVBlock(value, (group, page) => {
      const known = seen.named.get(group)
      if (known === undefined || known.page < page) seen.named.set(group, { page, partition, vBlock })
    })
    seen.badPages += badPages
    return true
  } catch (error) {
    if (!hasCode(error, 'DAMAGED_METADATA')) throw error
    return false
  }
}

/** Calls back for each page that is in a group; resolves to how many are bad. */
function visitVBlock(value: Buffer, named: (group: GroupId, page: number) => void): number {
  const ids: GroupId[] = []
  const block = decodeVBlock(value.subarray(4), (id) => ids.push(id) - 1 + groupHandlesFrom)
  let badPages = 0
  block.groups.forEach((handle, page) => {
    if (handle === bad) badPages++
    else if (handle !== hole) named(ids[handle - groupHandlesFrom], block.pages[page])
  })
  return badPages
}
