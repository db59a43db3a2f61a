/**
 * The newest session number of everyone who may send a request twice (C10, F3). A request of an older one is refused until it has its
 * place in the vDisk's order. Clients' numbers stand in the vDisk's row before anything of theirs is served: the next owner must know.
 */
import { NdfsError } from '../../base/errors.ts'
import type { Sender } from './vdisk-controller.ts'
import type { VDiskRow } from './vdisk-row.ts'

/** Clients that the row remembers; one that came before so many others has long ended. */
const clientsMax = 64

export class SenderSessions {
  readonly #row: VDiskRow
  readonly #newest = new Map<string, number>()
  /** Clients' numbers on their way to the row. */
  readonly #admitting = new Map<string, Promise<void>>()

  constructor(row: VDiskRow) {
    this.#row = row
    for (const [client, number] of Object.entries(row.state.clients)) this.#newest.set(client, number)
  }

  /** Throws STALE_SESSION where a sender has begun a newer session. */
  assertNewest(senders: readonly Sender[]): void {
    for (const { name, number } of senders) {
      const newest = this.#newest.get(name)
      if (newest === undefined || number > newest) this.#newest.set(name, number)
      else if (number < newest) throw stale(name, number, newest)
    }
  }

  /** Undefined where every client among them stands in the row; else resolves when it does. */
  admitted(senders: readonly Sender[]): Promise<unknown> | undefined {
    const unknown = senders.filter(
      ({ name, number }) =>
        name.startsWith('client/') && (number > (this.#newest.get(name) ?? 0) || this.#admitting.has(name)),
    )
    return unknown.length === 0 ? undefined : Promise.all(unknown.map((sender) => this.admit(sender)))
  }

  async admit({ name, number }: Sender): Promise<void> {
    const newest = this.#newest.get(name) ?? 0
    if (number < newest) throw stale(name, number, newest)
    if (number === newest) return this.#admitting.get(name)
    // In memory first: older requests that have no place yet lose it now. Then in the row, before anything newer is served.
    this.#newest.set(name, number)
    const recorded = this.#record(name, number, newest)
    this.#admitting.set(name, recorded)
    try {
      await recorded
    } finally {
      if (this.#admitting.get(name) === recorded) this.#admitting.delete(name)
    }
  }

  async #record(name: string, number: number, before: number): Promise<void> {
    try {
      await this.#row.update((state) => {
        const others = Object.entries(state.clients).filter(([other]) => other !== name)
        return { ...state, clients: Object.fromEntries([...others.slice(1 - clientsMax), [name, number]]) }
      })
    } catch (error) {
      // The row doesn't say it: whoever tries again must write it.
      if (this.#newest.get(name) === number) this.#newest.set(name, before)
      throw error
    }
  }
}

const stale = (name: string, number: number, newest: number): NdfsError =>
  new NdfsError(
    'STALE_SESSION',
    `This request is of session ${number} of ${name}, which has begun session ${newest}`,
    {
      sender: name,
      number,
      newest,
    },
  )
