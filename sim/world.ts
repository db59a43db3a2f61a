/**
 * The world is a whole cluster in one process, on virtual time, from one seed.
 *
 *  1. What happens depends on the seed and on the code, on nothing else: two runs have equal `eventHash`es.
 *  2. One event is handled at a time, and everything that it made ready (promises, microtasks) before the next. Virtual
 *     time moves only between events: code takes no time.
 *  3. A node's process can be killed (its machine lives on: what it wrote stays, its peers are told), its machine can
 *     lose power (what wasn't synced may be gone; its peers are told, or not), and it can be frozen.
 *  4. An exception in a callback is a bug: it ends the run, with seed and time in its message.
 *
 * Where to go on: sim-files.ts and sim-disk.ts (what disks promise, and how they fail), sim-network.ts (cuts and delays).
 * Not here: what is tested; scenarios are written beside, in tests.
 */
import { assert, AssertionFailure } from '../src/base/assert.ts'
import { crc32c } from '../src/base/crc32c.ts'
import { overwriteWhatIsGivenBack } from '../src/base/large-buffers.ts'
import type { Platform } from '../src/platform/platform.ts'
import { Schedule, type SimEvent } from './schedule.ts'
import { SeededChance } from './seeded-chance.ts'
import { SimDisk } from './sim-disk.ts'
import { diskTimingDefault, SimFiles, type DiskTiming } from './sim-files.ts'
import { SimLog } from './sim-log.ts'
import { networkNatureDefault, SimNetwork, type NetworkNature } from './sim-network.ts'
import { asError, SimProcess, type Host } from './sim-process.ts'
import { drawClockNature, VirtualClock, type ClockNature } from './virtual-clock.ts'

export interface WorldOptions {
  readonly seed: number
  /** Gets a line for each event and each line that a node logs. */
  readonly trace?: (line: string) => void
  /** How far a clock's rate may be from 1. */
  readonly driftMax?: number
  readonly network?: Partial<NetworkNature>
  readonly disks?: Partial<DiskTiming>
}

/** What `start` runs: a node, or anything else that can be closed. */
export interface Closable {
  close(): Promise<void>
}

export interface Running<T> {
  /** The process has not ended. */
  readonly alive: boolean
  /** What `main` resolved to, once it has. */
  readonly value: T | undefined
  /** Why `main` rejected; the process has ended then. */
  readonly failure: unknown
}

interface SimNodeState {
  readonly host: Host
  readonly disk: SimDisk
  readonly clock: ClockNature
  readonly locks: Map<string, SimProcess>
  incarnation: number
  life: Life | undefined
}

interface Life {
  readonly process: SimProcess
  readonly files: SimFiles
  readonly platform: Platform
}

/** Within a run, if nothing else is said. */
const limitMsDefault = 600_000
/** More at one instant means that something goes round in circles. */
const eventsAtOneInstantMax = 1_000_000

export class World {
  readonly seed: number
  readonly network: SimNetwork
  readonly #schedule: Schedule
  readonly #chance: SeededChance
  readonly #options: WorldOptions
  readonly #nodes = new Map<string, SimNodeState>()
  #running = false
  #bug: AssertionFailure | undefined
  #failure: Error | undefined

