/**
 * The checkers of I1 to I10 (DESIGN section 4), joined and attached to a running cluster: from then on each looks at what the
 * disks, the store and the clients show, when it changes, and the first broken promise ends the run.
 *
 *  1. They look on from outside: nothing that runs in the world is changed, no event added, no chance drawn.
 *  2. They pay for what changes, not for what there is: no look goes over whole disks, but the last.
 */
import { decodeControl } from '../../src/base/control.ts'
import type { MedusaCalls } from '../../src/medusa/medusa-requests.ts'
import type { ZeusCalls } from '../../src/zeus/zeus-requests.ts'
import type { Cluster } from '../cluster.ts'
import type { SectorHistory, SectorWrite } from '../sector-history.ts'
import type { ClientObserver } from '../workload.ts'
import { DurableCopies } from './durable-copies.ts'
import { type Invariant, InvariantViolation } from './invariant-violation.ts'
import { MetadataShadow } from './metadata-shadow.ts'
import { OneOwner } from './one-owner.ts'

export interface CheckersOptions {
  /** How many copies the vDisks' container asks for. */
  readonly copies: number
}

export class Checkers {
  readonly #cluster: Cluster
  readonly #copies: number
  readonly #durableCopies = new DurableCopies()
  readonly #metadata = new MetadataShadow()
  readonly #oneOwner = new OneOwner()

  constructor(cluster: Cluster, { copies }: CheckersOptions) {
    this.#cluster = cluster
    this.#copies = copies
    cluster.onStoreRequest = (kind, body, answer) => this.#storeAnswered(kind, body, answer)
    for (const node of cluster.names)
      cluster.world.disk(node).observer = {
        durable: (content, position, bytes) => this.#durableCopies.landed(node, content, position, bytes),
      }
  }

  /** What the clients of one vDisk tell. */
  clientObserver(history: SectorHistory): ClientObserver {
    return {
      sent: (write) => this.#durableCopies.sent(write),
      gaveUp: (write) => this.#durableCopies.gaveUp(write),
      acknowledged: (write) =>
        this.#judge(
          'I1',
          this.#durableCopies.acknowledged(write, this.#copies, () => isOverlapped(write, history)),
        ),
    }
  }

  #storeAnswered(kind: string, body: Buffer, answer: Uint8Array): void {
    if (kind === 'medusa.change') this.#medusaChanged(body, answer)
    else if (kind === 'zeus.claim') {
      const { owner } = decodeControl<ZeusCalls['zeus.claim']['answer']>(answer)
      const { vdisk } = decodeControl<ZeusCalls['zeus.claim']['asks']>(body)
      this.#judge('I4', this.#oneOwner.claimed(vdisk, owner.epoch, `${owner.node} (${owner.incarnation})`))
    }
  }

  #medusaChanged(body: Buffer, answer: Uint8Array): void {
    const result = decodeControl<MedusaCalls['medusa.change']['answer']>(answer)
    if (result.outcome !== 'applied') return
    const { partition, change } = decodeControl<MedusaCalls['medusa.change']['asks']>(body)
    const made = this.#metadata.read(partition, change, result.static)
    this.#judge('I4', this.#oneOwner.changed(made))
    this.#metadata.apply(made)
    if (partition.table === 'vdisk') this.#lookAtOwners()
  }

  #lookAtOwners(): void {
    for (const name of this.#cluster.serving()) {
      const { controller, incarnation } = this.#cluster.node(name)!
      for (const { id, epoch, stopped } of controller.all())
        if (stopped === undefined)
          this.#judge('I4', this.#oneOwner.serves(id, epoch, `${name} (${incarnation})`))
    }
  }

  #judge(invariant: Invariant, fault: string | undefined): void {
    if (fault !== undefined) this.#cluster.world.fail(new InvariantViolation(invariant, fault))
  }
}

/** Some other change of sectors of the write may have happened since the write was called. */
const isOverlapped = (write: SectorWrite, { writes }: SectorHistory): boolean =>
  writes.some(
    (other) =>
      other !== write &&
      other.first < write.first + write.count &&
      write.first < other.first + other.count &&
      (other.answeredAt === undefined || other.answeredAt >= write.calledAt),
  )
