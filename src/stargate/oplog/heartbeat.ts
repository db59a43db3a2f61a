/**
 * What an owner says to its log peers without being asked, four times a second: *grant me reads* (C11), and *this was
 * drained*, *this was sealed*. One message a peer, one at a time: a peer that doesn't answer is asked again only when
 * its call has ended, so a silent one costs one message a second.
 *
 * Notes are kept until they were answered, the newest only for each vDisk (or episode) and disk, also for peers that are away.
 */
import { decodeControl, encodeControl } from '../../base/control.ts'
import { messageOf } from '../../base/errors.ts'
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
import type { Peers } from '../../peer/peer.ts'
import type { Platform, Timer } from '../../platform/platform.ts'
import { leaseMs, type Granted, type GrantWanted, type OplogReplica } from './oplog.ts'

const everyMs = 250
/** An answer that took longer than the lease it grants is of no use. */
const timeoutMs = leaseMs
/** Notes kept for one disk that is away, of each sort; beyond it the oldest go: freeing and sealing are repeated by later ones. */
const notesMax = 100_000
/** Notes in one message: about a megabyte. */
const notesPerMessage = 20_000

/** One disk's part of a message, its lists flat: a small array for each of thousands of grants would cost more than they do. */
interface DiskMessage {
  readonly disk: DiskId
  readonly incarnation: Incarnation
  /** vdisk, epoch, episode, and so on. */
  readonly grants: number[]
  /** vdisk, up to. */
  readonly frees: number[]
  /** vdisk, episode, end. */
  readonly seals: number[]
}

/** For each disk asked, in order: undefined where it isn't here; for each grant the last sequence, or -1 for a refusal. */
type Answer = (number[] | null)[]

interface Notes {
  readonly ref: DiskRef
  readonly frees: Map<VDiskId, Sequence>
  readonly seals: Map<string, { vdisk: VDiskId; episode: EpisodeId; end: Sequence }>
}

interface DiskWants {
  readonly ref: DiskRef
  readonly wants: GrantWanted[]
}

type Find = (disk: DiskId, incarnation: Incarnation) => OplogReplica | undefined

export class Heartbeat {
  readonly #platform: Pick<Platform, 'clock' | 'log'>
  readonly #peers: Peers
  readonly #node: NodeId
  readonly #find: Find
  #wanted: (() => readonly GrantWanted[]) | undefined
  #granted: (grant: Granted) => void = () => undefined
  /** By node, then by disk. */
  readonly #notes = new Map<NodeId, Map<string, Notes>>()
  readonly #asking = new Set<NodeId>()
  #timer: Timer | undefined
  #soon = false
  #closed = false

  constructor(platform: Pick<Platform, 'clock' | 'log'>, peers: Peers, node: NodeId, find: Find) {
    this.#platform = platform
    this.#peers = peers
    this.#node = node
    this.#find = find
    peers.handle('oplog.heartbeat', 'terminal', ({ body }) => [
      encodeControl(answer(decodeControl<DiskMessage[]>(body), find)),
    ])
  }

  keepGranted(wanted: () => readonly GrantWanted[], granted: (grant: Granted) => void): void {
    this.#wanted = wanted
    this.#granted = granted
    this.wake()
  }

  free(ref: DiskRef, vdisk: VDiskId, upTo: Sequence): void {
    if (ref.node === this.#node) return this.#find(ref.disk, ref.incarnation)?.free(vdisk, upTo)
    const { frees } = this.#notesFor(ref)
    const before = frees.get(vdisk) ?? 0
    frees.delete(vdisk)
    frees.set(vdisk, Math.max(before, upTo) as Sequence)
    dropOldest(frees)
    this.#arm()
  }

  seal(ref: DiskRef, vdisk: VDiskId, episode: EpisodeId, end: Sequence): void {
    if (ref.node === this.#node) return this.#find(ref.disk, ref.incarnation)?.seal(vdisk, episode, end)
    const { seals } = this.#notesFor(ref)
    seals.set(`${vdisk}/${episode}`, { vdisk, episode, end })
    dropOldest(seals)
    this.#arm()
  }

  /** Asks at once: for an episode that was just opened. */
  wake(): void {
    if (this.#soon || this.#closed) return
    this.#soon = true
    this.#platform.clock.soon(() => {
      this.#soon = false
      this.#beat()
    })
  }

  close(): void {
    this.#closed = true
    this.#timer?.cancel()
  }

  #notesFor(ref: DiskRef): Notes {
    let disks = this.#notes.get(ref.node)
    if (disks === undefined) this.#notes.set(ref.node, (disks = new Map<string, Notes>()))
    const key = `${ref.disk}/${ref.incarnation}`
    let notes = disks.get(key)
    if (notes === undefined) disks.set(key, (notes = { ref, frees: new Map(), seals: new Map() }))
    return notes
  }

