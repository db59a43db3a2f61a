/**
 * An operator of the simulated cluster, who manages it while clients work: makes containers and vDisks that live for
 * seconds, uses them, makes them larger, deletes them, sets caches, and asks how things are; each time through any node.
 *
 *  1. What the operator was told is true at every node from then on: what was created is there, what was deleted is not.
 *  2. Where no answer came, or one that leaves open what was done, the same is asked again through any node; only then
 *     may it have been done already.
 *  3. What is read of a vDisk that is made anew under an old name is zeros: its history begins again.
 *  4. When it is stopped it deletes what it has made.
 */
import { messageOf, NdfsError, type NdfsErrorCode } from '../src/base/errors.ts'
import type { NodeId } from '../src/base/ids.ts'
import { KiB } from '../src/base/units.ts'
import type { CheckFinding } from '../src/management/management.ts'
import type { NodeManagement } from '../src/node-management.ts'
import type { Cluster } from './cluster.ts'
import { sectorBytes, SectorHistory } from './sector-history.ts'
import type { SeededChance } from './seeded-chance.ts'
import { Client } from './workload.ts'

export const operations = {
  'create a container': 'a container is made, and shown by any node',
  'create a vDisk': 'a vDisk is made, and shown and opened by any node',
  'grow a vDisk': 'a vDisk is made larger, and what was added is zeros',
  'delete a vDisk': 'a vDisk is deleted, and no node knows it any more',
  'delete a container': 'a container is deleted with what is in it',
  'create again': 'a vDisk is made anew under the name of a deleted one',
  'set a cache': "a node's cache is given another bound",
  check: 'the whole cluster is checked, and nothing is found that troubles do not explain',
  list: 'nodes, disks, containers and vDisks are listed, and the status asked for',
} as const

export type Operation = keyof typeof operations

export interface OperatorOptions {
  readonly copies: 1 | 2 | 3
  /** vDisks that somebody else made, and that stay. */
  readonly lasting: readonly string[]
  readonly containers: readonly string[]
  readonly nextStamp: () => number
  readonly log: (line: string) => void
}

type Asked<T> = (management: NodeManagement, node: NodeId) => Promise<T>

/** How long an answer is waited for. */
const patienceMs = [3_000, 15_000] as const
/** After these it is known what was done; others are asked again. */
const definite: readonly NdfsErrorCode[] = [
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'REFUSED',
  'IN_USE',
  'DAMAGED_METADATA',
  'CORRUPT_EXTENT',
]
/** What disks and nodes that fail explain. */
const explained: readonly CheckFinding['kind'][] = ['missing copy', 'bad copy', 'misplaced copies']
const sectorsOfNew = [256, 300, 1024] as const

class NoAnswer extends Error {}

export class Operator {
  readonly counts = new Map<Operation, number>()
  /** Of each vDisk's life. */
  readonly histories: { readonly vdisk: string; readonly history: SectorHistory }[] = []
  readonly #cluster: Cluster
  readonly #options: OperatorOptions
  readonly #chance: SeededChance
  readonly #checks: SeededChance
  #stopping = false
  #lives = 0
  readonly #cachesAsked = new Set<string>()

  constructor(cluster: Cluster, options: OperatorOptions) {
    this.#cluster = cluster
    this.#options = options
    this.#chance = cluster.world.chance('operator')
    this.#checks = cluster.world.chance('operator checks')
  }

  /** Resolves when `stop` was called and all that was made is deleted. */
  async run(): Promise<void> {
    for (let number = 1; !this.#stopping; number++) {
      await this.#pause(this.#chance.between(0, 1_000))
      if (this.#stopping) return
      const draw = this.#chance.below(10)
      if (draw < 5) await this.#liveInContainer(`o${number}`)
      else if (draw < 7) await this.#setCache()
      else await this.#list()
    }
  }

  stop(): void {
    this.#stopping = true
  }

  /** The story of a container, from its making to its end. */
  async #liveInContainer(container: string): Promise<void> {
    const { copies } = this.#options
    const made = await this.#do('ALREADY_EXISTS', (management) =>
      management.createContainer({ name: container, copies }),
    )
    this.#expect(made === undefined || made.copies === copies, `${container} was made otherwise`)
    const shown = await this.#ask((management) => management.showContainer(container))
    this.#expect(shown.copies === copies, `${container} is shown with ${shown.copies} copies`)
    this.#count('create a container')

