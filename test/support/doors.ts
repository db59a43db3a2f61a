/**
 * The ways by which a test's own clients get at a vDisk, each held open, and opened again when it was lost: `ndfs connect`'s socket,
 * or one certain node.
 */
import { NbdClient } from './nbd-client.ts'
import { sleep } from './run.ts'

const pauseMs = 100

export class Door {
  readonly name: string
  /** Errors are not to come through it: behind it requests are kept until a node has answered them. */
  readonly isPatient: boolean
  readonly #address: () => string
  readonly #vdisk: string
  #opening: Promise<NbdClient> | undefined
  #open: NbdClient | undefined
  lost = 0

  /** `address`: as of now; a node that was started again may be elsewhere. */
  constructor(name: string, vdisk: string, address: () => string, isPatient = false) {
    this.name = name
    this.#vdisk = vdisk
    this.#address = address
    this.isPatient = isPatient
  }

  /** Undefined where it was stopped before it could be opened: a node that is cut off doesn't even refuse. */
  async enter(stopped: () => boolean): Promise<NbdClient | undefined> {
    while (!stopped()) {
      this.#opening ??= NbdClient.open(this.#address(), this.#vdisk)
      const opening = this.#opening
      const outcome = await Promise.race([opening.catch(() => 'failed' as const), sleep(pauseMs)])
      if (outcome instanceof NbdClient) {
        if (this.#opening === opening) this.#open = outcome
        return outcome
      }
      if (outcome === 'failed') {
        if (this.#opening === opening) this.#opening = undefined
        await sleep(pauseMs)
      }
    }
    return undefined
  }

  /** Called by each whose request was lost with the connection. */
  leave(client: NbdClient): void {
    if (this.#open !== client) return
    this.#open = undefined
    this.#opening = undefined
    this.lost++
    client.close()
  }

  close(): void {
    this.#opening?.then(
      (client) => client.close(),
      () => undefined,
    )
    this.#open = undefined
    this.#opening = undefined
  }
}
