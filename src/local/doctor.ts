/**
 * `ndfs doctor`: is this machine, and this directory, fit to run a cluster? Each finding says what to do. `ndfs up` asks
 * the same and stops only where it could not work; the rest it prints.
 */
import { closeSync, fdatasyncSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { dirname, join } from 'node:path'
import { formatSize, GiB, KiB } from '../base/units.ts'
import { layoutOf, nodesUsual } from './layout.ts'

export interface Finding {
  readonly check: string
  readonly state: 'ok' | 'warning' | 'fatal'
  /** What was found, and what to do about it. */
  readonly text: string
}

export const nodeVersionMin = '22.13'
/** The longest path that the system takes for a Unix socket, in bytes. */
export const socketPathBytesMax = 107
const freeBytesFatal = 1 * GiB
const freeBytesLow = 16 * GiB
/** Each node: segments of the log, extent groups, connections. */
const openFilesLow = 8192
const openFilesFatal = 512
/** A sync that reaches media takes longer, on the fastest disk with a protected cache as well. */
const syncMicrosecondsMin = 10
const syncsMeasured = 32

export async function doctor(dir: string, nodes = nodesUsual): Promise<Finding[]> {
  const place = await nearestFolder(dir)
  return [
    nodeVersionFinding(process.versions.node),
    processorsFinding(availableParallelism(), nodes),
    freeSpaceFinding(freeBytesOf(place), place),
    await syncFinding(dir, place),
    socketPathFinding(dir, nodes),
    openFilesFinding(await openFilesLimit()),
  ]
}

export function nodeVersionFinding(version: string): Finding {
  const [major, minor] = version.split('.').map(Number)
  const [majorMin, minorMin] = nodeVersionMin.split('.').map(Number)
  const old = major < majorMin || (major === majorMin && minor < minorMin)
  return old
    ? fatal(
        'node',
        `This is Node.js ${version}: ndfs needs ${nodeVersionMin} or newer. Install Node.js 24 (LTS).`,
      )
    : ok('node', `This is Node.js ${version}.`)
}

export function processorsFinding(processors: number, nodes: number): Finding {
  return processors < 2
    ? warning(
        'processors',
        `There is one processor for ${nodes} nodes: expect long stalls. Give the machine two or more.`,
      )
    : ok('processors', `There are ${processors} processors.`)
}

export function freeSpaceFinding(freeBytes: number, place: string): Finding {
  const free = `${formatSize(freeBytes)} are free in ${place}`
  if (freeBytes < freeBytesFatal)
    return fatal('space', `${free}: nothing could be stored. Free some, or name another --dir.`)
  if (freeBytes < freeBytesLow)
    return warning('space', `${free}: disks will be small. Free some, or name another --dir.`)
  return ok('space', `${free}.`)
}

/** What a sync of one written page took, in the middle, in microseconds. */
export function syncTimeFinding(microseconds: number, fileSystem: string): Finding {
  if (fileSystem === 'tmpfs')
    return warning(
      'sync',
      'The directory lies in memory (tmpfs): all data is gone when the machine stops. Good for a trial; else name another --dir.',
    )
  const took = `A sync takes ${microseconds < 1000 ? `${Math.round(microseconds)} µs` : `${(microseconds / 1000).toFixed(1)} ms`}`
  if (microseconds < syncMicrosecondsMin)
    return warning(
      'sync',
      `${took}: too fast to be true. This file system or disk says "done" before it is; a power cut loses acknowledged writes. ` +
        'Mount it without nobarrier or eatmydata, or use a disk that syncs.',
    )
  if (microseconds > 20_000)
    return warning('sync', `${took}: every write waits for one. Use flash, or a disk with a protected cache.`)
  return ok('sync', `${took}.`)
}

export function socketPathFinding(dir: string, nodes: number): Finding {
  const longest = layoutOf(dir).node(`n${nodes}`).nbdSocket
  const bytes = Buffer.byteLength(longest)
  return bytes > socketPathBytesMax
    ? fatal(
        'socket-path',
        `The socket ${longest} has a path of ${bytes} bytes: the system takes ${socketPathBytesMax}. Name a --dir that is ` +
          `${bytes - socketPathBytesMax} bytes shorter.`,
      )
    : ok('socket-path', `The longest socket path has ${bytes} of ${socketPathBytesMax} bytes.`)
}

export function openFilesFinding(limit: number): Finding {
  if (limit < openFilesFatal)
    return fatal(
      'open-files',
      `A process may open ${limit} files: raise it with \`ulimit -Hn ${openFilesLow}\`.`,
    )
  if (limit < openFilesLow)
    return warning(
      'open-files',
      `A process may open ${limit} files: many vDisks or clients will meet that. Raise it with \`ulimit -Hn ${openFilesLow}\`.`,
    )
  return ok('open-files', `A process may open ${limit} files.`)
}

/** The hard limit: Node.js raises its own soft limit to it. */
async function openFilesLimit(): Promise<number> {
  const limits = await readFile('/proc/self/limits', 'utf8').catch(() => '')
  return hardOpenFilesLimitOf(limits)
}

export function hardOpenFilesLimitOf(limits: string): number {
  const hard = /^Max open files\s+\S+\s+(\S+)/m.exec(limits)?.[1]
  return hard === undefined || hard === 'unlimited' ? Infinity : Number(hard)
}

/** The directory itself may not be there yet. */
async function nearestFolder(dir: string): Promise<string> {
  for (let place = dir; ; place = dirname(place)) {
    const found = await stat(place).catch(() => undefined)
    if (found?.isDirectory() || place === dirname(place)) return place
  }
}

function freeBytesOf(place: string): number {
  const { bavail, bsize } = statfsSync(place)
  return bavail * bsize
}

const tmpfsMagic = 0x01021994

async function syncFinding(dir: string, place: string): Promise<Finding> {
  const fileSystem = statfsSync(place).type === tmpfsMagic ? 'tmpfs' : 'other'
  const file = join(place, `.ndfs-doctor-${process.pid}`)
  try {
    return syncTimeFinding(measureSync(file), fileSystem)
  } catch (error) {
    return fatal(
      'sync',
      `Cannot write and sync a file in ${place}: ${(error as Error).message}. Correct its permissions or its disk, or name another --dir than ${dir}.`,
    )
  } finally {
    rmSync(file, { force: true })
  }
}

/** Synchronously: the way through the thread pool would take longer than what is measured. */
function measureSync(file: string): number {
  const page = Buffer.alloc(4 * KiB, 1)
  const fd = openSync(file, 'w')
  try {
    const times = Array.from({ length: syncsMeasured }, (_, index) => {
      writeSync(fd, page, 0, page.length, index * page.length)
      const began = performance.now()
      fdatasyncSync(fd)
      return (performance.now() - began) * 1000
    })
    return times.sort((a, b) => a - b)[syncsMeasured / 2]
  } finally {
    closeSync(fd)
  }
}

const ok = (check: string, text: string): Finding => ({ check, state: 'ok', text })
const warning = (check: string, text: string): Finding => ({ check, state: 'warning', text })
const fatal = (check: string, text: string): Finding => ({ check, state: 'fatal', text })
