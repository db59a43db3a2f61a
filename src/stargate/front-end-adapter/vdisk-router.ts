/**
 * Opens vDisks by name and carries each request to the owner, whoever that is at the moment (DESIGN 5.1).
 *
 *   here ────────────────────────────────▶ vDisk controller
 *   another node, which lives ───────────▶ forwarded, under its epoch and our session number
 *   nobody, gone, or silent (M16) ───────▶ claimed here, then as the first; where this node shall own nothing, by another
 *
 * A request whose outcome is unknown is repeated under a new session number: the owner refuses what it still has of older ones.
 */
import { assert } from '../../base/assert.ts'
import { decodeControl, encodeControl } from '../../base/control.ts'
import { hasCode, messageOf, NdfsError } from '../../base/errors.ts'
import type { Epoch, NodeId, VDiskId } from '../../base/ids.ts'
import { takeLarge } from '../../base/large-buffers.ts'
import type { VDiskOffset } from '../../base/units.ts'
import type { Peers } from '../../peer/peer.ts'
import type { Platform } from '../../platform/platform.ts'
import type { Owner } from '../../zeus/zeus.ts'
import {
  lendBytesMin,
  type ClientSession,
  type Exports,
  type Maybe,
  type OpenVDisk,
  type Run,
  type VDiskNow,
} from '../io/io.ts'
import type { HostedVDisk, Sender, VDiskController } from '../vdisk-controller/vdisk-controller.ts'
import { decodeAnswer, encodeAsk, encodeForward } from './forwarding.ts'
import type { Locations } from './front-end-adapter.ts'
import { clientSender, OwnerDoor } from './owner-door.ts'

export interface RouterOptions {
  readonly platform: Platform
  readonly node: NodeId
  readonly peers: Peers
  readonly controller: VDiskController
  readonly locations: Locations
  /** After so long a request that found no owner fails. Longer than a write may wait for its copies. */
  readonly requestWaitMaxMs: number
  /** Has another node own the vDisk, where this one shall not; false where it may. Left out: it always may. */
  readonly sendHome?: (vdisk: VDiskId) => Promise<boolean>
  /** Left out: each may. */
  readonly mayOwn?: (node: NodeId) => boolean
}

/** An owner that hasn't answered for so long is asked whether it lives (M16). */
const firstLookMs = 1500
/** One that lives answers that within this. */
const probeMs = 1000
/** Where it does, and the request waits for something else, it is asked again so much later; and it has as long to hand over. */
const silentMs = 5000
/** Other nodes that are asked whether they hear it. */
const witnessesMax = 3
/** Between two looks at who owns a vDisk, where nothing was heard in between. */
const lookAgainMs = 100

/** A request to an owner, here or elsewhere. */
interface Request<T> {
  readonly kind: string
  readonly offset: number
  readonly length: number
  readonly runsMax?: number
  readonly payload?: Buffer
  /** `again`: the request was begun before, here or elsewhere, and what came of that is not known. */
  readonly here: (vdisk: HostedVDisk, senders: readonly Sender[], again: boolean) => Maybe<T>
  readonly answer: (payload: Buffer) => T
}

export class VDiskRouter implements Exports {
  readonly #options: RouterOptions
  readonly door: OwnerDoor
  /** Our session number for each vDisk: it grows whenever a request of ours may have been left somewhere. */
  readonly #sessions = new Map<VDiskId, number>()
  readonly #opens = new Map<VDiskId, number>()

  constructor(options: RouterOptions) {
    this.#options = options
    const { platform, node, peers, controller, mayOwn } = options
    this.door = new OwnerDoor(platform, node, peers, controller, mayOwn)
    options.peers.handle('vdisk.witness', 'forward', async (request) => {
      const { vdisk, epoch, owner } = decodeControl<{ vdisk: VDiskId; epoch: Epoch; owner: NodeId }>(
        request.body,
      )
      // One that answers that it isn't the owner is heard, too.
      const hears = await this.#answers(vdisk, { node: owner, epoch }, probeMs).catch(() => true)
      return [encodeControl(hears)]
    })
    options.peers.handle('vdisk.ask-hand-over', 'forward', async (request) => {
      const { vdisk, epoch, owner, to } = decodeControl<{
        vdisk: VDiskId
        epoch: Epoch
        owner: NodeId
        to: NodeId
      }>(request.body)
      await options.peers.call(owner, 'vdisk.hand-over', [encodeControl({ vdisk, epoch, to })], {
        lane: 'forward',
        timeoutMs: silentMs,
      })
      return []
    })
  }

