/**
 * Troubles of disks that destroy nothing: slow ones, writes and syncs that fail, no room, and disks that are gone until
 * somebody puts them back.
 *
 * A disk that is gone fails what is read, too. Where every copy of a page fails so, it is bad for good (F9): so only bad
 * machines' disks go.
 *
 * A disk that has failed three times in an hour is out of service for good, and no run is longer: none is made to fail a third time, for
 * the end of a run asks for all copies (scenarios/major/slow-disks.test.ts has what is out for good).
 */
import type { NodeId } from '../../src/base/ids.ts'
import { KiB, MiB } from '../../src/base/units.ts'
import { disksOfNode, pathOfDisk } from '../cluster.ts'
import type { DiskFault, DiskOperation } from '../sim-disk.ts'
import type { Begin, FaultKit, Kind } from './fault-kit.ts'

export const diskTroubles = {
  'slow disk': { what: 'every operation of a disk takes long', weight: 3 },
  'failed write': {
    what: 'a write fails: the disk leaves service until its node is started again',
    weight: 2,
  },
  'failed sync': { what: 'a sync fails: the disk leaves service until its node is started again', weight: 2 },
  'disk full': { what: 'the file system under a disk has no room for a while', weight: 2 },
  'disk gone': { what: 'a disk of a running node fails every operation, until it is put back', weight: 1 },
} as const satisfies Record<string, Kind>

export type DiskTrouble = keyof typeof diskTroubles

interface State {
  slow: { readonly mostMs: number; readonly felt: () => void } | undefined
  /** How many writes or syncs from now the failing one is, and where. */
  failing: { readonly kind: 'write' | 'sync'; readonly path: string; inOperations: number } | undefined
  gone: { readonly path: string; readonly felt: () => void } | undefined
  full: { readonly path: string; readonly felt: () => void } | undefined
  /** A disk has left service, until its node is started again. */
  outOfService: boolean
  /** How often one was made to. */
  timesOut: number
}

const timesOutMax = 2

export type DiskHook = (name: NodeId, operation: DiskOperation) => DiskFault | undefined

/** The troubles, and what they do to each operation of a node's disks. */
export function diskFaults(kit: FaultKit<DiskTrouble>): {
  readonly begin: Record<DiskTrouble, Begin>
  readonly hook: DiskHook
} {
  const { cluster, chance } = kit
  const states = new Map<NodeId, State>()
  const stateOf = (name: NodeId): State => states.get(name)!
  const clearFull = (name: NodeId): void => {
    const state = stateOf(name)
    if (state.full !== undefined) cluster.world.disk(name).clearCapacity(state.full.path)
    state.full = undefined
  }

  for (const name of cluster.names) {
    const state: State = {
      slow: undefined,
      failing: undefined,
      gone: undefined,
      full: undefined,
      outOfService: false,
      timesOut: 0,
    }
    states.set(name, state)
    cluster.world.disk(name).onFull = () => state.full?.felt()
  }
  kit.onEnd((name) => (stateOf(name).outOfService = false))
  kit.onCalm(() => {
    for (const [name, state] of states) {
      clearFull(name)
      state.slow = undefined
      state.failing = undefined
      if (state.outOfService || state.gone !== undefined) cluster.end(name, 'kill')
      state.gone = undefined
    }
  })

  const hook: DiskHook = (name, { kind, path }) => {
    const state = stateOf(name)
    const { slow, gone, failing } = state
    if (gone !== undefined && path.startsWith(gone.path)) {
      gone.felt()
      state.outOfService = true
      return { fail: 'EIO' }
    }
    let delayMs = 0
    if (slow !== undefined) {
      slow.felt()
      delayMs = chance.between(0, slow.mostMs)
    }
    if (failing !== undefined && kind === failing.kind && path.startsWith(failing.path))
      if (--failing.inOperations <= 0) {
        state.failing = undefined
        state.outOfService = true
        kit.hit(failing.kind === 'write' ? 'failed write' : 'failed sync')
        return { fail: 'EIO', delayMs }
      }
    return delayMs > 0 ? { delayMs } : undefined
  }

  const fail = (kind: 'write' | 'sync', name: NodeId): boolean => {
    const state = stateOf(name)
    if (state.failing !== undefined || state.timesOut >= timesOutMax) return false
    state.timesOut++
    const path = pathOfDisk(kit.one(disksOfNode))
    kit.log(`a ${kind} of ${path} of ${name} is to fail`)
    state.failing = { kind, path, inOperations: 1 + chance.below(20) }
    kit.later(chance.between(2_000, 20_000), () => {
      state.failing = undefined
      kit.end(name, 'kill', 1_000)
    })
    return true
  }

  const begin: Record<DiskTrouble, Begin> = {
    'slow disk': (name) => {
      const forMs = chance.between(500, 10_000)
      const mostMs = [5, 50, 1_000, 4_000][chance.below(4)]
      const slow = { mostMs, felt: kit.once('slow disk') }
      stateOf(name).slow = slow
      kit.log(`the disks of ${name} are slow, up to ${mostMs} ms, for ${Math.round(forMs)} ms`)
      kit.later(forMs, () => {
        if (stateOf(name).slow === slow) stateOf(name).slow = undefined
      })
      return true
    },
    'failed write': (name) => fail('write', name),
    'failed sync': (name) => fail('sync', name),
    'disk full': (name) => {
      const state = stateOf(name)
      if (state.full !== undefined) return false
      const path = pathOfDisk(kit.one(disksOfNode))
      const forMs = chance.between(500, 10_000)
      const room = [0, 64 * KiB, 2 * MiB][chance.below(3)]
      kit.log(`${path} of ${name} has room for ${room} bytes, for ${Math.round(forMs)} ms`)
      const disk = cluster.world.disk(name)
      disk.setCapacity(path, disk.allocatedBytes(path) + room)
      const full = { path, felt: kit.once('disk full') }
      state.full = full
      kit.later(forMs, () => {
        if (state.full === full) clearFull(name)
      })
      return true
    },
    'disk gone': () => {
      const name = kit.oneBad()
      if (name === undefined || stateOf(name).gone !== undefined) return false
      if (stateOf(name).timesOut >= timesOutMax) return false
      stateOf(name).timesOut++
      const path = pathOfDisk(kit.one(disksOfNode))
      kit.log(`${path} of ${name} is gone`)
      stateOf(name).gone = { path, felt: kit.once('disk gone') }
      kit.later(chance.between(500, 8_000), () => {
        // It may be started without its disk, again and again.
        if (chance.happens(0.5)) kit.end(name, 'kill', 200)
        kit.later(chance.between(100, 3_000), () => {
          kit.log(`${path} of ${name} is back`)
          stateOf(name).gone = undefined
          kit.end(name, 'power cut', 1_000)
        })
      })
      return true
    },
  }
  return { begin, hook }
}
