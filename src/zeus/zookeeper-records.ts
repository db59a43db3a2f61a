/**
 * What Zeus keeps in ZooKeeper, and where. All of it is JSON, to be read by people with ZooKeeper's own tools.
 *
 *   CHROOT
 *   ├── keys
 *   │   ├── container%2Fvms      {"version":3,"by":"…","value":{…}}       one node a key, on one level: its name is the key, encoded as in URLs
 *   │   ├── owner%2F7            {"version":1,"by":"…","value":{…}}
 *   │   └── session%2Fn1         {"version":9,"by":"…","value":{…}}       ends with the session in ZooKeeper of the node (ephemeral)
 *   ├── counters
 *   │   └── vdisk                what it counts from, empty for 0: with the version of its data it is the number that was given last
 *   └── floor                    {"version":5,"sessionVersion":9,"epoch":4,"by":"…"}
 *
 * `version` is Zeus's own, since ZooKeeper's begins again with each node that is made. `by` names the call that made the change, so that
 * a caller whose connection broke finds out whether it did. Where there is no key, the floor speaks for those that were:
 *
 *  1. No key that is not there had a version above `floor.version`, or `floor.sessionVersion` if it shows a session; one that is made begins above it.
 *  2. No owner that is not there had an epoch above `floor.epoch`.
 *  3. So a key is removed in one step with the floor's rise, made in one step with a check that the floor stands, and a session's key, which
 *     ZooKeeper removes by itself, takes the floor along with each of its versions.
 */
import type { Found } from './zookeeper-client.ts'

export interface KeyRecord {
  readonly version: number
  readonly by: string
  readonly value: unknown
}

export interface Floor {
  readonly version: number
  readonly sessionVersion: number
  readonly epoch: number
  readonly by: string
}

export const floorAtFirst: Floor = { version: 0, sessionVersion: 0, epoch: 0, by: '' }

export class Layout {
  readonly keys: string
  readonly counters: string
  readonly floor: string
  /** All that has to be there, those above first. */
  readonly folders: readonly string[]

  /** @param chroot begins with `/` and doesn't end with it */
  constructor(chroot: string) {
    this.keys = `${chroot}/keys`
    this.counters = `${chroot}/counters`
    this.floor = `${chroot}/floor`
    const steps = chroot.split('/').slice(1)
    const above = steps.map((_, i) => `/${steps.slice(0, i + 1).join('/')}`)
    this.folders = [...above, this.keys, this.counters]
  }

  pathOf(key: string): string {
    return `${this.keys}/${nameOf(key)}`
  }

  pathOfCounter(counter: string): string {
    return `${this.counters}/${nameOf(counter)}`
  }

  /** Undefined for what is no key. */
  keyOf(path: string): string | undefined {
    return path.startsWith(`${this.keys}/`) ? keyOfName(path.slice(this.keys.length + 1)) : undefined
  }
}

/** ZooKeeper has no node of the name `.` or `..`, so that no dot stays. */
const nameOf = (key: string): string => encodeURIComponent(key.toWellFormed()).replaceAll('.', '%2E')

export const keyOfName = (name: string): string => decodeURIComponent(name)

export const bytesOf = (record: KeyRecord | Floor): Buffer => Buffer.from(JSON.stringify(record))
export const recordOf = ({ data }: Found): KeyRecord => JSON.parse(data.toString()) as KeyRecord
export const floorOf = ({ data }: Found): Floor => JSON.parse(data.toString()) as Floor

/** What a counter counts from: it is more than 0 where its first numbers were given by another Zeus. */
export const baseBytes = (base: number): Buffer => Buffer.from(base === 0 ? '' : String(base))
export const baseIn = ({ data }: Found): number => (data.length === 0 ? 0 : Number(data.toString()))

export const isSession = (key: string): boolean => key.startsWith('session/')

/** The version that this key begins above where it isn't there. */
export const floorFor = (key: string, { version, sessionVersion }: Floor): number =>
  isSession(key) ? sessionVersion : version

/** The floor that stands when this key is gone, which had that version and, if it shows an owner, that epoch. */
export function floorAbove(floor: Floor, key: string, version: number, epoch: number, by: string): Floor {
  return {
    version: isSession(key) ? floor.version : Math.max(floor.version, version),
    sessionVersion: isSession(key) ? Math.max(floor.sessionVersion, version) : floor.sessionVersion,
    epoch: Math.max(floor.epoch, epoch),
    by,
  }
}
