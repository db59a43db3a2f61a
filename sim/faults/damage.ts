/**
 * Troubles that destroy what disks hold: machines that are gone for good, disks replaced by empty ones, rot, and writes
 * that are lost or land elsewhere. Only bad machines meet them (fault-kit.ts).
 *
 * Extent groups are hurt anywhere: checksums lie in Medusa, and another copy is whole. Of a log only what lies below a
 * later synced batch is hurt: a lost write at its tail looks like one that never ended, and no log can tell the two
 * apart when it alone is asked (DESIGN section 7, Restart). So a log's write is let through, and undone once enough
 * others have followed it: what the page cache showed meanwhile is what a real one shows until it is dropped. Two
 * neighbouring batches are hurt by a trouble of its own: what both say of each other is gone, the log rightly refuses
 * service, and somebody has to replace the disk.
 */
import type { NodeId } from '../../src/base/ids.ts'
import { decodeSuperblock, superblockName } from '../../src/disk/superblock.ts'
import { groupsFolder } from '../../src/stargate/extent-store/group-file.ts'
import { disksOfNode, pathOfDisk, type Tier } from '../cluster.ts'
import type { SimFile, SimNode } from '../sim-disk.ts'
import type { Begin, FaultKit, Kind } from './fault-kit.ts'
import type { DiskHook } from './disks.ts'

export const damageTroubles = {
  loss: { what: 'a machine and its disks are gone for good', weight: 1 },
  'blank disk': { what: 'disks are replaced by empty ones while their machine is off', weight: 1 },
  'group rot': { what: 'a byte of a copy of an extent group rots', weight: 3 },
  'group file lost': { what: 'a copy of an extent group is gone from its folder', weight: 1 },
  'group write lost': { what: 'a write of an extent group is reported done and is not', weight: 2 },
  'group write misdirected': { what: 'a write of an extent group lands elsewhere', weight: 2 },
  'log rot': { what: 'a byte in the middle of a log rots', weight: 2 },
  'log stretch lost': { what: 'neighbouring writes of a log are gone, and its disk is replaced', weight: 1 },
  'log write lost': { what: 'a write in the middle of a log turns out never to have been', weight: 2 },
  'log write misdirected': { what: 'a write of a log turns out to lie over another', weight: 2 },
} as const satisfies Record<string, Kind>

export type DamageTrouble = keyof typeof damageTroubles

/** What was destroyed, for whoever checks that nothing else is missing. */
export class Damage {
  readonly #files = new Set<string>()
  readonly #incarnations = new Set<string>()

  hurt(node: NodeId, path: string): void {
    this.#files.add(`${node} ${path}`)
  }

  replaced(incarnation: string): void {
    this.#incarnations.add(incarnation)
  }

  isHurt(node: NodeId, path: string): boolean {
    return this.#files.has(`${node} ${path}`)
  }

  /** The disk that had this incarnation is no more. */
  isGone(incarnation: string): boolean {
    return this.#incarnations.has(incarnation)
  }
}

interface LogWrite {
  readonly path: string
  readonly position: number
  readonly bytes: number
  /** What was there before, where the write is to be undone. */
  readonly before?: Buffer
  hurt: boolean
}

interface State {
  /** What the next write of a group's file meets. */
  group: 'lost' | 'misdirected' | undefined
  /** What the next write of the log is to turn out to be. */
  log: 'lost' | 'misdirected' | undefined
  /** The newest last; only since the log's process began, whose segments are not used again meanwhile. */
  writes: LogWrite[]
}

const logFolder = `${pathOfDisk('flash')}/oplog/`
/** Written after what is hurt: by then a later batch vouches for it. */
const writesAfter = 6
/** Between two that are hurt. */
const writesBetween = 3
const writesKept = 64
/** Segments are filled with zeroes in pieces of this size, before they are used. */
const fillBytes = 1024 * 1024
const segmentHeadBytes = 8192

