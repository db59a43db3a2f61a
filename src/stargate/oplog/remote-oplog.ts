/**
 * The log disks of the whole cluster (the contract's `Oplogs`): calls to this node's own go straight to the replica, all
 * others over the peer protocol, where appends of one turn to one disk share a message.
 *
 * Appends to one disk are sent, and begun there, in the order in which they were made; so those of one episode are too.
 * One that was lost with its message is told by the next: it doesn't continue, and is refused with CONFLICT.
 */
import { decodeControl, encodeControl } from '../../base/control.ts'
import { messageOf, NdfsError } from '../../base/errors.ts'
import type {
  DiskId,
  DiskRef,
  EpisodeId,
  Epoch,
  Incarnation,
  NodeId,
  Sequence,
  VDiskId,
} from '../../base/ids.ts'
import { MiB } from '../../base/units.ts'
import type { Peers } from '../../peer/peer.ts'
import type { Clock, Platform } from '../../platform/platform.ts'
import {
  bytesOfAppend,
  decodeAppends,
  encodeAppends,
  type AppendWanted,
  type FailedAppend,
} from './append-message.ts'
import { Heartbeat } from './heartbeat.ts'
import type { EncodedRecords, OplogReplica, Oplogs, RemoteReplica, Tail } from './oplog.ts'
import type { EncodedRecord } from './record.ts'

/** An append unanswered for so long has failed (F10). */
const appendTimeoutMs = 2000
/** Room beside it for one record of the largest size, below what a frame may hold. */
const messageBytesMax = 4 * MiB
/** What may wait for one peer: more than it can take before the append's time is over. */
const backlogBytesMax = 128 * MiB

export interface OplogsOptions {
  readonly platform: Pick<Platform, 'clock' | 'log'>
  readonly peers: Peers
  readonly node: NodeId
  /** This node's own logs. */
  readonly replicas: readonly OplogReplica[]
}

export function createOplogs({ platform, peers, node, replicas }: OplogsOptions): Oplogs {
  const find = (disk: DiskId, incarnation: Incarnation): OplogReplica | undefined =>
    replicas.find(({ ref }) => ref.disk === disk && ref.incarnation === incarnation)
  const here = (disk: DiskId, incarnation: Incarnation): OplogReplica => {
    const replica = find(disk, incarnation)
    if (replica === undefined) throw notHere(node, disk, incarnation)
    return replica
  }

  // A batch of the log is a copy: when all appends have ended nothing reads the message.
  peers.handle('oplog.append', 'terminal', ({ body }) => acceptAppends(body, here), { endsBody: true })
  peers.handle('oplog.fence', 'terminal', async ({ body }) => {
    const { disk, incarnation, vdisk, epoch } = decodeControl<FenceRequest>(body)
    return [encodeControl(await here(disk, incarnation).fence(vdisk, epoch))]
  })
  peers.handle('oplog.read', 'terminal', async ({ body }) => {
    const { disk, incarnation, vdisk, episode, from, bytesMax } = decodeControl<ReadRequest>(body)
    return [await here(disk, incarnation).read(vdisk, episode, from, bytesMax)]
  })

  const heartbeat = new Heartbeat(platform, peers, node, find)
  const remote = new Map<string, RemoteLog>()
  return {
    local: () => replicas.filter(({ inService }) => inService),
    replica: (ref) => {
      if (ref.node === node) return find(ref.disk, ref.incarnation) ?? absent(ref)
      const key = `${ref.node}/${nameOf(ref)}`
      let log = remote.get(key)
      if (log === undefined) remote.set(key, (log = new RemoteLog(platform.clock, peers, ref)))
      return log
    },
    free: (refs, vdisk, upTo) => {
      for (const ref of refs) heartbeat.free(ref, vdisk, upTo)
    },
    seal: (refs, vdisk, episode, end) => {
      for (const ref of refs) heartbeat.seal(ref, vdisk, episode, end)
    },
    keepGranted: (wanted, granted) => {
      heartbeat.keepGranted(wanted, granted)
      return { wake: () => heartbeat.wake() }
    },
    close: () => heartbeat.close(),
  }
}

interface FenceRequest {
  readonly disk: DiskId
  readonly incarnation: Incarnation
  readonly vdisk: VDiskId
  readonly epoch: Epoch
}

interface ReadRequest {
  readonly disk: DiskId
  readonly incarnation: Incarnation
  readonly vdisk: VDiskId
  readonly episode: EpisodeId
  readonly from: Sequence
  readonly bytesMax: number
}

const nameOf = ({ disk, incarnation }: DiskRef): string => `${disk}/${incarnation}`

function notHere(node: NodeId, disk: DiskId, incarnation: Incarnation): NdfsError {
  return new NdfsError(
    'NOT_FOUND',
    `Cannot reach the log of disk ${disk} (${incarnation}): ${node} has no such disk in use`,
    {
      node,
      disk,
      incarnation,
    },
  )
}

