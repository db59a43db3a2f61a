/**
 * The supervisor starts the processes of a cluster and looks after them.
 *
 *   (none)   → starting   [startNode, #startStore]
 *   starting → serving    its health says so
 *   any      → ended      the process is gone; a node stays so until somebody starts it, the store is started again
 *
 *  1. A node that ends by itself is reported at once: to the person who watches, in cluster.json, and to Zeus, so that
 *     others need not wait until its session runs out (M15). It is not started again: what made it end is for a person.
 *  2. The store is started again whenever it ends, ever slower while that does not help.
 *  3. `stop` ends the nodes, in order or by force, and only then the store that they still need to say goodbye.
 */
import { rm } from 'node:fs/promises'
import { NdfsError, messageOf } from '../base/errors.ts'
import type { Platform, Timer } from '../platform/platform.ts'
import { ask } from './api-client.ts'
import { Child, sentenceOfExit } from './child.ts'
import { refreshClusterFile } from './cluster-file.ts'
import type { Layout } from './layout.ts'
import type { Program } from './local.ts'
import { lastLines } from './log-lines.ts'
import { readLocalNodeConfig } from './node-config.ts'
import { endGraceMs } from './processes.ts'
import { wasRemoved } from './removed-node.ts'

/** Recovery of a long log after a crash of all nodes is part of a start. */
const startTimeoutMs = 120_000
const storeTimeoutMs = 30_000
/** What runs already should answer: a frozen process won't. */
const alreadyRunsTimeoutMs = 10_000
const pollMs = 50
const healthTimeoutMs = 2000
const storeRestartMsMin = 100
const storeRestartMsMax = 5000
/** A store that lived so long did not fail at its start. */
const storeSoundMs = 30_000
const linesShown = 8

export interface SupervisorOptions {
  readonly layout: Layout
  readonly program: Program
  readonly platform: Platform
  /** The cluster keeps its metadata in a store on this machine, which is a process too. */
  readonly hasStore: boolean
  /** Ends the Zeus session of a node whose process is gone. */
  readonly endSession: (node: string) => Promise<void>
  readonly say: (line: string) => void
  /** A process was started: its log may be followed from where it begins. */
  readonly onChild: (child: Child) => void
}

export class Supervisor {
  readonly #options: SupervisorOptions
  readonly #nodes = new Map<string, Child>()
  /** Starts and the tidying up after an end, one at a time for each node. */
  readonly #turns = new Map<string, Promise<unknown>>()
  #store: Child | undefined
  #storeStartedAt = 0
  #storeRestartMs = storeRestartMsMin
  #storeTimer: Timer | undefined
  #stopping = false

  constructor(options: SupervisorOptions) {
    this.#options = options
  }