  async list(): Promise<readonly string[]> {
    return this.#options.locations.names()
  }

  async open(name: string, session?: ClientSession): Promise<OpenVDisk> {
    const id = await this.#options.locations.vdiskNamed(name)
    if (id === undefined)
      throw new NdfsError(
        'NOT_FOUND',
        `There is no vDisk ${name}. \`ndfs vdisk list\` shows those that are`,
        { name },
      )
    try {
      return await this.openById(id, session)
    } catch (error) {
      if (!hasCode(error, 'NOT_FOUND')) throw error
      const now = await this.#options.locations.vdiskNamedNow(name)
      if (now === undefined || now === id) throw error
      return this.openById(now, session)
    }
  }

  /** As `open`, of a vDisk whose id is known for certain. */
  async openById(id: VDiskId, session?: ClientSession): Promise<RoutedVDisk> {
    const vdisk = new RoutedVDisk(this, this.#options.controller, id, session, () => this.#opened(id, -1))
    await vdisk.opened()
    this.#opened(id, 1)
    return vdisk
  }

  /** How many connections of this node's guests have the vDisk open. */
  opens(vdisk: VDiskId): number {
    return this.#opens.get(vdisk) ?? 0
  }

  #opened(vdisk: VDiskId, by: number): void {
    const count = this.opens(vdisk) + by
    if (count > 0) this.#opens.set(vdisk, count)
    else this.#opens.delete(vdisk)
  }

  /** Resizes wherever the owner is. */
  async resize(vdisk: VDiskId, sizeBytes: number): Promise<void> {
    await this.run(vdisk, undefined, {
      kind: 'vdisk.resize',
      offset: 0,
      length: sizeBytes,
      here: (hosted, senders) => hosted.resize(sizeBytes, senders),
      answer: () => undefined,
    })
  }

  /** Deletes wherever the owner is; also resolves where it was deleted before. The caller then removes the name. */
  async delete(vdisk: VDiskId): Promise<void> {
    await this.run(vdisk, undefined, {
      kind: 'vdisk.delete',
      offset: 0,
      length: 0,
      here: (hosted) => this.#options.controller.delete(hosted.id),
      answer: () => undefined,
    }).catch((error: unknown) => {
      // Deleted by an earlier try.
      if (!hasCode(error, 'NOT_FOUND')) throw error
    })
  }

  /** Runs the request where the vDisk is owned; resolves to its answer, and the vDisk as it was then. */
  async run<T>(
    vdisk: VDiskId,
    client: ClientSession | undefined,
    request: Request<T>,
  ): Promise<{ result: T; now: VDiskNow }> {
    const { platform, controller, requestWaitMaxMs } = this.#options
    const giveUpAt = platform.clock.now() + requestWaitMaxMs
    const refusals = new Refusals()
    let reason: unknown
    for (let again = false; ; again = true) {
      try {
        const hosted = controller.hosted(vdisk)
        if (hosted !== undefined) {
          this.door.local(hosted)
          const result = await request.here(hosted, clientSender({ client }), again)
          return { result, now: { sizeBytes: hosted.sizeBytes, modifiedAt: hosted.modifiedAt } }
        }
        const owner = this.#servingOwner(vdisk)
        if (owner !== undefined) {
          refusals.aim(owner)
          return await this.#forward(vdisk, owner, client, request)
        }
        await this.#claim(vdisk, giveUpAt)
      } catch (error) {
        // It lives, answers, and doesn't own what Zeus says that it owns: nobody serves the vDisk (M16).
        if (hasCode(error, 'NOT_OWNER') && refusals.longerThan(refusalsMs, platform.clock.now()))
          await controller.claim(vdisk, 'no-service').catch(ignoreNdfsError)
        // A connection that breaks at once, again and again, is as silent as one that hangs.
        if (hasCode(error, 'PEER_UNREACHABLE') && refusals.longerThan(firstLookMs, platform.clock.now()))
          await this.#proveSilence(vdisk, refusals.begunAnew(), () => false).catch(ignoreNdfsError)
        if (!isWorthRepeating(error, client)) throw error
        // A takeover that we did not see the end of says less than the one before, which failed.
        if (reason === undefined || !(error instanceof NotTakenOverYet)) reason = error
        if (platform.clock.now() >= giveUpAt)
          throw new NdfsError(
            'UNAVAILABLE',
            `Cannot reach vDisk ${vdisk} for ${requestWaitMaxMs} ms: ${messageOf(reason)}`,
            { vdisk },
            { cause: reason },
          )
        // What was sent may be under way somewhere: it must not take effect after its repetition did.
        this.#sessions.set(vdisk, this.#session(vdisk) + 1)
        await this.#lookAgain()
      }
    }
  }

