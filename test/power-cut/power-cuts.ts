/**
 * Power cuts, one after the other, under load, and after each the question whether every byte is there that was
 * acknowledged. Three kinds, drawn from the seed:
 *
 *   everything       all nodes, the store and the machine under them, at one moment
 *   while starting   the same, and again in the midst of coming back; the very first while the cluster is made
 *   one node or two  the others go on as they can; then it comes back, or everything is cut as well
 *
 * The clients write at random places, small writes that go to the log, and in half of the rounds one long stream, which
 * goes to extent groups; its syncs would hide that others are missing.
 */
import { SeededChance } from '../../sim/seeded-chance.ts'
import { NbdClient } from '../support/nbd-client.ts'
import { sleep } from '../support/run.ts'
import { WrittenSectors } from '../support/written-sectors.ts'
import type { CutReport } from './forgetful-volumes.ts'
import { nodes, PowerCutCluster, type PowerCutOptions } from './power-cut-cluster.ts'

const MiB = 1024 * 1024

export interface PowerCutsOptions extends PowerCutOptions {
  readonly cuts: number
  /** Whether there are streams among what clients write: their syncs hide that others are missing. */
  readonly streams: boolean
  readonly say: (line: string) => void
}

export interface PowerCutsResult {
  cuts: number
  acknowledgedWrites: number
  acknowledgedBytes: number
  unansweredWrites: number
  verifiedBytes: number
  /** What the disks' caches held that never arrived, whole or in part. */
  writesForgotten: number
  writesTorn: number
  sectorsForgotten: number
  /** Files that nobody synced, and those of them that no cut has left whole. */
  witnesses: number
  witnessesForgotten: number
  /** What went wrong first, and after which cut; then nothing more was tried. */
  failure?: string
}

/** A vDisk and what clients know of it. */
interface Watched {
  readonly name: string
  readonly bytes: number
  readonly sectors: WrittenSectors
  readonly write: (client: NbdClient, sectors: WrittenSectors, stopped: () => boolean) => Promise<void>
}

/** What was acknowledged is not there, or can't be read. */
class Lost extends Error {}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** Who can't read for so long never will. */
const verifySecondsMax = 90

export async function cutPower(options: PowerCutsOptions): Promise<PowerCutsResult> {
  const machine = new PowerCutCluster(options)
  try {
    return await new PowerCuts(machine, options).run()
  } finally {
    machine.end()
  }
}