    for (let lives = 1 + this.#chance.below(2); ; lives--) {
      await this.#live(container)
      if (lives === 1 || this.#stopping) break
      await this.#deleteVDisk(container)
      this.#count('create again')
    }
    if (this.#chance.happens(0.5)) await this.#deleteVDisk(container)
    await this.#do('NOT_FOUND', (management) => management.deleteContainer(container, { force: true }))
    await this.#isGone(container)
    await this.#nobodyKnows(`container ${container}`, (management) => management.showContainer(container))
    this.#count('delete a container')
  }

  async #live(container: string): Promise<void> {
    const sectors = sectorsOfNew[this.#chance.below(sectorsOfNew.length)]
    const vdisk = { container, name: 'd' }
    const history = new SectorHistory()
    this.histories.push({ vdisk: `${container}/d`, history })
    const made = await this.#do('ALREADY_EXISTS', (management) =>
      management.createVDisk({ ...vdisk, sizeBytes: sectors * sectorBytes }),
    )
    await this.#hasSize(container, sectors, made?.id)
    this.#count('create a vDisk')
    await this.#use(container, sectors, history)
    if (!this.#chance.happens(0.4)) return

    const larger = sectors + [1, 8, 2048][this.#chance.below(3)]
    await this.#ask((management) => management.changeVDisk(vdisk, { sizeBytes: larger * sectorBytes }))
    await this.#hasSize(container, larger, made?.id)
    this.#count('grow a vDisk')
    await this.#use(container, larger, history)
  }

  async #hasSize(container: string, sectors: number, id: number | undefined): Promise<void> {
    const shown = await this.#ask((management) => management.showVDisk({ container, name: 'd' }))
    this.#expect(
      shown.sizeBytes === sectors * sectorBytes && (id === undefined || shown.id === id),
      `${container}/d was said to be vDisk ${id} of ${sectors * sectorBytes} bytes, and is shown as ${shown.id} of ${shown.sizeBytes}`,
    )
  }

