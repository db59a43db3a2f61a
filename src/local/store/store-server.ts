/**
 * The machine's store as nodes see it: Zeus and Medusa behind the peer protocol. It forwards bytes to the engine and
 * keeps what needs a clock: sessions (zeus-sessions.ts) and held requests for changes (zeus-polls.ts).
 *
 * It touches no file and no socket, so that the simulator runs it too.
 */
import { decodeControl, encodeControl } from '../../base/control.ts'
import type { MedusaKind } from '../../medusa/medusa-requests.ts'
import type { Peers } from '../../peer/peer.ts'
import type { Platform } from '../../platform/platform.ts'
import type { Claimant, ZeusAnswer, ZeusAsks, ZeusKind } from '../../zeus/zeus-requests.ts'
import type { StoreEngine } from './store-engine.ts'
import { ZeusPolls } from './zeus-polls.ts'
import { ZeusSessions } from './zeus-sessions.ts'

/** Requests that go to the engine as they are, and whose answers come back as they are. */
const forwarded: readonly (ZeusKind | MedusaKind)[] = [
  'zeus.get',
  'zeus.list',
  'zeus.set',
  'zeus.delete',
  'zeus.next',
  'zeus.claim',
  'zeus.release',
  'zeus.update-session',
  'medusa.get',
  'medusa.scan',
  'medusa.get-of-many',
  'medusa.change',
]

export class StoreServer {
  readonly #engine: StoreEngine
  readonly #log: Platform['log']
  readonly #sessions: ZeusSessions
  readonly #polls: ZeusPolls

  /** Reads which sessions there are and registers the handlers: only then may `peers` listen. */
  static async start(
    peers: Peers,
    engine: StoreEngine,
    platform: Pick<Platform, 'clock' | 'log'>,
  ): Promise<StoreServer> {
    const server = new StoreServer(engine, platform)
    const found = await engine.run('zeus.sessions', encodeControl({}))
    for (const session of decodeControl<ZeusAnswer<'zeus.sessions'>>(found).sessions)
      server.#sessions.opened(session)
    server.#register(peers)
    return server
  }

  private constructor(engine: StoreEngine, { clock, log }: Pick<Platform, 'clock' | 'log'>) {
    this.#engine = engine
    this.#log = log
    this.#sessions = new ZeusSessions(clock, (session) => void this.#expire(session))
    this.#polls = new ZeusPolls(engine, clock)
    engine.onZeusChanged = (revision) => this.#polls.changed(revision)
  }

  /** Held requests are answered, and no session ends any more: the next start gives each the whole timeout. */
  close(): void {
    this.#sessions.close()
    this.#polls.close()
  }

  #register(peers: Peers): void {
    for (const kind of forwarded)
      peers.handle(kind, 'terminal', async ({ body }) => [await this.#engine.run(kind, body)])
    peers.handle('zeus.open-session', 'terminal', async ({ body }) => {
      const answer = await this.#engine.run('zeus.open-session', body)
      this.#sessions.opened(decodeControl<ZeusAsks<'zeus.open-session'>>(body))
      return [answer]
    })
    peers.handle('zeus.end-session', 'terminal', async ({ body }) => {
      const answer = await this.#engine.run('zeus.end-session', body)
      this.#sessions.ended(decodeControl<ZeusAsks<'zeus.end-session'>>(body))
      return [answer]
    })
    peers.handle('zeus.heartbeat', 'terminal', ({ body }) => {
      const alive = this.#sessions.heard(decodeControl<ZeusAsks<'zeus.heartbeat'>>(body))
      return [encodeControl({ alive } satisfies ZeusAnswer<'zeus.heartbeat'>)]
    })
    peers.handle('zeus.changes', 'terminal', async ({ body }) => [await this.#polls.poll(body)])
  }

  async #expire(session: Claimant): Promise<void> {
    this.#log.info('the session of a node ran out', session)
    try {
      await this.#engine.run('zeus.end-session', encodeControl(session))
      this.#sessions.ended(session)
    } catch (error) {
      this.#log.warn('could not end a session that ran out', { ...session, error })
      this.#sessions.notEnded(session)
    }
  }
}
