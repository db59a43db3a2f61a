/**
 * An operator who takes nodes and disks out of use and back while clients work: drains, takes drains back, maintenance, and the removal
 * of a node for good; each through any node, and again where no answer came.
 *
 *  1. What is refused is a right answer, if it says why; what was answered is so from then on, and outlives everything.
 *  2. A node of which removal was answered takes nothing with it: its machine is lost at that moment.
 *  3. When it is stopped all are active again but one at most, `drained`, on which nothing may be left in the end.
 */
import { NdfsError } from '../src/base/errors.ts'
import type { NodeId } from '../src/base/ids.ts'
import type { NodeManagement } from '../src/node-management.ts'
import { type Cluster, disksOfNode } from './cluster.ts'
import { SeededChance } from './seeded-chance.ts'

export const orderlyOperations = {
  'drain a node': 'a node is being drained',
  'drain a disk': 'a disk is being drained',
  'see a drain done': 'status says that nothing is left on what is drained',
  'go into maintenance': 'a node goes into maintenance',
  'make active': 'a node and its disks are used again as all others',
  'remove a node': 'a drained node is no part of the cluster any more',
  refused: 'a change is refused, with the reason',
} as const

export type OrderlyOperation = keyof typeof orderlyOperations

export interface OrderlyOptions {
  readonly seed: number
  readonly copies: number
  /** Nodes that may be removed for good. */
  readonly removalsMax: number
  readonly log: (line: string) => void
}

type Asked<T> = (management: NodeManagement) => Promise<T>

const patienceMs = 8_000
const repairWaitsSecondsOf = [1, 5, 600] as const
/** Active nodes that are left, at least, besides as many as there are copies: one may be down. */
const spareNodes = 0

export class OrderlyOperator {
  readonly counts = new Map<OrderlyOperation, number>()
  /** Left draining at the end. */
  drained: NodeId | undefined
  readonly #cluster: Cluster
  readonly #options: OrderlyOptions
  readonly #chance: SeededChance
  readonly #away = new Set<NodeId>()
  /** Of them. */
  readonly #inMaintenance = new Set<NodeId>()
  #removals = 0
  #stopping = false

  constructor(cluster: Cluster, options: OrderlyOptions) {
    this.#cluster = cluster
    this.#options = options
    this.#chance = new SeededChance(options.seed, 'orderly operator')
  }

