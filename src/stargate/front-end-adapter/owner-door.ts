/**
 * The owner's side of forwarding: requests of other nodes for vDisks that this node owns. Another epoch is answered with
 * NOT_OWNER, and nothing is ever forwarded on (C10). It also notices whose traffic it is: a vDisk that another node
 * keeps asking for moves there (R6).
 */
import { decodeControl, encodeControl } from '../../base/control.ts'
import { NdfsError } from '../../base/errors.ts'
import type { Epoch, Incarnation, NodeId, VDiskId } from '../../base/ids.ts'
import { vDiskOffset } from '../../base/units.ts'
import type { PeerRequest, Peers } from '../../peer/peer.ts'
import type { Platform } from '../../platform/platform.ts'
import { requestBytesMax } from '../io/io.ts'
import type { HostedVDisk, Sender, VDiskController } from '../vdisk-controller/vdisk-controller.ts'
import { decodeForward, encodeAnswer, type ForwardHeader } from './forwarding.ts'

/** Requests from one node within a window that move the vDisk there, unless this node's own are as many. */
const moveAfterRequests = 2000
const windowMs = 10_000
/**
 * A vDisk stays this long where it was claimed for a guest, so that it doesn't go back and forth (DESIGN section 7). Not where it was claimed only
 * so that somebody owns it, after a death or a start.
 */
const stayMs = 60_000

interface Traffic {
  windowBegan: number
  readonly claimedAt: number
  readonly from: Map<NodeId, number>
  /** Guests of this node have asked for it since it was claimed. */
  usedHere: boolean
  moving: boolean
}

export const nodeSender = (node: NodeId, incarnation: Incarnation, number: number): Sender => ({
  name: `node/${node}.${incarnation}`,
  number,
})

export const clientSender = (header: Pick<ForwardHeader, 'client'>): Sender[] =>
  header.client === undefined
    ? []
    : [{ name: `client/${header.client.client}`, number: header.client.number }]

export class OwnerDoor {
  readonly #platform: Platform
  readonly #node: NodeId
  readonly #controller: VDiskController
  readonly #mayOwn: (node: NodeId) => boolean
  readonly #traffic = new WeakMap<HostedVDisk, Traffic>()

