/**
 * Which disks are gone, as far as this node has heard: those that the session of their node does not show, under their incarnation,
 * as online. It decides what is worth copying and what may be unlinked, and nothing else; rows say what counts.
 *
 *   its node's session ended, or was never seen  ──graceMs──▶ gone: a process that is started again at once loses nothing
 *   … and it is in maintenance                    ──until the time that the operator gave──▶ gone
 *   its session shows it as failed, or no more    ──────────▶ gone
 *   its session shows it as online                ──────────▶ there
 */
import { type DiskRef, isThatDisk, type NodeId, sameDisk } from './base/ids.ts'
import type { Disk } from './disk/disk.ts'
import type { Clock, Timer } from './platform/platform.ts'
import type { NodeValue, SessionValue, SettingValue } from './zeus/zeus.ts'

export interface GoneDisksContext {
  readonly clock: Clock
  readonly node: NodeId
  /** This node's own. */
  readonly disks: readonly Pick<Disk, 'ref' | 'state'>[]
  readonly graceMs: number
  readonly nodes: ReadonlyMap<NodeId, NodeValue>
  readonly sessions: ReadonlyMap<NodeId, SessionValue>
  readonly settings: ReadonlyMap<NodeId, SettingValue>
  /** `losses`: something is gone that was there, as far as this node knew. */
  readonly changed: (losses: boolean) => void
}

export class GoneDisks {
  readonly #context: GoneDisksContext
  /** Whose session ended a moment ago; each with the timer of its grace. */
  readonly #mayComeBack = new Map<NodeId, Timer>()
  /** In maintenance, each with the timer of its end. */
  readonly #spared = new Map<NodeId, Timer>()
  #beginning: Timer | undefined
  #begun = false

  constructor(context: GoneDisksContext) {
    this.#context = context
  }

  /** All is known that there was to be heard at the start; what has no session gets its time, too. */
  begin(): void {
    const { clock, graceMs, changed } = this.#context
    this.#beginning = clock.after(graceMs, () => {
      this.#begun = true
      changed(true)
    })
  }

  isGone(disk: DiskRef): boolean {
    const { node, disks, sessions } = this.#context
    if (disk.node === node) return !disks.some(({ ref, state }) => sameDisk(ref, disk) && state === 'online')
    const session = sessions.get(disk.node)
    if (session === undefined) return this.#isOver(disk.node)
    return !shows(session, disk.disk, disk.incarnation)
  }

  /** Its node is there, and has it: one that has failed may still give what it holds (M12). */
  mayBeRead(disk: DiskRef): boolean {
    const { node: here, disks, sessions } = this.#context
    return disk.node === here
      ? disks.some(({ ref }) => sameDisk(ref, disk))
      : sessions.get(disk.node)?.disks.some((one) => isThatDisk(one, disk)) === true
  }

  /** Some disk of the cluster, as it is configured now. */
  isAnyGone(): boolean {
    const { node, nodes, disks, sessions } = this.#context
    if (disks.some(({ state }) => state !== 'online')) return true
    for (const [name, value] of nodes) {
      if (name === node) {
        // One that is missing since the start.
        if (!value.disks.every((one) => disks.some(({ ref }) => isThatDisk(one, ref)))) return true
        continue
      }
      const session = sessions.get(name)
      if (
        session === undefined
          ? this.#isOver(name)
          : !value.disks.every((one) => shows(session, one.id, one.incarnation))
      )
        return true
    }
    return false
  }

  /** A node's session in Zeus began, changed or ended. */
  sessionChanged(name: NodeId, now: SessionValue | undefined, before: SessionValue | undefined): void {
    const { clock, node, nodes, graceMs, changed } = this.#context
    if (name === node) return
    this.#mayComeBack.get(name)?.cancel()
    this.#mayComeBack.delete(name)
    if (now === undefined) {
      const timer = clock.after(graceMs, () => {
        this.#mayComeBack.delete(name)
        changed(true)
      })
      this.#mayComeBack.set(name, timer)
      return
    }
    // One that comes back within its grace may come without a disk that it had.
    const had = before?.disks.filter(({ state }) => state === 'online') ?? nodes.get(name)?.disks ?? []
    changed(had.some(({ id, incarnation }) => !shows(now, id, incarnation)))
  }

  /** An operator has set something for the node: how long its absence is no reason to repair. */
  settingChanged(name: NodeId): void {
    const { clock, settings, changed } = this.#context
    this.#spared.get(name)?.cancel()
    this.#spared.delete(name)
    const { mode, repairWaitsUntil = 0 } = settings.get(name) ?? {}
    const leftMs = repairWaitsUntil - clock.wallTime()
    if (mode !== 'maintenance' || leftMs <= 0) return
    const timer = clock.after(leftMs, () => {
      this.#spared.delete(name)
      changed(true)
    })
    this.#spared.set(name, timer)
  }

  /** A disk of this node left service. */
  ownFailed(): void {
    this.#context.changed(true)
  }

  stop(): void {
    this.#beginning?.cancel()
    for (const timer of [...this.#mayComeBack.values(), ...this.#spared.values()]) timer.cancel()
  }

  #isOver(node: NodeId): boolean {
    return this.#begun && !this.#mayComeBack.has(node) && !this.#spared.has(node)
  }
}

const shows = ({ disks }: SessionValue, disk: string, incarnation: string): boolean =>
  disks.some((one) => one.id === disk && one.incarnation === incarnation && one.state === 'online')