  #arm(): void {
    if (this.#timer !== undefined || this.#closed) return
    this.#timer = this.#platform.clock.after(everyMs, () => {
      this.#timer = undefined
      this.#beat()
    })
  }

  #beat(): void {
    if (this.#closed) return
    this.#timer?.cancel()
    this.#timer = undefined
    const wanted = this.#wanted?.() ?? []
    const toPeers = new Map<NodeId, Map<string, DiskWants>>()
    for (const want of wanted)
      for (const ref of want.replicas)
        if (ref.node === this.#node) this.#grantHere(want, ref)
        else {
          let disks = toPeers.get(ref.node)
          if (disks === undefined) toPeers.set(ref.node, (disks = new Map<string, DiskWants>()))
          const key = `${ref.disk}/${ref.incarnation}`
          const disk = disks.get(key)
          if (disk === undefined) disks.set(key, { ref, wants: [want] })
          else disk.wants.push(want)
        }
    for (const peer of this.#notes.keys()) if (!toPeers.has(peer)) toPeers.set(peer, new Map())
    for (const [peer, disks] of toPeers) if (!this.#asking.has(peer)) void this.#ask(peer, disks)
    if (this.#wanted !== undefined || this.#notes.size > 0) this.#arm()
  }

  #grantHere(want: GrantWanted, ref: DiskRef): void {
    const sentAt = this.#platform.clock.now()
    const grant = this.#find(ref.disk, ref.incarnation)?.grant(want.vdisk, want.epoch, want.episode)
    this.#tell(want, ref, sentAt, grant?.last ?? refused)
  }

  async #ask(peer: NodeId, wants: ReadonlyMap<string, DiskWants>): Promise<void> {
    const keys = [...new Set([...wants.keys(), ...(this.#notes.get(peer)?.keys() ?? [])])]
    const notes = keys.map((key) => this.#notes.get(peer)?.get(key))
    const message = keys.map((key, index) => diskMessage(wants.get(key), notes[index]))
    this.#asking.add(peer)
    const sentAt = this.#platform.clock.now()
    try {
      const answered = await this.#peers.call(peer, 'oplog.heartbeat', [encodeControl(message)], {
        lane: 'terminal',
        timeoutMs,
      })
      if (this.#closed) return
      const answers = decodeControl<Answer>(answered)
      message.forEach((sent, index) => this.#forget(peer, keys[index], sent))
      keys.forEach((key, index) => {
        const disk = wants.get(key)
        disk?.wants.forEach((want, at) => this.#tell(want, disk.ref, sentAt, answers[index]?.[at] ?? refused))
      })
    } catch (error) {
      this.#platform.log.debug('a log peer did not answer', { peer, error: messageOf(error) })
    } finally {
      this.#asking.delete(peer)
    }
  }

  #tell(want: GrantWanted, ref: DiskRef, sentAt: number, last: number): void {
    const { vdisk, epoch, episode, acknowledged } = want
    const { node, disk, incarnation } = ref
    const ok = last !== refused
    this.#granted({
      vdisk,
      epoch,
      episode,
      node,
      disk,
      incarnation,
      sentAt,
      ok,
      last: (ok ? last : 0) as Sequence,
      acknowledged,
    })
  }

  /** What was answered need not be said again, unless it has changed meanwhile. */
  #forget(peer: NodeId, key: string, { frees, seals }: DiskMessage): void {
    const disks = this.#notes.get(peer)
    const notes = disks?.get(key)
    if (disks === undefined || notes === undefined) return
    for (let at = 0; at < frees.length; at += 2) {
      const vdisk = frees[at] as VDiskId
      if (notes.frees.get(vdisk) === frees[at + 1]) notes.frees.delete(vdisk)
    }
    for (let at = 0; at < seals.length; at += 3) {
      const name = `${seals[at]}/${seals[at + 1]}`
      if (notes.seals.get(name)?.end === seals[at + 2]) notes.seals.delete(name)
    }
    if (notes.frees.size + notes.seals.size === 0) disks.delete(key)
    if (disks.size === 0) this.#notes.delete(peer)
  }
}

const refused = -1

function dropOldest(notes: Map<unknown, unknown>): void {
  if (notes.size > notesMax) notes.delete(notes.keys().next().value)
}

function diskMessage(asked: DiskWants | undefined, notes: Notes | undefined): DiskMessage {
  const ref = (asked ?? notes)?.ref as DiskRef
  const message: DiskMessage = {
    disk: ref.disk,
    incarnation: ref.incarnation,
    grants: [],
    frees: [],
    seals: [],
  }
  for (const { vdisk, epoch, episode } of asked?.wants ?? []) message.grants.push(vdisk, epoch, episode)
  let count = 0
  for (const [vdisk, upTo] of notes?.frees ?? []) {
    if (count++ === notesPerMessage) break
    message.frees.push(vdisk, upTo)
  }
  for (const { vdisk, episode, end } of notes?.seals.values() ?? []) {
    if (count++ >= notesPerMessage) break
    message.seals.push(vdisk, episode, end)
  }
  return message
}

function answer(message: readonly DiskMessage[], find: Find): Answer {
  return message.map(({ disk, incarnation, grants, frees, seals }) => {
    const replica = find(disk, incarnation)
    if (replica === undefined) return null
    for (let at = 0; at < frees.length; at += 2) replica.free(frees[at] as VDiskId, frees[at + 1] as Sequence)
    for (let at = 0; at < seals.length; at += 3)
      replica.seal(seals[at] as VDiskId, seals[at + 1] as EpisodeId, seals[at + 2] as Sequence)
    const lasts: number[] = []
    for (let at = 0; at < grants.length; at += 3)
      lasts.push(
        replica.grant(grants[at] as VDiskId, grants[at + 1] as Epoch, grants[at + 2] as EpisodeId)?.last ??
          refused,
      )
    return lasts
  })
}
