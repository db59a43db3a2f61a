/**
 * The store's engine with a door for scenarios: they see each request before it takes effect, and may make it wait
 * (it takes effect late), or its answer (its sender learns late, or never, that it did). Without a hook nothing changes.
 */
import type { StoreEngine } from '../src/local/store/store-engine.ts'

export interface StoreDelay {
  /** The request takes effect when this resolves. */
  readonly request?: Promise<void>
  /** It is answered when this resolves. */
  readonly answer?: Promise<void>
}

export type DelayStoreRequest = (kind: string, body: Buffer) => StoreDelay | undefined

export class DelayingStoreEngine implements StoreEngine {
  readonly #engine: StoreEngine
  readonly #delayOf: DelayStoreRequest
  onZeusChanged: (revision: number) => void = () => undefined

  constructor(engine: StoreEngine, delayOf: DelayStoreRequest) {
    this.#engine = engine
    this.#delayOf = delayOf
    engine.onZeusChanged = (revision) => this.onZeusChanged(revision)
  }

  async run(kind: string, body: Buffer): Promise<Uint8Array> {
    const delay = this.#delayOf(kind, body)
    if (delay === undefined) return this.#engine.run(kind, body)
    // The frame's bytes may be gone by then.
    const kept = Buffer.from(body)
    await delay.request
    const answer = await this.#engine.run(kind, kept)
    await delay.answer
    return answer
  }

  close(): Promise<void> {
    return this.#engine.close()
  }
}