  #session(vdisk: VDiskId): number {
    return this.#sessions.get(vdisk) ?? 1
  }

  /** The owner, where it is another node that lives and has not given the vDisk up. */
  #servingOwner(vdisk: VDiskId): Owner | undefined {
    const { locations, node } = this.#options
    const owner = locations.owner(vdisk)
    if (owner === undefined || owner.released === true || owner.node === node) return undefined
    return locations.lives(owner.node, owner.incarnation) ? owner : undefined
  }

  async #claim(vdisk: VDiskId, giveUpAt: number): Promise<void> {
    const { locations, node, platform, controller } = this.#options
    const owner = locations.owner(vdisk)
    // It was given to another node: that one goes first.
    if (
      owner?.released === true &&
      owner.next !== undefined &&
      owner.next !== node &&
      locations.liveNodes().includes(owner.next)
    ) {
      await platform.clock.sleep(2 * lookAgainMs)
      if (this.#servingOwner(vdisk) !== undefined) return
    }
    if (await this.#options.sendHome?.(vdisk)) return await this.#lookAgain()
    // A claim may wait for nodes to come: longer than this request may. It goes on for others.
    const waitMs = Math.max(0, giveUpAt - platform.clock.now())
    const claimed = controller.claim(vdisk, 'free').then(
      () => true,
      async (error: unknown) => {
        // Our attempt changed what everybody watches: who went on at once, here and elsewhere, would claim without end.
        if (!hasCode(error, 'IN_USE', 'NOT_FOUND')) await platform.clock.sleep(2 * lookAgainMs)
        throw error
      },
    )
    if (!(await Promise.race([claimed, platform.clock.sleep(waitMs).then(() => false)]))) {
      claimed.catch(() => undefined)
      throw new NotTakenOverYet('UNAVAILABLE', `vDisk ${vdisk} could not be taken over in ${waitMs} ms`, {
        vdisk,
      })
    }
  }

  async #forward<T>(
    vdisk: VDiskId,
    owner: Owner,
    client: ClientSession | undefined,
    request: Request<T>,
  ): Promise<{ result: T; now: VDiskNow }> {
    const { peers, requestWaitMaxMs } = this.#options
    const header = encodeForward({
      vdisk,
      epoch: owner.epoch,
      session: this.#session(vdisk),
      offset: request.offset,
      length: request.length,
      runsMax: request.runsMax ?? 0,
      client,
    })
    const body = request.payload === undefined ? [header] : [header, request.payload]
    const call = peers.call(owner.node, request.kind, body, { lane: 'forward', timeoutMs: requestWaitMaxMs })
    const watch = this.#watchSilence(vdisk, owner)
    try {
      const { now, payload } = decodeAnswer(await Promise.race([call, watch.silent]))
      return { result: request.answer(payload), now }
    } finally {
      watch.stop()
      call.catch(() => undefined) // given up: whatever it answers, its session is over
    }
  }

  /** Rejects when the owner answers nothing, also not when asked whether it lives, and is replaced. */
  #watchSilence(vdisk: VDiskId, owner: Owner): { silent: Promise<never>; stop: () => void } {
    const { clock } = this.#options.platform
    let stopped = false
    let reject: (error: Error) => void = () => undefined
    const silent = new Promise<never>((_, refuse) => (reject = refuse))
    silent.catch(() => undefined)
    const look = (): void => {
      if (stopped) return
      this.#proveSilence(vdisk, owner, () => stopped).then(
        (serves) => {
          if (stopped) return
          if (serves) timer = clock.after(silentMs, look)
          else
            reject(
              new NdfsError('TIMED_OUT', `The owner of vDisk ${vdisk}, ${owner.node}, answers nobody`, {
                node: owner.node,
              }),
            )
        },
        (error: Error) => reject(error),
      )
    }
    let timer = clock.after(firstLookMs, look)
    return {
      silent,
      stop: () => {
        stopped = true
        timer.cancel()
      },
    }
  }

  /** True: it serves, and the request waits for something else. False: it didn't, and the vDisk is ours now or somebody's who serves. */
  async #proveSilence(vdisk: VDiskId, owner: Owner, answered: () => boolean): Promise<boolean> {
    const { peers, locations, node, controller, platform } = this.#options
    try {
      if (await this.#answers(vdisk, owner, probeMs)) return true
    } catch (error) {
      if (hasCode(error, 'NOT_OWNER')) return false
      throw error
    }
    if (answered()) return true
    const opinion = await this.#askWitnesses(vdisk, owner)
    if (answered()) return true
    switch (opinion.who) {
      case 'hears it':
        // It serves, and this node can't reach it: it is asked to hand over, by one that can.
        await peers
          .call(
            opinion.witness,
            'vdisk.ask-hand-over',
            [encodeControl({ vdisk, epoch: owner.epoch, owner: owner.node, to: node })],
            { lane: 'forward', timeoutMs: silentMs },
          )
          .catch(() => undefined)
        break
      case 'nobody hears it':
        break
      case 'no witness':
        // Two nodes, and one word against another: it gets its time.
        if (await this.#answers(vdisk, owner, silentMs)) return true
        break
      case 'nobody hears us':
        throw new NdfsError(
          'UNAVAILABLE',
          `Cannot take vDisk ${vdisk} from ${owner.node}: it does not answer, and neither does any other node. This one is cut off`,
          { vdisk, node: owner.node },
        )
      default:
        opinion satisfies never
    }
    if (answered()) return true
    const now = locations.owner(vdisk)
    if (now === undefined || now.epoch !== owner.epoch || now.released === true) return false
    platform.log.warn(`vDisk ${vdisk} is taken from ${owner.node}, which serves nobody`, {
      epoch: owner.epoch,
    })
    await controller.claim(vdisk, 'no-service')
    return false
  }

  /** Whether the owner answers, and so serves. Rejects with NOT_OWNER where it answers that it is none. */
  async #answers(vdisk: VDiskId, owner: Pick<Owner, 'node' | 'epoch'>, timeoutMs: number): Promise<boolean> {
    const probe = encodeAsk(vdisk, owner.epoch)
    try {
      await this.#options.peers.call(owner.node, 'vdisk.alive', [probe], { timeoutMs })
      return true
    } catch (error) {
      if (hasCode(error, 'NOT_OWNER') || !(error instanceof NdfsError)) throw error
      return false
    }
  }

  /** What other nodes say of an owner that does not answer this one: which of the two is cut off? */
  async #askWitnesses(vdisk: VDiskId, owner: Owner): Promise<Opinion> {
    const { peers, locations, node } = this.#options
    const witnesses = locations
      .liveNodes()
      .filter((other) => other !== node && other !== owner.node)
      .slice(0, witnessesMax)
    if (witnesses.length === 0) return { who: 'no witness' }
    const body = [encodeControl({ vdisk, epoch: owner.epoch, owner: owner.node })]
    const heard = await Promise.all(
      witnesses.map(async (witness) => {
        try {
          const answer = await peers.call(witness, 'vdisk.witness', body, {
            lane: 'forward',
            timeoutMs: 2 * probeMs,
          })
          return { witness, hears: decodeControl<boolean>(answer) }
        } catch (error) {
          if (error instanceof NdfsError) return { witness, hears: undefined }
          throw error
        }
      }),
    )
    const hearer = heard.find(({ hears }) => hears === true)
    if (hearer !== undefined) return { who: 'hears it', witness: hearer.witness }
    return { who: heard.some(({ hears }) => hears === false) ? 'nobody hears it' : 'nobody hears us' }
  }

  async #lookAgain(): Promise<void> {
    const { platform, locations } = this.#options
    await Promise.race([platform.clock.sleep(lookAgainMs), locations.changed()])
  }
}

