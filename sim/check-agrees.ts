/**
 * `ndfs check` in a cluster at rest, held against what lies on the simulated disks.
 *
 *  1. It finds every copy that a row names and that is wrong, every log that lacks one, and no other; and nothing else is wrong.
 *  2. With `repair` each of them is made anew; then all is right, and is said to be.
 */
import { crc32c } from '../src/base/crc32c.ts'
import type { GroupId, NodeId } from '../src/base/ids.ts'
import { pageBytes } from '../src/base/units.ts'
import type { CheckInfo } from '../src/management/management.ts'
import type { CopyRef } from '../src/stargate/extent-store/extent-store.ts'
import { decodeTrailer } from '../src/stargate/extent-store/trailer.ts'
import { placeOfCopy } from './checkers/copy-files.ts'
import type { Cluster } from './cluster.ts'
import type { Damage } from './faults/damage.ts'
import { groupsInIndex, vDiskStates } from './metadata-check.ts'
import type { SimDisk } from './sim-disk.ts'

const lookEveryMs = 250

/** Copies that rows name, on disks that are there, and that are not what the rows say: `DISK GROUP.NUMBER`. */
export function findWrongCopies(cluster: Cluster, damage: Damage): string[] {
  const there = new Set(cluster.notLost())
  const wrong: string[] = []
  for (const [id, row] of groupsInIndex(cluster.database))
    for (const copy of row.copies) {
      if (!there.has(copy.node) || damage.isGone(copy.incarnation)) continue
      if (!isRight(cluster.world.disk(copy.node), id, copy, row.checksums)) wrong.push(nameOf(id, copy))
    }
  return wrong
}

/** vDisks with log that is not drained, and has a replica on a disk that is gone; that of deleted ones nobody needs. */
function findLogsThatLack(cluster: Cluster, damage: Damage): string[] {
  const there = new Set(cluster.notLost())
  return [...vDiskStates(cluster.database)].flatMap(([id, { state, episodes, drained }]) => {
    const lacks = episodes.some(
      ({ end, replicas }) =>
        state === 'live' &&
        (end === undefined || end > drained) &&
        replicas.some(({ node, incarnation }) => !there.has(node) || damage.isGone(incarnation)),
    )
    return lacks ? [logOf(id)] : []
  })
}

const logOf = (vdisk: number | undefined): string => `the log of vDisk ${vdisk}`

/** Each in turn is read into it: fresh memory for each costs more than the look. */
let wholeFile = Buffer.alloc(0)

function isRight(disk: SimDisk, id: GroupId, copy: CopyRef, checksums: Uint32Array): boolean {
  const file = disk.find(placeOfCopy(id, copy).path)
  if (file?.kind !== 'file') return false
  const { size } = file.content
  if (size > wholeFile.length) wholeFile = Buffer.alloc(size)
  const bytes = wholeFile.subarray(0, size)
  file.content.read(bytes, 0)
  const isPageRight = (checksum: number, page: number): boolean =>
    crc32c(bytes.subarray(page * pageBytes, (page + 1) * pageBytes)) === checksum
  const trailer = decodeTrailer(bytes)
  return checksums.every(isPageRight) && trailer?.group === id && trailer.number === copy.number
}

const nameOf = (group: string, { disk, number }: { disk: string; number: number }): string =>
  `${disk} ${group}.${number}`

/** What is wrong with what the check says. To be played by the world. */
export async function findCheckFaults(cluster: Cluster, damage: Damage, node: NodeId): Promise<string[]> {
  const find = (): Set<string> =>
    new Set([...findWrongCopies(cluster, damage), ...findLogsThatLack(cluster, damage)])
  const before = find()
  const info = await check(cluster, node, false)
  // Somebody may have read one of them, or drained a log, meanwhile.
  const after = find()
  const told = new Set(
    info.findings
      .filter(({ kind }) => kind === 'bad copy' || kind === 'missing copy')
      .map(({ vdisk, group, disk = '', copy = 0 }) =>
        group === undefined ? logOf(vdisk) : nameOf(group, { disk, number: copy }),
      ),
  )
  const faults = [
    ...info.findings
      .filter(({ kind }) => kind !== 'bad copy' && kind !== 'missing copy')
      .map(({ kind, what }) => `${kind}: ${what}`),
    ...info.unfinished.map((what) => `unfinished: ${what}`),
    ...[...told].filter((name) => !before.has(name) && !after.has(name)).map((name) => `${name} is right`),
    ...[...before].filter((name) => after.has(name) && !told.has(name)).map((name) => `${name} is wrong`),
  ]
  if (faults.length > 0 || before.size === 0) return faults.map((fault) => `ndfs check: ${fault}`)
  // A log has its copies again when it is drained, and not by a repair.
  if (findLogsThatLack(cluster, damage).length > 0) return []
  await check(cluster, node, true)
  const mended = await check(cluster, node, false)
  return mended.state === 'right' ? [] : [`ndfs check, after a repair: ${mended.summary}`]
}

async function check(cluster: Cluster, node: NodeId, repair: boolean): Promise<CheckInfo> {
  const { management } = cluster.node(node)!
  let info = await management.beginCheck({ repair })
  while (info.state === 'running') {
    await new Promise<void>((resolve) => cluster.world.after(lookEveryMs, resolve))
    info = await management.showCheck(info.id)
  }
  return info
}
