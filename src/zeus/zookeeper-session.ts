/**
 * A node's session, as the node keeps it: the key that shows it ends with the session in ZooKeeper, which the connection keeps alive.
 *
 * It believes itself alive for as long as ZooKeeper can't have ended it (`provenUntil`), by the node's own clock. A process that was frozen
 * finds that time passed when it thaws, before it hears anything. When it is over so, the session in ZooKeeper is given up as well, and
 * with it the key: what is lost is lost for all.
 */
//  alive → lost    the time is over, or ZooKeeper has ended it, or the key is gone or another's   [look, #lose]
//  alive → ended   in order, or left to run out                                                   [end, abandon]
import { hasCode } from '../base/errors.ts'
import type { Clock } from '../platform/platform.ts'
import type { ZooKeeperConnection } from './zookeeper-connection.ts'
import type { Claimant } from './zeus-requests.ts'
import { sessionKey } from './zeus-requests.ts'
import type { Session, Watch, Versioned } from './zeus.ts'
import { sessionTimeoutMs } from './zeus.ts'

export interface ZooKeeperSessionOptions {
  readonly name: Claimant
  /** The session in ZooKeeper that its key ends with. */
  readonly within: string
  readonly connection: ZooKeeperConnection
  readonly clock: Clock
  readonly watch: (prefix: string, onChange: (key: string, now: Versioned | undefined) => void) => Watch
  /** Rejects with NOT_FOUND where the key isn't its own any more. */
  readonly update: (value: unknown) => Promise<void>
  readonly remove: () => Promise<void>
  readonly onOver: (session: ZooKeeperSession) => void
}

export class ZooKeeperSession implements Session {
  onLost: (reason: string) => void = () => {}
  readonly #options: ZooKeeperSessionOptions
  readonly #watch: Watch
  #state: 'alive' | 'lost' | 'ended' = 'alive'

  constructor(options: ZooKeeperSessionOptions) {
    this.#options = options
    const { name, watch } = options
    const key = sessionKey(name.node)
    this.#watch = watch(key, (changed, now) => {
      if (changed !== key) return
      const { incarnation } = (now?.value ?? {}) as Partial<Claimant>
      if (incarnation !== name.incarnation)
        this.#lose(now ? 'a newer incarnation has opened its own' : 'it was ended')
    })
    // By the clock it may be over before anybody heard that it was opened.
    options.clock.soon(() => this.look())
  }

  get alive(): boolean {
    return this.#state === 'alive' && this.#isProven()
  }

  async update(value: unknown): Promise<void> {
    try {
      await this.#options.update(value)
    } catch (error) {
      if (hasCode(error, 'NOT_FOUND')) this.#lose('it was ended')
      throw error
    }
  }

  async end(): Promise<void> {
    this.#stop('ended')
    await this.#options.remove()
  }

  /** It ends with the session in ZooKeeper. */
  abandon(): void {
    this.#stop('ended')
  }

  /** Finds out whether it is lost: to be called often. */
  look(): void {
    const { connection, within } = this.#options
    if (this.#state !== 'alive' || this.#isProven()) return
    const stands = connection.sessionId === within
    this.#lose(stands ? `ZooKeeper was not heard for ${sessionTimeoutMs} ms` : 'ZooKeeper has ended it')
    // As long as that session lasts the key would stay.
    if (stands) connection.renew()
  }

  #isProven(): boolean {
    const { connection, within, clock } = this.#options
    return connection.sessionId === within && clock.now() < connection.provenUntil
  }

  #lose(reason: string): void {
    if (this.#state !== 'alive') return
    this.#stop('lost')
    this.onLost(`Session of ${this.#options.name.node} lost: ${reason}`)
  }

  #stop(state: 'lost' | 'ended'): void {
    if (this.#state !== 'alive') return
    this.#state = state
    this.#watch.stop()
    this.#options.onOver(this)
  }
}
