/** Which curves there are, and their points. What a curve does not say is as in `usual`. */
import { freemem } from 'node:os'
import { formatSize, GiB, MiB, parseSize } from '../../src/base/units.ts'
import type { Setup } from './measure-point.ts'

export interface Curve {
  readonly title: string
  /** Over what it goes, as in `--points`. */
  readonly points: readonly string[]
  readonly setup: (point: string) => Partial<Setup>
}

export const usual: Setup = {
  nodes: 3,
  vdiskBytes: 4 * GiB,
  areaBytes: 1 * GiB,
  overwrites: 'not filled',
  otherVDisks: 0,
  cacheBytes: 1 * GiB,
  operations: 20_000,
}

const bytes = (point: string): number => {
  const size = parseSize(point)
  if (size === undefined) throw new Error(`${point} is no size: write 1GiB, 4TiB`)
  return size
}
const count = (point: string): number => {
  const number = Number(point)
  if (!Number.isInteger(number) || number < 1) throw new Error(`${point} is no number of things`)
  return number
}

const sizes = ['1GiB', '16GiB', '256GiB', '4TiB']
/** A cache that is full takes as much memory, once: in the owner. Half of what is free is left to all else. */
const caches = ['256MiB', '512MiB', '1GiB', '2GiB', '4GiB', '8GiB'].filter(
  (size) => bytes(size) < freemem() / 2,
)

export const curves: Readonly<Record<string, Curve>> = {
  size: {
    title: 'size of the vDisk, thin; 1 GiB at its end is used',
    points: sizes,
    setup: (point) => ({ vdiskBytes: bytes(point) }),
  },
  scattered: {
    title:
      'size of the vDisk, thin; all of it is used, so that from 256 GiB on each write is the only one in its row of the map',
    points: sizes,
    setup: (point) => ({ vdiskBytes: bytes(point), areaBytes: bytes(point) }),
  },
  vdisks: {
    title: 'number of vDisks; one is measured, the others are open and quiet',
    points: ['1', '10', '100', '1000'],
    setup: (point) => ({ otherVDisks: count(point) - 1 }),
  },
  overwrites: {
    title: 'fragmentation: how often a vDisk of 256 MiB was overwritten at random',
    points: ['1', '4', '16'],
    setup: (point) => ({ vdiskBytes: 256 * MiB, areaBytes: 256 * MiB, overwrites: count(point) }),
  },
  cache: {
    title: 'extent cache; the working set is 1 GiB, all of it written, 200,000 reads at random',
    points: caches,
    setup: (point) => ({ cacheBytes: bytes(point), overwrites: 0, operations: 200_000 }),
  },
  nodes: {
    title: 'number of nodes on this machine',
    points: ['3', '6', '9', '12'],
    setup: (point) => ({ nodes: count(point) }),
  },
}

export const shownSetup = (setup: Setup): string =>
  `${setup.nodes} nodes, ${formatSize(setup.vdiskBytes)} vDisk, ${formatSize(setup.areaBytes)} of it used, cache ${formatSize(setup.cacheBytes)}, ` +
  `${setup.operations} writes and reads`
