/**
 * The node's session in Zeus: that it lives, and what its disks are like.
 *
 *  1. It is opened until it is open, and again whenever it was lost.
 *  2. What it shows is what the node said last, in the end: a change is told until Zeus has heard it. A disk that failed
 *     while nobody could be told would else count as one that holds its copies, for as long as the node runs.
 */
import { messageOf, NdfsError } from './base/errors.ts'
import type { Incarnation, NodeId } from './base/ids.ts'
import type { Clock, Log } from './platform/platform.ts'
import type { Session, SessionValue, Zeus } from './zeus/zeus.ts'

export interface NodeSessionOptions {
  readonly clock: Clock
  readonly log: Log
  readonly zeus: Pick<Zeus, 'openSession'>
  readonly node: NodeId
  readonly incarnation: Incarnation
  /** What the session shows, as it is now. */
  readonly value: () => SessionValue
  /** To be done each time before it is opened. Rejects with a removed node's error where it must not be opened. */
  readonly prepare: () => Promise<void>
  /** It was lost, and `prepare` said that the node is a member no longer. */
  readonly refused: () => void
}

/** Between attempts to be heard. */
const retryMs = 500

export class NodeSession {
  readonly #options: NodeSessionOptions
  #session: Session | undefined
  #closing = false
  /** Changes of the value, and how many of them Zeus has heard. */
  #changes = 0
  #heard = 0
  #telling = false

  constructor(options: NodeSessionOptions) {
    this.#options = options
  }

  /**
   * Resolves when the session is open, however long Zeus can't be reached.
   * @throws what `prepare` throws of a removed node, the first time
   */
  async open(): Promise<void> {
    const { clock, log, zeus, node, incarnation } = this.#options
    for (;;) {
      try {
        await this.#options.prepare()
        const changes = this.#changes
        const session = await zeus.openSession(node, incarnation, this.#options.value())
        this.#session = session
        if (this.#closing) return await session.end().catch(() => undefined)
        session.onLost = (reason) => {
          if (this.#closing) return
          log.warn('the session in Zeus was lost and is opened again', { reason })
          void this.open()
        }
        this.#heard = changes
        void this.#tell()
        return
      } catch (error) {
        if (this.#closing) return
        if (!(error instanceof NdfsError)) throw error
        if (error.facts.removed === true) {
          if (this.#session === undefined) throw error
          return this.#options.refused()
        }
        log.warn('Zeus cannot be reached yet', { reason: messageOf(error) })
        await clock.sleep(retryMs)
      }
    }
  }

  /** The value is another now: Zeus will hear it, through this session or the next. */
  changed(): void {
    this.#changes++
    void this.#tell()
  }

  /** Ends it in order, if Zeus can be reached; else it runs out. */
  async end(): Promise<void> {
    this.#closing = true
    await this.#session?.end().catch(() => undefined)
  }

  async #tell(): Promise<void> {
    if (this.#telling) return
    this.#telling = true
    const { clock, log, value } = this.#options
    while (this.#heard < this.#changes && this.#session?.alive === true && !this.#closing) {
      const [session, changes] = [this.#session, this.#changes]
      try {
        await session.update(value())
        if (session === this.#session) this.#heard = changes
      } catch (error) {
        if (!(error instanceof NdfsError)) throw error
        log.warn('what became of a disk could not be told yet', { reason: messageOf(error) })
        await clock.sleep(retryMs)
      }
    }
    this.#telling = false
  }
}
