/**
 * Troubles of processes and clocks: they end, at any moment of their lives, stand still, and are stopped in order.
 */
import type { NodeId } from '../../src/base/ids.ts'
import type { Begin, Ending, FaultKit, Kind } from './fault-kit.ts'

export const processTroubles = {
  kill: { what: 'a process is killed, and started again', weight: 6 },
  'kill in the start': { what: 'a process is killed while it starts, before it serves', weight: 3 },
  'power cut': { what: 'a machine loses power', weight: 6 },
  'torn sector': { what: 'a power cut stops a write inside a sector', weight: 0 },
  'all at once': { what: 'every node is killed, or loses power', weight: 2 },
  freeze: { what: 'a process stands still', weight: 5 },
  stop: { what: 'a node is stopped in order, and started again', weight: 2 },
  'rolling restart': { what: 'each node in turn is stopped in order, and started again', weight: 1 },
  'clock jump': { what: 'a wall clock jumps', weight: 1 },
} as const satisfies Record<string, Kind>

export type ProcessTrouble = keyof typeof processTroubles

const hourMs = 3_600_000
const yearMs = 365 * 24 * hourMs

export function processFaults(kit: FaultKit<ProcessTrouble>): Partial<Record<ProcessTrouble, Begin>> {
  const { cluster, chance } = kit
  const { world } = cluster
  /** Being stopped in order. */
  const stopping = new Set<NodeId>()

  kit.onCalm(() => {
    for (const name of stopping) cluster.end(name, 'kill')
    for (const name of cluster.running()) world.thaw(name)
  })

  /** Now, or, since that is when most can go wrong, in the middle of a write. */
  const end = (kind: ProcessTrouble, name: NodeId, how: Ending, mostMs: number): boolean => {
    if (chance.happens(0.5)) return endNow(kind, name, how, mostMs)
    kit.inNextWrite(name, () => void endNow(kind, name, how, mostMs))
    return true
  }

  const endNow = (kind: ProcessTrouble, name: NodeId, how: Ending, mostMs: number): boolean => {
    const disk = world.disk(name)
    const tornBefore = disk.tornSectors
    const ran = kit.end(name, how, mostMs)
    if (disk.tornSectors > tornBefore) kit.hit('torn sector')
    if (ran) kit.hit(kind)
    return ran
  }

  /** Where it can't end in order it is killed, as `ndfs down` does. */
  const stopInOrder = (name: NodeId, started: () => void): void => {
    kit.log(`${name} is stopped in order`)
    stopping.add(name)
    void cluster.stop(name).catch(() => undefined)
    kit.later(5_000 + chance.between(0, 5_000), () => {
      stopping.delete(name)
      cluster.end(name, 'kill')
      cluster.startNode(name)
      started()
    })
  }

  const killInTheStart = (name: NodeId, times: number): void => {
    cluster.startNode(name)
    // Of a start the replay is the longest part, and how long it takes goes by how full the log is.
    kit.later(chance.between(0.5, [5, 30, 200][chance.below(3)]), () => {
      if (cluster.running().includes(name) && cluster.node(name) === undefined) kit.hit('kill in the start')
      if (times > 1) {
        cluster.end(name, 'kill')
        kit.later(chance.between(1, 300), () => killInTheStart(name, times - 1))
      } else kit.end(name, 'kill', 1_000)
    })
  }

  const rollOver = (names: readonly NodeId[]): void => {
    const [name, ...others] = names
    if (name === undefined || !cluster.notLost().includes(name)) return
    stopInOrder(name, () => {
      const next = (): void => {
        if (cluster.node(name) === undefined) return kit.later(200, next)
        rollOver(others)
      }
      kit.later(200, next)
    })
  }

  return {
    kill: (name) => end('kill', name, 'kill', 10_000),
    'kill in the start': (name) => {
      kit.log(`${name} is killed, and again while it starts`)
      kit.end(name, 'kill', 60_000)
      killInTheStart(name, 1 + chance.below(3))
      return true
    },
    'power cut': (name) =>
      end('power cut', name, chance.happens(0.5) ? 'power cut' : 'silent power cut', 15_000),
    'all at once': () => {
      const how = chance.happens(0.5) ? 'kill' : 'power cut'
      // In any order, at one moment or one after the other.
      const withinMs = chance.happens(0.5) ? 0 : 300
      const left = [...cluster.notLost()]
      const all = left.length
      let ended = 0
      while (left.length > 0) {
        const [name] = left.splice(chance.below(left.length), 1)
        kit.later(chance.between(0, withinMs), () => {
          if (cluster.notLost().includes(name)) kit.end(name, how, 3_000)
          if (++ended === all) kit.hit('all at once')
        })
      }
      return true
    },
    freeze: (name) => {
      if (!cluster.running().includes(name)) return false
      const forMs = chance.between(50, chance.happens(0.5) ? 1_500 : 12_000)
      kit.log(`${name} stands still for ${Math.round(forMs)} ms`)
      world.freeze(name, forMs)
      kit.hit('freeze')
      return true
    },
    stop: (name) => {
      if (cluster.node(name) === undefined || stopping.size > 0) return false
      stopInOrder(name, () => undefined)
      kit.hit('stop')
      return true
    },
    'rolling restart': () => {
      if (cluster.serving().length < cluster.notLost().length || stopping.size > 0) return false
      kit.log('each node in turn is stopped in order')
      rollOver(cluster.notLost())
      kit.hit('rolling restart')
      return true
    },
    'clock jump': (name) => {
      const most = [1_000, hourMs, 5 * yearMs][chance.below(3)]
      const ms = chance.between(-most, most)
      kit.log(`the wall clock of ${name} jumps by ${Math.round(ms)} ms`)
      world.jumpWallClock(name, ms)
      kit.hit('clock jump')
      return true
    },
  }
}