  /** A client works for a while, through whatever nodes it likes. */
  async #use(container: string, sectors: number, history: SectorHistory): Promise<void> {
    const client = new Client(this.#cluster, {
      name: `operator-${++this.#lives}`,
      vdisk: `${container}/d`,
      sectors,
      hands: 2,
      readingHands: this.#chance.below(2),
      streamShare: 0,
      pauseMsMost: () => 60,
      history,
      nextStamp: this.#options.nextStamp,
    })
    const working = client.run()
    // Told when it is awaited.
    working.catch(() => undefined)
    await this.#pause(this.#chance.between(100, 1_500))
    client.stop()
    await working
  }

  async #deleteVDisk(container: string): Promise<void> {
    let force = this.#chance.happens(0.5)
    for (let asked = 1; ; asked++) {
      const { error, times } = await this.#outcome((management) =>
        management.deleteVDisk({ container, name: 'd' }, { force }),
      )
      if (error === undefined || (error.code === 'NOT_FOUND' && asked + times > 2)) break
      // Connections that broke were not closed, and count as clients for a while.
      if (error.code !== 'IN_USE' || force) throw this.#contradicted(error)
      force = true
    }
    await this.#isGone(container)
    this.#count('delete a vDisk')
  }

  async #isGone(container: string): Promise<void> {
    const vdisk = `${container}/d`
    await this.#nobodyKnows(vdisk, (management) => management.showVDisk({ container, name: 'd' }))
    await this.#nobodyKnows(vdisk, (_, node) => this.#cluster.node(node)!.router.open(vdisk))
  }

  async #setCache(): Promise<void> {
    const cacheBytes = [0, 64 * KiB, 8192 * KiB][this.#chance.below(3)]
    const node = this.#one(this.#cluster.names)
    this.#cachesAsked.add(`${node} ${cacheBytes}`)
    const told = await this.#ask((management) => management.changeNode(node, { cacheBytes }))
    const limit = told.cache?.limitBytes
    // An earlier request that got no answer may come now.
    this.#expect(
      limit === undefined || this.#cachesAsked.has(`${node} ${limit}`),
      `${node}: ${limit} for ${cacheBytes} of cache`,
    )
    this.#count('set a cache')
  }

  async #list(): Promise<void> {
    const { lasting, containers: lastingContainers } = this.#options
    const { names } = this.#cluster
    const nodes = await this.#ask((management) => management.listNodes())
    this.#expect(nodes.map(({ id }) => id).join() === names.join(), 'not all nodes are listed')
    const disks = await this.#ask((management) => management.listDisks())
    this.#expect(disks.length === 2 * names.length, `${disks.length} disks are listed`)
    const vdisks = await this.#ask((management) => management.listVDisks())
    const listed = vdisks.map(({ name }) => name).sort()
    this.#expect(listed.join() === [...lasting].sort().join(), `listed are ${listed.join()}`)
    const containers = await this.#ask((management) => management.listContainers())
    const found = containers.map(({ name }) => name).sort()
    this.#expect(found.join() === lastingContainers.join(), `listed are ${found.join()}`)
    const status = await this.#ask((management) => management.status())
    this.#expect(status.vdisks.total === lasting.length, `the status counts ${status.vdisks.total} vDisks`)
    await this.#ask(async (management) => management.statistics())
    this.#count('list')
    if (this.#checks.happens(0.6)) await this.#check()
  }

  /** While everything goes wrong and is changed, copies may be missing or rotten: but nothing points to nothing, and nothing is left over. */
  async #check(): Promise<void> {
    const nodes = this.#cluster.serving()
    if (nodes.length === 0) return
    const node = this.#one(nodes)
    try {
      let info = await this.#answerOf(node, (management) => management.beginCheck({}))
      while (info.state === 'running') {
        await this.#pause(500)
        const { id } = info
        info = await this.#answerOf(node, (management) => management.showCheck(id))
      }
      const wrong = info.findings.find(({ kind }) => !explained.includes(kind))
      if (wrong !== undefined) throw new Error(`ndfs check: ${wrong.kind}: ${wrong.what}`)
      this.#count('check')
    } catch (error) {
      // The node has ended, or has no time to answer.
      if (!(error instanceof NoAnswer) && !(error instanceof NdfsError)) throw error
    }
  }

  /** An answer that is right whatever was asked before. */
  async #ask<T>(asked: Asked<T>): Promise<T> {
    const { value, error } = await this.#outcome(asked)
    if (error !== undefined) throw this.#contradicted(error)
    return value as T
  }

  /** Something to be done; where an earlier request may have done it already, that is said with `done`. */
  async #do<T>(done: NdfsErrorCode, asked: Asked<T>): Promise<T | undefined> {
    const { value, error, times } = await this.#outcome(asked)
    if (error !== undefined && !(error.code === done && times > 1)) throw this.#contradicted(error)
    return value
  }

  /** Every node that answers says so. */
  async #nobodyKnows(what: string, asked: Asked<unknown>): Promise<void> {
    for (const node of this.#cluster.serving()) {
      const answer = await this.#answerOf(node, asked).then(
        () => 'nothing against it',
        (error: unknown) => error,
      )
      if (answer instanceof NdfsError ? answer.code === 'DAMAGED_METADATA' : !(answer instanceof NoAnswer))
        throw new Error(`${what} was deleted, and ${node} says ${messageOf(answer)}`, { cause: answer })
    }
  }

  /** Asks nodes until one says what is, or was done. */
  async #outcome<T>(
    asked: Asked<T>,
  ): Promise<{ readonly value?: T; readonly error?: NdfsError; readonly times: number }> {
    for (let times = 0; ;) {
      const nodes = this.#cluster.serving()
      if (nodes.length === 0) {
        await this.#pause(200)
        continue
      }
      times++
      try {
        return { value: await this.#answerOf(this.#one(nodes), asked), times }
      } catch (error) {
        if (error instanceof NdfsError && definite.includes(error.code)) return { error, times }
        if (!(error instanceof NoAnswer) && !(error instanceof NdfsError)) throw error
      }
      await this.#pause(this.#chance.between(10, 500))
    }
  }

  #answerOf<T>(node: NodeId, asked: Asked<T>): Promise<T> {
    const cluster = this.#cluster
    return new Promise<T>((resolve, reject) => {
      const noAnswer = (): void => {
        forget()
        reject(new NoAnswer(`no answer from ${node}`))
      }
      const forget = cluster.onEnded((ended) => {
        if (ended === node) noAnswer()
      })
      cluster.world.after(this.#chance.between(...patienceMs), noAnswer)
      cluster.inNode(node, () => {
        const running = cluster.node(node)
        if (running !== undefined) asked(running.management, node).then(resolve, reject).finally(forget)
      })
    })
  }

  #contradicted(error: NdfsError): Error {
    return new Error(`an operator was told ${error.code}: ${messageOf(error)}`, { cause: error })
  }

  #expect(holds: boolean, otherwise: string): void {
    if (!holds) throw new Error(`an operator was told something else before: ${otherwise}`)
  }

  #count(operation: Operation): void {
    this.#options.log(`${operation} was done`)
    this.counts.set(operation, (this.counts.get(operation) ?? 0) + 1)
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.#cluster.world.after(ms, resolve))
  }

  #one<T>(of: readonly T[]): T {
    return of[this.#chance.below(of.length)]
  }
}