type Opinion =
  | { readonly who: 'hears it'; readonly witness: NodeId }
  | { readonly who: 'nobody hears it' | 'nobody hears us' | 'no witness' }

/** The request's time was over before the takeover's outcome was known. */
class NotTakenOverYet extends NdfsError {}

/** How long one and the same owner may say that it is none before the vDisk is taken from it. */
const refusalsMs = 2000

/** What went wrong shows itself again, when the request is repeated. */
const ignoreNdfsError = (error: unknown): void => {
  if (!(error instanceof NdfsError)) throw error
}

/** Since when the owner that Zeus names refuses to be it, or can't be reached. */
class Refusals {
  #owner: Owner | undefined
  #since: number | undefined

  aim(owner: Owner): void {
    if (this.#owner?.node !== owner.node || this.#owner.epoch !== owner.epoch) this.#since = undefined
    this.#owner = owner
  }

  longerThan(ms: number, now: number): boolean {
    if (this.#owner === undefined) return false
    this.#since ??= now
    return now - this.#since > ms
  }

  /** The owner is asked itself: its time begins anew. */
  begunAnew(): Owner {
    assert(this.#owner !== undefined, 'only an owner refuses')
    this.#since = undefined
    return this.#owner
  }
}

/** The owner is elsewhere by now, or nobody knows what became of the request. */
function isWorthRepeating(error: unknown, client: ClientSession | undefined): boolean {
  if (hasCode(error, 'STALE_SESSION'))
    return client === undefined || error.facts.sender !== `client/${client.client}`
  return hasCode(error, 'NOT_OWNER', 'FENCED', 'PEER_UNREACHABLE', 'TIMED_OUT', 'UNAVAILABLE', 'IN_USE')
}

/** A vDisk as one connection of one client has it open. */
export class RoutedVDisk implements OpenVDisk {
  readonly #router: VDiskRouter
  readonly #controller: VDiskController
  readonly #vdisk: VDiskId
  readonly #client: ClientSession | undefined
  readonly #closed: () => void
  #now: VDiskNow = { sizeBytes: 0, modifiedAt: 0 }
  onResize: (sizeBytes: number) => void = () => undefined

  constructor(
    router: VDiskRouter,
    controller: VDiskController,
    vdisk: VDiskId,
    client: ClientSession | undefined,
    closed: () => void,
  ) {
    this.#closed = closed
    this.#router = router
    this.#controller = controller
    this.#vdisk = vdisk
    this.#client = client
  }

  /** Learns the size; and where the client names its session, older ones of it are over when this resolves (F3). */
  opened(): Promise<void> {
    return this.#run({
      kind: 'vdisk.admit',
      offset: 0,
      length: 0,
      here: (hosted, senders) => hosted.admit(senders),
      answer: () => undefined,
    })
  }

  /** As its owner has it at some moment after the call. */
  async now(): Promise<VDiskNow> {
    await this.opened()
    return this.lastKnown
  }

  get sizeBytes(): number {
    return this.lastKnown.sizeBytes
  }

  /** As it was when its owner answered last; or as it is, where the owner is here. */
  get lastKnown(): VDiskNow {
    return this.#controller.hosted(this.#vdisk) ?? this.#now
  }

  read(offset: VDiskOffset, target: Buffer): Maybe<void> {
    const hosted = this.#controller.hosted(this.#vdisk)
    if (hosted !== undefined && offset + target.length <= hosted.sizeBytes) {
      this.#router.door.local(hosted)
      const done = hosted.read(offset, target)
      if (done === undefined) return undefined
      return done.catch((error: unknown) => {
        if (!isWorthRepeating(error, this.#client)) throw error
        return this.#readAnywhere(offset, target)
      })
    }
    return this.#readAnywhere(offset, target)
  }

  lend(offset: VDiskOffset, length: number): Maybe<readonly Buffer[]> | undefined {
    if (length < lendBytesMin) return undefined
    const hosted = this.#controller.hosted(this.#vdisk)
    const lent = hosted?.lend(offset, length)
    if (hosted === undefined || lent === undefined) return undefined
    this.#router.door.local(hosted)
    if (!(lent instanceof Promise)) return lent
    return lent.catch(async (error: unknown) => {
      if (!isWorthRepeating(error, this.#client)) throw error
      const target = takeLarge(length)
      await this.#readAnywhere(offset, target)
      return [target]
    })
  }

  #readAnywhere(offset: VDiskOffset, target: Buffer): Promise<void> {
    return this.#run({
      kind: 'vdisk.read',
      offset,
      length: target.length,
      here: (hosted) => hosted.read(offset, target),
      answer: (payload) => {
        payload.copy(target)
      },
    })
  }

  write(offset: VDiskOffset, payload: Buffer): Promise<void> {
    return this.#run({
      kind: 'vdisk.write',
      offset,
      length: payload.length,
      payload,
      // Its memory may be used again once it is written; but what was begun before may still send, or write, from there.
      here: (hosted, senders, again) => hosted.write(offset, again ? Buffer.from(payload) : payload, senders),
      answer: () => undefined,
    })
  }