  constructor(
    platform: Platform,
    node: NodeId,
    peers: Peers,
    controller: VDiskController,
    mayOwn: (node: NodeId) => boolean = () => true,
  ) {
    this.#mayOwn = mayOwn
    this.#platform = platform
    this.#node = node
    this.#controller = controller
    this.#handle(peers, 'vdisk.read', async (vdisk, { offset, length }) => {
      assertRange(vdisk, offset, length)
      const target = Buffer.allocUnsafe(length)
      await vdisk.read(vDiskOffset(offset), target)
      return [target]
    })
    this.#handle(peers, 'vdisk.write', async (vdisk, { offset }, senders, payload) => {
      assertRange(vdisk, offset, payload.length)
      await vdisk.write(vDiskOffset(offset), ofItsOwn(payload), senders)
      return []
    })
    this.#handle(peers, 'vdisk.zero', async (vdisk, { offset, length }, senders) => {
      assertRange(vdisk, offset, length, Number.MAX_SAFE_INTEGER)
      await vdisk.zero(vDiskOffset(offset), length, senders)
      return []
    })
    this.#handle(peers, 'vdisk.discard', async (vdisk, { offset, length }, senders) => {
      assertRange(vdisk, offset, length, Number.MAX_SAFE_INTEGER)
      await vdisk.discard(vDiskOffset(offset), length, senders)
      return []
    })
    this.#handle(peers, 'vdisk.prefetch', async (vdisk, { offset, length }) => {
      assertRange(vdisk, offset, length, Number.MAX_SAFE_INTEGER)
      await vdisk.prefetch(vDiskOffset(offset), length)
      return []
    })
    this.#handle(peers, 'vdisk.status', async (vdisk, { offset, length, runsMax }) => {
      assertRange(vdisk, offset, length, Number.MAX_SAFE_INTEGER)
      return [encodeControl(await vdisk.status(vDiskOffset(offset), length, runsMax))]
    })
    this.#handle(peers, 'vdisk.admit', async (vdisk, header) => {
      await vdisk.admit(clientSender(header))
      return []
    })
    this.#handle(peers, 'vdisk.resize', async (vdisk, { length }, senders) => {
      await vdisk.resize(length, senders)
      return []
    })
    this.#handle(peers, 'vdisk.grow', async (vdisk, { length }, senders) => {
      await vdisk.grow(length, senders)
      return []
    })
    this.#handle(peers, 'vdisk.delete', async (vdisk) => {
      await controller.delete(vdisk.id)
      return []
    })
    // It serves requests, and so lives for its clients too (M16). In the lane that nothing can hold up.
    peers.handle('vdisk.alive', 'terminal', (request) => {
      this.#owned(decodeForward(request.body).header)
      return []
    })
    peers.handle('vdisk.describe', 'terminal', (request) => [
      encodeControl(this.#owned(decodeForward(request.body).header).describe()),
    ])
    peers.handle('vdisk.hand-over', 'forward', async (request) => {
      const { vdisk, epoch, to } = decodeControl<{ vdisk: VDiskId; epoch: Epoch; to: NodeId }>(request.body)
      // Of that ownership alone: the request may be late.
      if (controller.hosted(vdisk)?.epoch === epoch) await controller.release(vdisk, to)
      return []
    })
  }

  /** A request of this node's own guests: they keep the vDisk here. */
  local(vdisk: HostedVDisk): void {
    this.#count(vdisk, this.#node)
  }

  #handle(
    peers: Peers,
    kind: string,
    serve: (
      vdisk: HostedVDisk,
      header: ForwardHeader,
      senders: readonly Sender[],
      payload: Buffer,
    ) => Promise<readonly Uint8Array[]>,
  ): void {
    peers.handle(kind, 'forward', async (request: PeerRequest) => {
      const { header, payload } = decodeForward(request.body)
      const vdisk = this.#owned(header)
      this.#count(vdisk, request.from)
      const senders = [nodeSender(request.from, request.incarnation, header.session), ...clientSender(header)]
      const answer = await serve(vdisk, header, senders, payload)
      return [encodeAnswer(vdisk), ...answer]
    })
  }

  #owned({ vdisk, epoch }: { vdisk: VDiskId; epoch: Epoch }): HostedVDisk {
    const hosted = this.#controller.hosted(vdisk)
    if (hosted === undefined || hosted.epoch !== epoch)
      throw new NdfsError('NOT_OWNER', `This node does not own vDisk ${vdisk} under epoch ${epoch}`, {
        vdisk,
        epoch,
      })
    return hosted
  }

  #count(vdisk: HostedVDisk, from: NodeId): void {
    const now = this.#platform.clock.now()
    let traffic = this.#traffic.get(vdisk)
    if (traffic === undefined) {
      traffic = { windowBegan: now, claimedAt: now, from: new Map(), usedHere: false, moving: false }
      this.#traffic.set(vdisk, traffic)
    }
    if (now - traffic.windowBegan > windowMs) {
      traffic.windowBegan = now
      traffic.from.clear()
    }
    const count = (traffic.from.get(from) ?? 0) + 1
    traffic.from.set(from, count)
    if (from === this.#node) traffic.usedHere = true
    if (from === this.#node || count < moveAfterRequests || traffic.moving) return
    if (traffic.usedHere && now - traffic.claimedAt < stayMs) return
    if (count <= (traffic.from.get(this.#node) ?? 0) || !this.#mayOwn(from)) return
    traffic.moving = true
    this.#platform.log.info(`vDisk ${vdisk.id} moves to ${from}, where its traffic comes from`, {
      requests: count,
    })
    this.#controller.release(vdisk.id, from).catch((error: unknown) => {
      this.#platform.log.warn(`vDisk ${vdisk.id} could not be handed over`, { reason: String(error) })
    })
  }
}

/** The bytes, kept by the log until they are drained, must not keep much more than themselves in memory (I9). */
const ofItsOwn = (payload: Buffer): Buffer =>
  payload.buffer.byteLength > 4 * payload.length ? Buffer.from(payload) : payload

/** The other node has checked against the size that it knew; ours counts. */
function assertRange(
  vdisk: HostedVDisk,
  offset: number,
  length: number,
  lengthMax: number = requestBytesMax,
): void {
  const sound =
    Number.isSafeInteger(offset) &&
    Number.isSafeInteger(length) &&
    offset >= 0 &&
    length > 0 &&
    length <= lengthMax
  if (!sound || offset + length > vdisk.sizeBytes)
    throw new NdfsError(
      'REFUSED',
      `The range ${offset}+${length} does not lie in vDisk ${vdisk.id} of ${vdisk.sizeBytes} bytes`,
      {
        sizeBytes: vdisk.sizeBytes,
      },
    )
}
