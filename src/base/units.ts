/**
 * Sizes, and numbers that know what they count.
 *
 * An offset in a vDisk, in an extent group and on a disk are three things. Each has a type of its own that costs
 * nothing at run time; a mix-up is a compile error. Conversions live here.
 */
declare const unit: unique symbol
export type Tagged<Base, Name extends string> = Base & { readonly [unit]: Name }

export const KiB = 1024
export const MiB = 1024 * KiB
export const GiB = 1024 * MiB
export const TiB = 1024 * GiB

/** The unit of checksum, of the map and of the cache. */
export const pageBytes = 4 * KiB
/** A row of the map covers this much of a vDisk's address space. */
export const vBlockBytes = 1 * MiB
export const pagesPerVBlock = vBlockBytes / pageBytes
/** An extent group holds at most this much data. */
export const groupBytesMax = 4 * MiB
export const pagesPerGroupMax = groupBytesMax / pageBytes
/** One partition of the map covers this much of a vDisk's address space. */
export const mapPartitionBytes = 1 * GiB
export const vBlocksPerPartition = mapPartitionBytes / vBlockBytes

/** A duration or a reading of the monotonic clock, in milliseconds, with fractions. */
export type Millis = Tagged<number, 'Millis'>
/** Bytes from the start of a vDisk. */
export type VDiskOffset = Tagged<number, 'VDiskOffset'>
/** Pages from the start of a vDisk. */
export type VDiskPage = Tagged<number, 'VDiskPage'>
/** Pages from the start of an extent group. */
export type GroupPage = Tagged<number, 'GroupPage'>

export const millis = (value: number): Millis => value as Millis
export const vDiskOffset = (value: number): VDiskOffset => value as VDiskOffset
export const groupPage = (value: number): GroupPage => value as GroupPage
export const vDiskPage = (value: number): VDiskPage => value as VDiskPage
export const pageOf = (offset: VDiskOffset): VDiskPage => Math.floor(offset / pageBytes) as VDiskPage
export const offsetOf = (page: VDiskPage): VDiskOffset => (page * pageBytes) as VDiskOffset

export const roundUp = (value: number, step: number): number => Math.ceil(value / step) * step
export const roundDown = (value: number, step: number): number => Math.floor(value / step) * step

const sizeUnits: Record<string, number> = {
  '': 1,
  b: 1,
  k: KiB,
  kib: KiB,
  m: MiB,
  mib: MiB,
  g: GiB,
  gib: GiB,
  t: TiB,
  tib: TiB,
}

/** Reads `20GiB`, `512 KiB`, `4096` or `20G` (binary units, as QEMU does); `undefined` for anything else. */
export function parseSize(text: string): number | undefined {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/i.exec(text)
  if (!match) return undefined
  const factor = sizeUnits[match[2].toLowerCase()]
  const bytes = factor === undefined ? Number.NaN : Number(match[1]) * factor
  return Number.isSafeInteger(bytes) ? bytes : undefined
}

/** Reads `30s`, `3m`, `2h`, or seconds alone, as milliseconds; `undefined` for anything else. */
export function parseDuration(text: string): number | undefined {
  const match = /^(\d{1,12})(s|m|h)?$/.exec(text)
  if (!match) return undefined
  return Number(match[1]) * (match[2] === 'h' ? 3_600_000 : match[2] === 'm' ? 60_000 : 1000)
}

/** Writes a size as users write it: the largest binary unit, at most two digits behind the point. */
export function formatSize(bytes: number): string {
  for (const [name, factor] of [
    ['TiB', TiB],
    ['GiB', GiB],
    ['MiB', MiB],
    ['KiB', KiB],
  ] as const)
    if (bytes >= factor) return `${Number((bytes / factor).toFixed(2))}${name}`
  return `${bytes}B`
}