function absent(ref: DiskRef): RemoteReplica {
  const reject = () => Promise.reject(notHere(ref.node, ref.disk, ref.incarnation))
  return { append: reject, fence: reject, read: reject }
}

/** All appends of a message are begun in this turn, in order; the answer waits for the last of them. */
async function acceptAppends(
  body: Buffer,
  here: (disk: DiskId, incarnation: Incarnation) => OplogReplica,
): Promise<Uint8Array[]> {
  const { diskName, appends } = decodeAppends(body)
  const [disk, incarnation] = diskName.split('/')
  const replica = here(disk as DiskId, incarnation as Incarnation)
  const outcomes = await Promise.allSettled(
    appends.map(({ vdisk, epoch, episode, records }) => replica.append(vdisk, epoch, episode, records)),
  )
  const failed: FailedAppend[] = []
  outcomes.forEach((outcome, index) => {
    if (outcome.status === 'fulfilled') return
    const { reason } = outcome as { reason: unknown }
    if (!(reason instanceof NdfsError)) throw reason
    failed.push({ index, code: reason.code, message: reason.message, facts: reason.facts })
  })
  return failed.length === 0 ? [] : [encodeControl(failed)]
}

interface PendingAppend extends AppendWanted {
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

/** A log on another node. */
class RemoteLog implements RemoteReplica {
  readonly #clock: Clock
  readonly #peers: Peers
  readonly #ref: DiskRef
  #pending: PendingAppend[] = []
  #pendingBytes = 0

  constructor(clock: Clock, peers: Peers, ref: DiskRef) {
    this.#clock = clock
    this.#peers = peers
    this.#ref = ref
  }

  append(vdisk: VDiskId, epoch: Epoch, episode: EpisodeId, records: readonly EncodedRecord[]): Promise<void> {
    return new Promise((resolve, reject) => {
      const backlogBytes = this.#peers.backlogBytes(this.#ref.node, 'terminal') + this.#pendingBytes
      if (backlogBytes > backlogBytesMax) return reject(this.#tooMuch(backlogBytes))
      const pending = { vdisk, epoch, episode, records, resolve, reject }
      if (this.#pending.push(pending) === 1) this.#clock.soon(() => this.#sendPending())
      this.#pendingBytes += bytesOfAppend(pending)
    })
  }

  async fence(vdisk: VDiskId, epoch: Epoch): Promise<Tail[]> {
    const { disk, incarnation } = this.#ref
    const request: FenceRequest = { disk, incarnation, vdisk, epoch }
    return decodeControl<Tail[]>(await this.#call('oplog.fence', [encodeControl(request)]))
  }

  async read(vdisk: VDiskId, episode: EpisodeId, from: Sequence, bytesMax: number): Promise<EncodedRecords> {
    const { disk, incarnation } = this.#ref
    const request: ReadRequest = { disk, incarnation, vdisk, episode, from, bytesMax }
    return await this.#call('oplog.read', [encodeControl(request)])
  }

  #call(kind: string, body: readonly Uint8Array[], timeoutMs?: number): Promise<Buffer> {
    return this.#peers.call(this.#ref.node, kind, body, { lane: 'terminal', timeoutMs })
  }

  #sendPending(): void {
    const pending = this.#pending
    this.#pending = []
    this.#pendingBytes = 0
    for (let at = 0; at < pending.length;) {
      const message: PendingAppend[] = []
      for (let bytes = 0; at < pending.length; at++) {
        bytes += bytesOfAppend(pending[at])
        if (message.length > 0 && bytes > messageBytesMax) break
        message.push(pending[at])
      }
      void this.#send(message)
    }
  }

  async #send(appends: readonly PendingAppend[]): Promise<void> {
    try {
      const answer = await this.#call(
        'oplog.append',
        encodeAppends(nameOf(this.#ref), appends),
        appendTimeoutMs,
      )
      const failed = answer.length === 0 ? [] : decodeControl<FailedAppend[]>(answer)
      for (const { index, code, message, facts } of failed)
        appends[index].reject(new NdfsError(code, message, facts))
      // Those that were rejected stay so.
      for (const append of appends) append.resolve()
    } catch (error) {
      const reason = error instanceof Error ? error : new Error(messageOf(error))
      for (const append of appends) append.reject(reason)
    }
  }

  #tooMuch(backlogBytes: number): NdfsError {
    return new NdfsError(
      'UNAVAILABLE',
      `Cannot append to the log of disk ${this.#ref.disk}: ${backlogBytes} bytes wait to be sent to ${this.#ref.node}`,
      { node: this.#ref.node, disk: this.#ref.disk },
    )
  }
}
