/** Further vDisks in the same cluster, in quiet use: each is read once in a while, so that its owner keeps it. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { MiB, pageBytes } from '../../src/base/units.ts'
import type { Cluster } from '../../test/support/cluster.ts'
import { NbdClient } from '../../test/support/nbd-client.ts'

/** Well below what a vDisk is given up after (pace.ts), and as long as the measuring of an idle cluster. */
const everyMs = 5000
const atOnce = 8
const sizeBytes = 64 * MiB

export class OtherVDisks {
  readonly #cluster: Cluster
  readonly #names: readonly string[]
  #clients: NbdClient[] = []
  #timer: NodeJS.Timeout | undefined

  /** Each is written to, and so has a log, a map and a group. Made over HTTP: a command for each would take minutes. */
  static async create(cluster: Cluster, count: number): Promise<OtherVDisks> {
    const names = Array.from({ length: count }, (_, i) => `other${i + 1}`)
    const token = readFileSync(join(cluster.dir, 'token'), 'utf8').trim()
    const { http } = cluster.nodes[0]
    await eachAtOnce(names, async (name) => {
      const response = await fetch(`http://${http}/api/v1/vdisks`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify({ container: 'vms', name, sizeBytes }),
      })
      if (!response.ok)
        throw new Error(`Cannot make vms/${name}: ${response.status} ${await response.text()}`)
    })
    const others = new OtherVDisks(cluster, names)
    await others.beginUse()
    await eachAtOnce(others.#clients, (client) => client.write(0, Buffer.alloc(pageBytes, 1)))
    others.endUse()
    return others
  }

  private constructor(cluster: Cluster, names: readonly string[]) {
    this.#cluster = cluster
    this.#names = names
  }

  /** Resolves when all have an owner; they are spread over the nodes. */
  async beginUse(): Promise<void> {
    const { nodes } = this.#cluster
    const numbered = this.#names.map((name, i) => ({ name, node: nodes[i % nodes.length] }))
    await eachAtOnce(numbered, async ({ name, node }) => {
      this.#clients.push(await NbdClient.open(node.nbd.socket, `vms/${name}`))
    })
    const readAll = (): Promise<void> =>
      eachAtOnce(this.#clients, (client) => client.read(0, pageBytes).then(() => undefined))
    await readAll()
    // What fails shows itself at the next use.
    this.#timer = setInterval(() => void readAll().catch(() => undefined), everyMs)
  }

  endUse(): void {
    clearInterval(this.#timer)
    for (const client of this.#clients) client.close()
    this.#clients = []
  }
}

async function eachAtOnce<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const left = items[Symbol.iterator]()
  const worker = async (): Promise<void> => {
    for (const item of left) await work(item)
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
}