  /** Resolves when all of them serve; rejects with the reason as soon as one can't. */
  async start(nodes: readonly string[]): Promise<void> {
    const { layout, platform } = this.#options
    if (this.#options.hasStore) await untilStoreListens(layout, platform, this.#startStore())
    await Promise.all(
      nodes.map((node) =>
        this.startNode(node).catch(async (error: unknown) => {
          if (!(await this.#wasRemoved(node))) throw error
          this.#options.say(`${node} was removed from the cluster, and is not started.`)
        }),
      ),
    )
  }

  /** Resolves when the node serves; at once, with false, where it did already. */
  startNode(node: string): Promise<boolean> {
    return this.#inTurn(node, async () => {
      if (this.#stopping)
        throw new NdfsError('UNAVAILABLE', `Cannot start ${node}: the cluster is being stopped.`)
      const { layout, platform, program } = this.#options
      const running = this.#nodes.get(node)
      if (running?.runs) {
        await untilNodeServes(node, layout, platform, running, alreadyRunsTimeoutMs)
        return false
      }
      const child = new Child(node, ['node', '--config', layout.node(node).config], layout.log(node), program)
      this.#nodes.set(node, child)
      this.#options.onChild(child)
      void child.exited.then(() => this.#inTurn(node, () => this.#nodeEnded(child)))
      await untilNodeServes(node, layout, platform, child)
      await refreshClusterFile(platform, layout)
      return true
    })
  }

  async stop(): Promise<void> {
    this.#stopping = true
    this.#storeTimer?.cancel()
    await Promise.all([...this.#nodes.values()].map((child) => this.#end(child)))
    this.#storeTimer?.cancel()
    if (this.#store) await this.#end(this.#store)
    await Promise.allSettled(this.#turns.values())
  }

  async #end(child: Child): Promise<void> {
    child.signal('SIGTERM')
    const timer = this.#options.platform.clock.after(endGraceMs, () => {
      this.#options.say(`${child.name} does not end in ${endGraceMs / 1000} s: it is killed.`)
      child.signal('SIGKILL')
    })
    await child.exited
    timer.cancel()
  }

  #wasRemoved(node: string): Promise<boolean> {
    const { layout, platform } = this.#options
    return wasRemoved(platform.files, layout.node(node).folder)
  }

  async #nodeEnded(child: Child): Promise<void> {
    const { layout, platform, endSession, say } = this.#options
    await rm(layout.node(child.name).process, { force: true })
    if (!this.#stopping) {
      say(
        (await this.#wasRemoved(child.name))
          ? `${child.name} was removed from the cluster, and has ended.`
          : `${sentenceOfExit(child.name, await child.exited)}. Start it again: ndfs node start ${child.name} --dir ${layout.dir}`,
      )
      await endSession(child.name).catch((error: unknown) =>
        say(`Cannot end the session of ${child.name}, it runs out by itself: ${messageOf(error)}`),
      )
    }
    await refreshClusterFile(platform, layout)
  }

  #startStore(): Child {
    const { layout, platform, program, onChild } = this.#options
    const child = new Child('store', ['store', '--config', layout.store.config], layout.log('store'), program)
    this.#store = child
    this.#storeStartedAt = platform.clock.now()
    onChild(child)
    void child.exited.then(() => this.#storeEnded(child))
    return child
  }

  #storeEnded(child: Child): void {
    if (this.#stopping || child.exit === undefined) return
    const { clock } = this.#options.platform
    const lived = clock.now() - this.#storeStartedAt
    this.#storeRestartMs =
      lived > storeSoundMs ? storeRestartMsMin : Math.min(this.#storeRestartMs * 2, storeRestartMsMax)
    this.#options.say(
      `${sentenceOfExit('store', child.exit)}: it is started again in ${this.#storeRestartMs} ms.`,
    )
    this.#storeTimer = clock.after(this.#storeRestartMs, () => {
      if (!this.#stopping) this.#startStore()
    })
  }

  #inTurn<T>(node: string, work: () => Promise<T>): Promise<T> {
    const turn = (this.#turns.get(node) ?? Promise.resolve()).then(work, work)
    this.#turns.set(node, turn)
    // Whoever asked hears of a failure from its own promise.
    turn.catch(() => undefined)
    return turn
  }
}

/** `child`: the process that should come to serve, where it is ours. */
export async function untilNodeServes(
  node: string,
  layout: Layout,
  platform: Platform,
  child: Child | undefined,
  timeoutMs = startTimeoutMs,
): Promise<void> {
  const { listen } = await readLocalNodeConfig(platform.files, layout.node(node).config)
  await until(node, timeoutMs, platform, child, async () => {
    const { status, body } = await ask(listen.http, '/api/v1/health', healthTimeoutMs)
    const { node: answers, reason } = body as { node?: string; reason?: string }
    if (answers !== node) throw new Error(`${listen.http} answers as ${answers ?? 'something else'}`)
    if (status !== 200) throw new Error(reason ?? 'it is not ready')
  })
}

export function untilStoreListens(
  layout: Layout,
  platform: Platform,
  child: Child | undefined,
): Promise<void> {
  return until('store', storeTimeoutMs, platform, child, async () => {
    const socket = await platform.sockets.connect(`unix:${layout.storeSocket}`, healthTimeoutMs)
    socket.onData = () => undefined
    socket.onClose = () => undefined
    socket.destroy()
  })
}

/** Tries until `attempt` succeeds, the process ends, or the time is up. */
async function until(
  name: string,
  timeoutMs: number,
  { clock }: Platform,
  child: Child | undefined,
  attempt: () => Promise<void>,
): Promise<void> {
  const give = clock.now() + timeoutMs
  for (;;) {
    const failure = await attempt().then(
      () => undefined,
      (error: unknown) => ({ error }),
    )
    if (failure === undefined) return
    if (child?.exit !== undefined) throw await failedStart(child, sentenceOfExit(name, child.exit))
    if (clock.now() > give) {
      const problem = `${name} does not serve after ${timeoutMs / 1000} s: ${messageOf(failure.error)}`
      throw child
        ? await failedStart(child, problem)
        : new NdfsError('UNAVAILABLE', `Cannot start ${problem}.`)
    }
    await clock.sleep(pollMs)
  }
}

async function failedStart({ name, logPath, logStart }: Child, problem: string): Promise<NdfsError> {
  const lines = await lastLines(name, logPath, logStart, linesShown)
  const told = lines.length > 0 ? ` The last it said:\n${lines.join('\n')}` : ''
  return new NdfsError('UNAVAILABLE', `Cannot start ${name}: ${problem}.${told}`, {
    process: name,
    log: logPath,
  })
}
