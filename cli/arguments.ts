/** What people write on the command line, read or refused (exit code 2). */
import { InvalidArgumentError } from 'commander'
import { isIP } from 'node:net'
import { parseDuration, parseSize } from '../src/base/units.ts'
import type { DiskWish, ListenWish } from '../src/local/local.ts'
import { nodeIdPattern } from '../src/management/management.ts'

export function sizeArgument(text: string): number {
  const bytes = parseSize(text)
  if (bytes === undefined) throw new InvalidArgumentError('Write a size such as 20GiB, 512MiB or 4096.')
  return bytes
}

export const countArgument =
  (least: number, most: number) =>
  (text: string): number => {
    const count = /^\d+$/.test(text) ? Number(text) : Number.NaN
    if (!(count >= least && count <= most))
      throw new InvalidArgumentError(`Write a whole number from ${least} to ${most}.`)
    return count
  }

export function diskArgument(text: string, before: readonly DiskWish[] = []): readonly DiskWish[] {
  const match = /^(flash|hdd):(.+)$/.exec(text)
  const capacityBytes = match === null ? undefined : parseSize(match[2])
  if (match === null || capacityBytes === undefined)
    throw new InvalidArgumentError('Write a tier and a size, such as flash:10GiB or hdd:40GiB.')
  return [...before, { tier: match[1] as DiskWish['tier'], capacityBytes }]
}

export function listenArgument(text: string, before: readonly ListenWish[] = []): readonly ListenWish[] {
  const match = /^([^=]+)=(.+)$/.exec(text)
  if (match === null || isIP(match[2]) !== 4)
    throw new InvalidArgumentError('Write a name and an address, such as n1=192.0.2.1 or store=192.0.2.9.')
  return [...before, { name: match[1], address: match[2] }]
}

export interface VDiskArgument {
  readonly container: string
  readonly name: string
}

export function vDiskArgument(text: string): VDiskArgument {
  const [container, name, ...rest] = text.split('/')
  if (!container || !name || rest.length > 0)
    throw new InvalidArgumentError('Write CONTAINER/NAME, such as vms/disk1.')
  return { container, name }
}

export function blockArgument(text: string): string {
  if (!new RegExp(nodeIdPattern).test(text))
    throw new InvalidArgumentError('Write small letters, digits and -, such as b1 or rack-7.')
  return text
}

/** `14d`, `12h`, `30m`, `90s`; `off` is 0. */
export function periodArgument(text: string): number {
  const match = /^(\d+)(s|m|h|d)$/.exec(text)
  const seconds = match === null ? 0 : Number(match[1]) * { s: 1, m: 60, h: 3600, d: 86_400 }[match[2]]!
  if (text === 'off') return 0
  if (seconds < 1 || seconds > 365 * 86_400)
    throw new InvalidArgumentError('Write a time such as 14d, 12h or 30m, at most 365d; or off.')
  return seconds
}

/** `30s`, `3m`, `2h`, or seconds alone. */
export function durationArgument(text: string): number {
  const milliseconds = parseDuration(text)
  if (milliseconds === undefined) throw new InvalidArgumentError('Write a time such as 180s, 3m or 2h.')
  return milliseconds
}