  /** To so many bytes: what is cut off is gone. */
  resize(sizeBytes: number): Promise<void> {
    return this.#run({
      kind: 'vdisk.resize',
      offset: 0,
      length: sizeBytes,
      here: (hosted, senders) => hosted.resize(sizeBytes, senders),
      answer: () => undefined,
    })
  }

  /** To so many bytes at least. */
  grow(sizeBytes: number): Promise<void> {
    return this.#run({
      kind: 'vdisk.grow',
      offset: 0,
      length: sizeBytes,
      here: (hosted, senders) => hosted.grow(sizeBytes, senders),
      answer: () => undefined,
    })
  }

  zero(offset: VDiskOffset, length: number): Promise<void> {
    return this.#run({
      kind: 'vdisk.zero',
      offset,
      length,
      here: (hosted, senders) => hosted.zero(offset, length, senders),
      answer: () => undefined,
    })
  }

  discard(offset: VDiskOffset, length: number): Promise<void> {
    return this.#run({
      kind: 'vdisk.discard',
      offset,
      length,
      here: (hosted, senders) => hosted.discard(offset, length, senders),
      answer: () => undefined,
    })
  }

  /** Every acknowledged write is on stable media on all copies already. */
  flush(): void {}

  prefetch(offset: VDiskOffset, length: number): Promise<void> {
    return this.#run({
      kind: 'vdisk.prefetch',
      offset,
      length,
      here: (hosted) => hosted.prefetch(offset, length),
      answer: () => undefined,
    })
  }

  status(offset: VDiskOffset, length: number, runsMax: number): Promise<readonly Run[]> {
    return this.#run({
      kind: 'vdisk.status',
      offset,
      length,
      runsMax,
      here: (hosted) => hosted.status(offset, length, runsMax),
      answer: (payload) => decodeControl<Run[]>(payload),
    })
  }

  close(): void {
    this.#closed()
  }

  async #run<T>(request: Request<T>): Promise<T> {
    const { result, now } = await this.#router.run(this.#vdisk, this.#client, request)
    const { sizeBytes, modifiedAt } = this.#now
    // Answers may overtake each other.
    if (now.modifiedAt >= modifiedAt) this.#now = now
    if (this.#now.sizeBytes !== sizeBytes) this.onResize(this.#now.sizeBytes)
    return result
  }
}