class PowerCuts {
  readonly #machine: PowerCutCluster
  readonly #options: PowerCutsOptions
  readonly #chance: SeededChance
  readonly #vdisks: readonly Watched[]
  readonly #result: PowerCutsResult = {
    cuts: 0,
    acknowledgedWrites: 0,
    acknowledgedBytes: 0,
    unansweredWrites: 0,
    verifiedBytes: 0,
    writesForgotten: 0,
    writesTorn: 0,
    sectorsForgotten: 0,
    witnesses: 0,
    witnessesForgotten: 0,
  }

  constructor(machine: PowerCutCluster, options: PowerCutsOptions) {
    this.#machine = machine
    this.#options = options
    this.#chance = new SeededChance(options.seed, 'power cuts')
    const watched = (name: string, bytes: number, write: Watched['write']): Watched => {
      const places = new SeededChance(options.seed, `places in ${name}`)
      return {
        name: `vms/${name}`,
        bytes,
        write,
        sectors: new WrittenSectors(bytes, () => places.between(0, 1)),
      }
    }
    this.#vdisks = [
      watched('random', 32 * MiB, (client, sectors, stopped) => sectors.write(client, 16, 16, stopped)),
      watched('stream', 64 * MiB, (client, sectors, stopped) => sectors.stream(client, 16, 512, stopped)),
    ]
  }

  async run(): Promise<PowerCutsResult> {
    const result = this.#result
    try {
      await this.#make()
      await this.#start()
      while (result.cuts < this.#options.cuts) await this.#round()
    } catch (error) {
      const lost = error instanceof Lost ? 'LOST' : 'FAILED'
      result.failure = `${lost} after cut ${result.cuts}: ${messageOf(error)}`
    }
    result.witnesses = this.#machine.witnesses.unsynced
    result.witnessesForgotten = this.#machine.witnesses.forgotten
    for (const { sectors } of this.#vdisks) {
      result.acknowledgedWrites += sectors.acknowledgedWrites
      result.acknowledgedBytes += sectors.acknowledgedBytes
      result.unansweredWrites += sectors.unansweredWrites
    }
    return result
  }

  /** Power fails already while the cluster is made: nothing was promised yet, but the next `up` must make it anew. */
  async #make(): Promise<void> {
    const machine = this.#machine
    const { cluster } = machine
    await machine.prepare()
    await machine.powerOn()
    const making = cluster.up().catch(() => undefined)
    await sleep(this.#chance.between(100, 2500))
    this.#count('power of everything while it is made', await machine.cutEverything())
    await making
    await this.#start()
    for (const { name, bytes } of this.#vdisks)
      await cluster.createVDisk(`${bytes / MiB}MiB`, name.slice('vms/'.length))
    await cluster.down()
    await machine.separateDisks()
  }

  /** From a cluster that serves to one that serves again, with one cut, two or three between them. */
  async #round(): Promise<void> {
    const chance = this.#chance
    const machine = this.#machine
    const load = await this.#load()
    await sleep(chance.happens(0.1) ? chance.between(3000, 8000) : chance.between(300, 1500))
    if (chance.happens(0.35)) {
      const first = chance.below(nodes.length)
      const victims = [...nodes, ...nodes].slice(first, first + (chance.happens(0.4) ? 2 : 1))
      this.#count(`power of ${victims.join(' and ')}`, await machine.cutNodes(victims))
      await sleep(chance.between(200, 2500))
      if (chance.happens(0.5)) {
        await machine.startNodes(victims)
        await load.stop()
        return this.#verify()
      }
    }
    this.#count('power of everything', await machine.cutEverything())
    await load.stop()
    if (chance.happens(0.25)) {
      await machine.powerOn()
      const starting = machine.cluster.up().catch(() => undefined)
      await sleep(chance.between(100, 2500))
      this.#count('power of everything while it starts', await machine.cutEverything())
      await starting
    }
    await this.#start()
    await this.#verify()
  }

  async #start(): Promise<void> {
    await this.#machine.powerOn()
    await this.#machine.cluster.up()
  }

  /** Clients write until they are stopped, or their node is gone. */
  async #load(): Promise<{ stop(): Promise<void> }> {
    const clients = await this.#openAll()
    let over = false
    const idle = this.#chance.happens(0.5) || !this.#options.streams ? 'vms/stream' : undefined
    const writing = this.#vdisks.map(async ({ name, write, sectors }, index) => {
      if (name !== idle) await write(clients[index], sectors, () => over)
      clients[index].close()
    })
    const ended = Promise.all(writing)
    // Whoever stops it hears of it.
    ended.catch(() => undefined)
    return {
      async stop() {
        over = true
        await ended
      },
    }
  }

  #openAll(): Promise<NbdClient[]> {
    const { cluster } = this.#machine
    return Promise.all(
      this.#vdisks.map(({ name }) =>
        NbdClient.open(cluster.node(nodes[this.#chance.below(nodes.length)]).nbd.address, name),
      ),
    )
  }

  async #verify(): Promise<void> {
    const verifying = this.#openAll().then((clients) =>
      Promise.all(this.#vdisks.map((vdisk, index) => this.#verifyOne(vdisk, clients[index]))),
    )
    const over = new AbortController()
    try {
      await Promise.race([verifying, tooLate(over.signal)])
    } catch (error) {
      throw new Lost(messageOf(error), { cause: error })
    } finally {
      over.abort()
    }
  }

  async #verifyOne({ name, bytes, sectors }: Watched, client: NbdClient): Promise<void> {
    try {
      await sectors.verify(client)
    } catch (error) {
      throw new Error(`${name}: ${messageOf(error)}`, { cause: error })
    }
    this.#result.verifiedBytes += bytes
    client.close()
  }

  #count(what: string, report: CutReport): void {
    const result = this.#result
    result.cuts++
    const sum = { writes: 0, lost: 0, torn: 0, sectors: 0, flushes: 0 }
    for (const { writes, writesLost, writesTorn, sectorsLost, flushes } of report.values()) {
      sum.writes += writes
      sum.lost += writesLost
      sum.torn += writesTorn
      sum.sectors += sectorsLost
      sum.flushes += flushes
    }
    result.writesForgotten += sum.lost
    result.writesTorn += sum.torn
    result.sectorsForgotten += sum.sectors
    this.#options.say(
      `cut ${result.cuts}: ${what}: ${sum.flushes} flushes before; of ${sum.writes} writes in the disks' caches ` +
        `${sum.lost} were lost and ${sum.torn} torn: ${sum.sectors} sectors are older than what was written`,
    )
  }
}

function tooLate(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`what was acknowledged can not be read in ${verifySecondsMax} s`)),
      verifySecondsMax * 1000,
    )
    signal.addEventListener('abort', () => clearTimeout(timer))
  })
}