export function damageFaults(kit: FaultKit<DamageTrouble>): {
  readonly begin: Record<DamageTrouble, Begin>
  readonly hook: DiskHook
  readonly damage: Damage
  readonly mend: () => void
} {
  const { cluster, chance } = kit
  const damage = new Damage()
  const states = new Map<NodeId, State>()
  for (const name of kit.bad) states.set(name, { group: undefined, log: undefined, writes: [] })
  kit.onEnd((name) => {
    const state = states.get(name)
    if (state !== undefined) state.writes = []
  })
  /** Machines whose log was made useless, until a person replaces the disk. */
  const broken = new Set<NodeId>()
  kit.onCalm(() => {
    for (const state of states.values()) state.group = state.log = undefined
  })
  let losses = 0

  const fileAt = (name: NodeId, path: string): SimFile | undefined => {
    const node = cluster.world.disk(name).find(path)
    return node?.kind === 'file' ? node : undefined
  }
  const groupFiles = (name: NodeId): string[] =>
    disksOfNode.flatMap((tier) => {
      const folder = `${pathOfDisk(tier)}/${groupsFolder}`
      return [...pathsUnder(cluster.world.disk(name).find(folder), folder)]
    })

  const replace = (name: NodeId, tiers: readonly Tier[]): void => {
    kit.log(`${tiers.join(' and ')} of ${name} are replaced by empty ones`)
    for (const tier of tiers) {
      const file = fileAt(name, `${pathOfDisk(tier)}/${superblockName}`)
      if (file !== undefined) {
        const bytes = Buffer.alloc(file.content.size)
        file.content.read(bytes, 0)
        damage.replaced(decodeSuperblock(bytes, pathOfDisk(tier)).incarnation)
      }
      cluster.replaceDisk(name, tier)
    }
    if (tiers.includes('flash')) broken.delete(name)
  }

  /** Two that lie side by side, and that later batches vouch for. */
  const neighboursOf = (writes: readonly LogWrite[]): readonly LogWrite[] | undefined => {
    const i = writes.findIndex(
      (write, i) =>
        i < writes.length - writesAfter &&
        writes[i + 1].path === write.path &&
        writes[i + 1].position === write.position + write.bytes,
    )
    return i < 0 ? undefined : writes.slice(i, i + 2)
  }

  /** A place in the log that later batches vouch for, none of whose neighbours is hurt. */
  const middleOf = (writes: readonly LogWrite[], but?: LogWrite): LogWrite | undefined => {
    const sound = writes.filter(
      (write, i) =>
        i < writes.length - writesAfter &&
        write !== but &&
        !writes.slice(Math.max(0, i - writesBetween), i + writesBetween + 1).some((near) => near.hurt) &&
        !writes.slice(i + 1).some((later) => overlap(write, later)),
    )
    return sound.length === 0 ? undefined : kit.one(sound)
  }

  /** What was drawn for a write some time ago comes true, where it still lies in the middle of the log. */
  const comeTrue = (name: NodeId, state: State): void => {
    const index = state.writes.findIndex((write) => write.before !== undefined && !write.hurt)
    if (index < 0 || index >= state.writes.length - writesAfter) return
    const write = state.writes[index]
    const { path, position, before } = write
    const near = state.writes.slice(Math.max(0, index - writesBetween), index + writesBetween + 1)
    const file = fileAt(name, path)
    const kind = state.log
    if (kind === undefined || before === undefined || file === undefined) return
    state.log = undefined
    if (near.some(({ hurt }) => hurt)) return
    if (state.writes.slice(index + 1).some((later) => overlap(write, later))) return
    const bytes = Buffer.alloc(write.bytes)
    file.content.read(bytes, position)
    file.content.damaged = true
    file.content.overwrite(position, before)
    write.hurt = true
    kit.log(`${kind}: a write of ${write.bytes} bytes to ${path} of ${name} at ${position}`)
    if (kind === 'lost') return kit.hit('log write lost')
    const over = middleOf(state.writes, write)
    const target = over === undefined ? undefined : fileAt(name, over.path)
    if (over === undefined || target === undefined) return kit.hit('log write lost')
    target.content.damaged = true
    target.content.overwrite(over.position, bytes.subarray(0, over.bytes))
    over.hurt = true
    kit.hit('log write misdirected')
  }

  const hook: DiskHook = (name, { kind, path, position, bytes }) => {
    const state = states.get(name)
    if (state === undefined || kind !== 'write') return undefined
    if (path.startsWith(logFolder)) {
      if (bytes >= fillBytes || position < segmentHeadBytes) return undefined
      comeTrue(name, state)
      const undone =
        state.log !== undefined && !state.writes.some((one) => one.before !== undefined && !one.hurt)
      const before = undone ? Buffer.alloc(bytes) : undefined
      if (before !== undefined) fileAt(name, path)?.content.read(before, position)
      state.writes.push({ path, position, bytes, hurt: false, ...(before === undefined ? {} : { before }) })
      if (state.writes.length > writesKept) state.writes.shift()
      return undefined
    }
    if (state.group === undefined || !path.includes(`/${groupsFolder}/`)) return undefined
    const trouble = state.group
    state.group = undefined
    damage.hurt(name, path)
    if (trouble === 'lost') return { lost: true, happened: () => kit.hit('group write lost') }
    const others = groupFiles(name)
    const other = chance.happens(0.5) || others.length === 0 ? path : kit.one(others)
    const size = fileAt(name, other)?.content.size ?? 0
    damage.hurt(name, other)
    return {
      misdirectedTo: 512 * chance.below(1 + Math.floor(size / 512)),
      misdirectedToFile: other,
      happened: () => kit.hit('group write misdirected'),
    }
  }

  /** Arms what comes with a write of a bad machine. */
  const arm = (what: 'group' | 'log', how: 'lost' | 'misdirected'): boolean => {
    const name = kit.oneBad()
    const state = name === undefined ? undefined : states.get(name)
    if (state === undefined || state[what] !== undefined) return false
    state[what] = how
    return true
  }

  const begin: Record<DamageTrouble, Begin> = {
    loss: () => {
      const name = kit.oneBad()
      if (name === undefined || losses >= kit.lossesMax) return false
      losses++
      kit.log(`${name} is gone for good`)
      cluster.lose(name)
      kit.hit('loss')
      return true
    },
    'blank disk': () => {
      const name = kit.oneBad()
      if (name === undefined) return false
      const tiers = [disksOfNode, ['flash'] as const, ['hdd'] as const][chance.below(3)]
      kit.end(name, chance.happens(0.5) ? 'power cut' : 'silent power cut', 10_000)
      replace(name, tiers)
      kit.hit('blank disk')
      return true
    },
    'group rot': () => {
      const name = kit.oneBad()
      const paths = name === undefined ? [] : groupFiles(name)
      if (name === undefined || paths.length === 0) return false
      const path = kit.one(paths)
      const size = fileAt(name, path)?.content.size ?? 0
      if (size === 0) return false
      const position = chance.below(size)
      kit.log(`byte ${position} of ${path} of ${name} rots`)
      cluster.world.disk(name).flipByte(path, position)
      damage.hurt(name, path)
      kit.hit('group rot')
      return true
    },
    'group file lost': () => {
      const name = kit.oneBad()
      const paths = name === undefined ? [] : groupFiles(name)
      if (name === undefined || paths.length === 0) return false
      const path = kit.one(paths)
      // Noticed where it was not open: a file system that was mended in a start has put it elsewhere.
      kit.end(name, 'power cut', 3_000)
      if (fileAt(name, path) === undefined) return true
      kit.log(`${path} of ${name} is gone`)
      cluster.world.disk(name).lose(path)
      damage.hurt(name, path)
      kit.hit('group file lost')
      return true
    },
    'group write lost': () => arm('group', 'lost'),
    'group write misdirected': () => arm('group', 'misdirected'),
    'log rot': () => {
      const name = kit.oneBad()
      const state = name === undefined ? undefined : states.get(name)
      const write = state === undefined ? undefined : middleOf(state.writes)
      if (name === undefined || write === undefined || fileAt(name, write.path) === undefined) return false
      const position = write.position + chance.below(write.bytes)
      kit.log(`byte ${position} of ${write.path} of ${name} rots`)
      cluster.world.disk(name).flipByte(write.path, position)
      write.hurt = true
      kit.hit('log rot')
      return true
    },
    'log stretch lost': () => {
      const name = kit.oneBad()
      const state = name === undefined ? undefined : states.get(name)
      const writes = state === undefined ? undefined : neighboursOf(state.writes)
      if (name === undefined || writes === undefined || broken.has(name)) return false
      kit.end(name, 'kill', 2_000)
      for (const { path, position, bytes } of writes) {
        const file = fileAt(name, path)
        if (file === undefined) continue
        file.content.damaged = true
        file.content.overwrite(position, Buffer.alloc(bytes))
      }
      kit.log(`${writes.length} writes from ${writes[0].position} of ${writes[0].path} of ${name} are gone`)
      kit.hit('log stretch lost')
      broken.add(name)
      kit.later(chance.between(2_500, 10_000), () => {
        if (!broken.has(name) || !cluster.notLost().includes(name)) return
        kit.end(name, 'power cut', 3_000)
        replace(name, ['flash'])
      })
      return true
    },
    'log write lost': () => arm('log', 'lost'),
    'log write misdirected': () => arm('log', 'misdirected'),
  }
  /** What a person does who sees that a log can't be used any more. */
  const mend = (): void => {
    for (const name of cluster.notLost()) {
      const unusable = cluster.node(name)?.replicas.some(({ inService }) => !inService)
      if (unusable !== true || !kit.bad.has(name)) continue
      cluster.end(name, 'power cut')
      replace(name, ['flash'])
      cluster.startNode(name)
    }
  }
  return { begin, hook, damage, mend }
}

const overlap = (a: LogWrite, b: LogWrite): boolean =>
  a.path === b.path && a.position < b.position + b.bytes && b.position < a.position + a.bytes

function* pathsUnder(node: SimNode | undefined, path: string): Generator<string> {
  if (node?.kind === 'file') yield path
  else for (const [name, inside] of node?.names ?? []) yield* pathsUnder(inside, `${path}/${name}`)
}
