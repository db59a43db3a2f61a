/**
 * I6: a disk that failed a write or a sync is out of service: in the life of the process that was told so, no write and no sync
 * begins on it any more. What was under way may end. (That no acknowledgement counts on it is I1's.)
 */
import { tierOfPath } from './disk-paths.ts'

/** No room is no failure: the disk goes on, unless a sync finds it out. */
const noRoom = ['ENOSPC', 'EDQUOT']

export class FailedDisks {
  /** By process and disk: when the process was told, and of what. */
  readonly #failed = new Map<string, { readonly at: number; readonly what: string }>()

  /** A process (one life of a node) is told that an operation of it failed. */
  failed(process: string, kind: string, path: string, code: string, now: number): void {
    const tier = tierOfPath(path)
    if (tier === undefined || !changes(kind) || (kind === 'write' && noRoom.includes(code))) return
    const key = `${process} ${tier}`
    if (!this.#failed.has(key))
      this.#failed.set(key, { at: now, what: `a ${kind} of ${path} failed with ${code}` })
  }

  /** An operation begins. */
  began(process: string, kind: string, path: string, now: number): string | undefined {
    if (this.#failed.size === 0 || !changes(kind)) return undefined
    const tier = tierOfPath(path)
    const failed = tier === undefined ? undefined : this.#failed.get(`${process} ${tier}`)
    // At that very instant others may not have heard of it yet.
    if (failed === undefined || now <= failed.at) return undefined
    return `${process} began a ${kind} of ${path}, though ${failed.what} ${(now - failed.at).toFixed(4)} ms before`
  }
}

const changes = (kind: string): boolean => kind === 'write' || kind === 'sync'