  async run(): Promise<void> {
    while (!this.#stopping) {
      await this.#pause(this.#chance.between(0, 800))
      if (this.#stopping) break
      const draw = this.#chance.below(10)
      if (draw < 3) await this.#drainNode()
      else if (draw < 5) await this.#drainDisk()
      else if (draw < 7) await this.#maintain()
      else if (draw < 8) await this.#removeOne()
      else await this.#activateOne()
    }
    for (const node of this.#away) await this.#activate(node)
    if (this.#chance.happens(0.5)) await this.#drainNode()
    this.drained = [...this.#away][0]
  }

  stop(): void {
    this.#stopping = true
  }

  async #drainNode(): Promise<void> {
    const node = this.#one(this.#cluster.notLost())
    if (!this.#mayLeave(node)) return
    this.#away.add(node)
    if (await this.#change((management) => management.changeNode(node, { mode: 'draining' })))
      this.#count('drain a node', node)
    else if (this.#stopping) this.#away.delete(node)
  }

  async #drainDisk(): Promise<void> {
    const node = this.#one(this.#cluster.notLost())
    const disk = `${node}-${this.#one(disksOfNode)}-0`
    if (!this.#mayLeave(node)) return
    this.#away.add(node)
    if (await this.#change((management) => management.changeDisk(disk, { mode: 'draining' })))
      this.#count('drain a disk', disk)
  }

  async #maintain(): Promise<void> {
    const node = this.#one(this.#cluster.notLost())
    const repairWaitsSeconds = this.#one(repairWaitsSecondsOf)
    if (!this.#mayLeave(node)) return
    this.#away.add(node)
    const change = { mode: 'maintenance', repairWaitsSeconds } as const
    if (await this.#change((management) => management.changeNode(node, change))) {
      this.#inMaintenance.add(node)
      this.#count('go into maintenance', node)
    }
  }

  async #activateOne(): Promise<void> {
    const away = [...this.#away]
    if (away.length > 0) await this.#activate(this.#one(away))
  }

  async #activate(node: NodeId): Promise<void> {
    const isThere = this.#cluster.notLost().includes(node)
    // One that was lost in maintenance is waited for until somebody says that it doesn't come back.
    if (isThere || this.#inMaintenance.has(node))
      while (!(await this.#change((management) => management.changeNode(node, { mode: 'active' }))));
    if (isThere) {
      for (const tier of disksOfNode) {
        const disk = `${node}-${tier}-0`
        while (!(await this.#change((management) => management.changeDisk(disk, { mode: 'active' }))));
      }
      this.#count('make active', node)
    }
    this.#inMaintenance.delete(node)
    this.#away.delete(node)
  }

  async #removeOne(): Promise<void> {
    const status = await this.#ask((management) => management.status())
    const done = status?.leaving?.filter((one) => one.done && one.mode === 'draining') ?? []
    if (done.length === 0) return
    this.#count('see a drain done', done[0].sentence)
    const [node] = done.flatMap((one) => (one.disk === undefined ? [one.node as NodeId] : []))
    if (node === undefined || this.#removals >= this.#options.removalsMax) return
    if (!this.#cluster.notLost().includes(node)) return
    this.#removals++
    if (!(await this.#change((management) => management.removeNode(node)))) {
      // Begun, perhaps, and not ended: it goes on, or is taken back.
      while (!(await this.#ended(node)) && !(await this.#change((management) => management.removeNode(node))))
        await this.#pause(500)
    }
    this.#cluster.lose(node)
    this.#away.delete(node)
    this.#count('remove a node', node)
  }

  /** Nobody knows the node any more. */
  async #ended(node: NodeId): Promise<boolean> {
    const nodes = await this.#ask((management) => management.listNodes())
    return nodes !== undefined && !nodes.some(({ id }) => id === node)
  }

  #mayLeave(node: NodeId): boolean {
    const staying = this.#cluster.notLost().filter((one) => one !== node && !this.#away.has(one))
    return !this.#away.has(node) && staying.length >= this.#options.copies + spareNodes
  }

  /** True: it was answered that it is so. False: it was refused. Asked again where nobody answered. */
  async #change(asked: Asked<unknown>): Promise<boolean> {
    for (;;) {
      const answer = await this.#answer(asked)
      if (answer === undefined) {
        await this.#pause(this.#chance.between(10, 500))
        continue
      }
      if (answer.error === undefined) return true
      const { code } = answer.error
      if (code === 'REFUSED' || code === 'UNAVAILABLE') {
        this.#count('refused', answer.error.message)
        await this.#pause(this.#chance.between(10, 500))
        return false
      }
      if (code === 'NOT_FOUND') throw answer.error
    }
  }

  async #ask<T>(asked: Asked<T>): Promise<T | undefined> {
    const answer = await this.#answer(asked)
    return answer?.value
  }

  /** Undefined where none came. */
  #answer<T>(asked: Asked<T>): Promise<{ readonly value?: T; readonly error?: NdfsError } | undefined> {
    const cluster = this.#cluster
    const nodes = cluster.serving()
    if (nodes.length === 0) return Promise.resolve(undefined)
    const node = this.#one(nodes)
    return new Promise((resolve, reject) => {
      const noAnswer = (): void => {
        forget()
        resolve(undefined)
      }
      const forget = cluster.onEnded((ended) => {
        if (ended === node) noAnswer()
      })
      cluster.world.after(patienceMs, noAnswer)
      cluster.inNode(node, () => {
        const running = cluster.node(node)
        if (running === undefined) return
        asked(running.management)
          .then(
            (value) => resolve({ value }),
            (error: unknown) => (error instanceof NdfsError ? resolve({ error }) : reject(error as Error)),
          )
          .finally(forget)
      })
    })
  }

  #count(operation: OrderlyOperation, what: string): void {
    this.#options.log(`${operation}: ${what}`)
    this.counts.set(operation, (this.counts.get(operation) ?? 0) + 1)
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.#cluster.world.after(ms, resolve))
  }

  #one<T>(of: readonly T[]): T {
    return of[this.#chance.below(of.length)]
  }
}