  constructor(options: WorldOptions) {
    overwriteWhatIsGivenBack()
    this.#options = options
    this.seed = options.seed
    this.#chance = new SeededChance(options.seed, 'world')
    this.#schedule = new Schedule(new SeededChance(options.seed, 'schedule'))
    this.network = new SimNetwork(this.#schedule, new SeededChance(options.seed, 'network'), {
      ...networkNatureDefault,
      ...options.network,
    })
  }

  /** True time in milliseconds since the world began. No node's clock shows it. */
  get now(): number {
    return this.#schedule.now
  }

  get eventHash(): string {
    return this.#schedule.eventHash
  }

  /** Chance for a scenario, apart from what the nodes, the network and the disks draw. */
  chance(purpose: string): SeededChance {
    return new SeededChance(this.seed, `scenario ${purpose}`)
  }

  /** Makes a node; one that is mentioned first elsewhere has a machine of its own. */
  addNode(name: string, options: { readonly machine?: string } = {}): void {
    assert(!this.#nodes.has(name), () => `the node ${name} is there already`)
    this.#nodes.set(name, {
      host: { name, machine: options.machine ?? name, power: 'on' },
      disk: new SimDisk(),
      clock: drawClockNature(new SeededChance(this.seed, `clock ${name}`), this.#options.driftMax ?? 0.009),
      locks: new Map(),
      incarnation: 0,
      life: undefined,
    })
  }

  /** The disks of a node, where faults are set and bytes rot. */
  disk(node: string): SimDisk {
    return this.#node(node).disk
  }

  /** What the node's process has now; begins one where there is none. */
  platform(node: string): Platform {
    return (this.#node(node).life ?? this.#begin(node)).platform
  }

  /** Begins the node's process. Its machine is switched on if it was off. */
  start<T extends Closable>(node: string, main: (platform: Platform) => Promise<T>): Running<T> {
    assert(!this.#node(node).life, () => `the process of ${node} is running already`)
    const { process, platform } = this.#begin(node)
    let value: T | undefined
    let failure: unknown
    this.#schedule.inProcess(process, 0, 'start', () => {
      main(platform).then(
        (result) => {
          value = result
        },
        (error: unknown) => {
          failure = error
          if (error instanceof AssertionFailure) this.#bug = error
          platform.log.error('main failed', { error: String(error) })
          this.#end(node, process, false)
        },
      )
    })
    return {
      get alive() {
        return process.alive
      },
      get value() {
        return value
      },
      get failure() {
        return failure
      },
    }
  }

  /** Closes in good order what `start` began, then ends the process. For use inside the world (`play`). */
  async stop(node: string, running: Running<Closable>): Promise<void> {
    const { life } = this.#node(node)
    await running.value?.close()
    if (life) this.#end(node, life.process, false)
  }

  /** `kill -9`: the machine lives on, and tells the peers. */
  kill(node: string): void {
    const { life } = this.#node(node)
    if (life) this.#end(node, life.process, false)
  }

  /** The power goes. `silent`: nobody is told, and nothing answers until the node is started again. */
  crash(node: string, { silent = false }: { readonly silent?: boolean } = {}): void {
    const state = this.#node(node)
    this.#schedule.record('power cut', node)
    if (silent) state.host.power = 'off'
    state.disk.powerCut(new SeededChance(this.seed, `power cut ${node} ${state.disk.powerCycle}`))
    if (state.life) this.#end(node, state.life.process, silent)
  }

  /** Nothing of the node runs until it is thawed. Its clock runs on, and its machine's network too. */
  freeze(node: string, forMs?: number): void {
    const process = this.#node(node).life?.process
    if (!process) return
    process.freeze()
    if (forMs !== undefined) this.#schedule.after(forMs, 'thaw', () => this.#thaw(process))
  }

  thaw(node: string): void {
    const process = this.#node(node).life?.process
    if (process) this.#thaw(process)
  }

  /** Drops everything from `a` to `b`; both ways unless `oneWay`. */
  cut(a: string, b: string, { oneWay = false }: { readonly oneWay?: boolean } = {}): void {
    this.network.cut(a, b)
    if (!oneWay) this.network.cut(b, a)
  }

  heal(a: string, b: string): void {
    this.network.heal(a, b)
    this.network.heal(b, a)
  }

  /** Cuts a node off from all others. */
  isolate(node: string): void {
    for (const other of this.#nodes.keys()) if (other !== node) this.cut(node, other)
  }

  healAll(): void {
    this.network.healAll()
  }

  /** Who looks on has seen what must not be: the run ends with this error once the event that it saw it in is over. */
  fail(error: Error): void {
    this.#failure ??= error
  }

  jumpWallClock(node: string, ms: number): void {
    this.#node(node).clock.wallErrorMs += ms
  }

  /** Something that the scenario does `ms` from now, whatever the nodes do. */
  after(ms: number, act: () => void): void {
    this.#schedule.after(ms, 'scenario', act)
  }

  /** Runs until the virtual time, or until the condition holds after an event (it must, within `limitMs`). */
  async run(until: number | (() => boolean), limitMs = limitMsDefault): Promise<void> {
    assert(!this.#running, 'the world is running already')
    this.#running = true
    const end = typeof until === 'number' ? until : this.now + limitMs
    const isDone = typeof until === 'number' ? () => false : until
    let instant = this.now
    let eventsAtInstant = 0
    /** Handles the next event that does anything; false when there is nothing more to do. */
    const step = (): boolean => {
      for (;;) {
        if (isDone()) return false
        const event = this.#schedule.next(end)
        if (!event) {
          assert(
            typeof until === 'number',
            () => `what was waited for did not happen: ${this.#whereabouts()}`,
          )
          this.#schedule.now = Math.max(this.now, end)
          return false
        }
        this.#schedule.now = Math.max(this.now, event.time)
        eventsAtInstant = this.now === instant ? eventsAtInstant + 1 : 0
        instant = this.now
        assert(eventsAtInstant < eventsAtOneInstantMax, () => `time stands still: ${this.#whereabouts()}`)
        if (this.#happen(event)) return true
      }
    }
    const nextTurn = (): boolean => {
      if (this.#failure) throw this.#failure
      if (this.#bug)
        throw new Error(`a bug, ${this.#whereabouts()}: ${this.#bug.message}`, { cause: this.#bug })
      return step()
    }
    try {
      await inTurns(nextTurn)
    } finally {
      this.#running = false
    }
  }

  /** Runs the world until a story told from outside of it has come to its end. It must await only what is in the world. */
  async play<T>(story: () => Promise<T>, limitMs?: number): Promise<T> {
    let ended = false
    const end = () => {
      ended = true
    }
    const told = story()
    told.then(end, end)
    await this.run(() => ended, limitMs)
    return told
  }

  #happen(event: SimEvent): boolean {
    const { process, run } = event
    if (!run) return false
    if (process) {
      if (!process.alive) return false
      if (process.frozen) {
        process.hold(event)
        return false
      }
    }
    const who = process?.name ?? ''
    this.#schedule.record(event.kind, who)
    this.#options.trace?.(`${this.now.toFixed(4)} ${who} ${event.kind}`)
    try {
      run()
    } catch (error) {
      throw new Error(
        `a bug in ${event.kind} of ${who || 'the world'}, ${this.#whereabouts()}: ${String(error)}`,
        {
          cause: error,
        },
      )
    }
    return true
  }

  #whereabouts(): string {
    return `seed ${this.seed}, ${this.now.toFixed(4)} ms`
  }

  #node(name: string): SimNodeState {
    if (!this.#nodes.has(name)) this.addNode(name)
    return this.#nodes.get(name) as SimNodeState
  }

  #begin(name: string): Life {
    const node = this.#node(name)
    node.incarnation++
    node.host.power = 'on'
    this.network.hostIsOn()
    const process = new SimProcess(node.host, node.incarnation)
    const chanceOf = (what: string) => new SeededChance(this.seed, `${what} of ${process.name}`)
    const timing = { ...diskTimingDefault, ...this.#options.disks }
    const files = new SimFiles(this.#schedule, process, node.disk, chanceOf('files'), timing, node.locks)
    const platform: Platform = {
      clock: new VirtualClock(this.#schedule, process, node.clock, chanceOf('timers')),
      chance: chanceOf('chance'),
      files,
      sockets: this.network.socketsOf(process),
      log: new SimLog((level, message, facts) => this.#logged(process, level, message, facts)),
    }
    node.life = { process, files, platform }
    return node.life
  }

  #end(name: string, process: SimProcess, silent: boolean): void {
    const node = this.#node(name)
    if (!process.alive) return
    this.#schedule.record('process ended', process.name)
    this.#options.trace?.(`${this.now.toFixed(4)} ${process.name} ended`)
    process.alive = false
    node.life?.files.processEnded()
    this.network.processEnded(process, silent)
    if (node.life?.process === process) node.life = undefined
  }

  #thaw(process: SimProcess): void {
    if (process.alive) process.thaw(this.#schedule, this.#chance.happens(0.5))
  }

  #logged(process: SimProcess, level: string, message: string, facts: object | undefined): void {
    if (!process.alive) return
    this.#schedule.record('log', process.name, crc32c(Buffer.from(message)))
    this.#options.trace?.(
      `${this.now.toFixed(4)} ${process.name} ${level}: ${message}${facts ? ` ${JSON.stringify(facts, readable)}` : ''}`,
    )
  }
}

const readable = (_key: string, value: unknown): unknown =>
  value instanceof Error || typeof value === 'bigint' ? String(value) : value

/**
 * Takes one step in each turn of the real loop, until one says that it was the last: before a turn begins, every
 * microtask of the one before is done, and every one that those made. (A count of `await`s would not do: promise chains
 * have any length.) Many turns are asked for at once: what the loop does beside them costs more than they do.
 */
function inTurns(step: () => boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    let over = false
    const turn = (): void => {
      if (over) return
      try {
        over = !step()
        if (over) resolve()
      } catch (error) {
        over = true
        reject(asError(error))
      }
    }
    const askForTurns = (): void => {
      if (over) return
      for (let i = 0; i < turnsAtOnce; i++) setImmediate(turn)
      setImmediate(askForTurns)
    }
    setImmediate(askForTurns)
  })
}

const turnsAtOnce = 64
