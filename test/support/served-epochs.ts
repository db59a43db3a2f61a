/**
 * Who served which vDisk in which epoch, by what each process wrote into its log when it began to. A process that is killed may
 * take its last lines along: what it served so shortly is seen in the answers of nodes alone.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Cluster } from './cluster.ts'

export interface Served {
  readonly vdisk: string
  readonly epoch: number
  readonly node: string
  readonly at: string
}

interface LogLine {
  readonly time: string
  readonly msg: string
  readonly epoch?: number
}

export function servedEpochs(cluster: Cluster): Served[] {
  return cluster.nodes.flatMap(({ id }) =>
    ['.old', ''].flatMap((ending) => {
      const path = join(cluster.dir, 'log', `${id}.log${ending}`)
      return existsSync(path) ? servedIn(readFileSync(path, 'utf8'), id) : []
    }),
  )
}

export function servedIn(log: string, node: string): Served[] {
  return log.split('\n').flatMap((line) => {
    if (!line.includes('is served here')) return []
    const { time, msg, epoch } = parse(line)
    const vdisk = /^vDisk (\d+) /.exec(msg ?? '')?.[1]
    return vdisk === undefined || epoch === undefined || time === undefined
      ? []
      : [{ vdisk, epoch, node, at: time }]
  })
}

/** The last line of a process that was killed may be half a line. */
function parse(line: string): Partial<LogLine> {
  try {
    return JSON.parse(line) as LogLine
  } catch {
    return {}
  }
}

/** Two processes that served one vDisk in one epoch; undefined: none did (I4). */
export function servedTwice(served: readonly Served[]): readonly Served[] | undefined {
  const byEpoch = Map.groupBy(served, ({ vdisk, epoch }) => `${vdisk}/${epoch}`)
  return [...byEpoch.values()].find((same) => same.length > 1)
}
