/** A machine: a folder with a configuration of its own, and the processes that run by it. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ndfsProgram } from './cluster.ts'
import { run, Service, tryRun } from './run.ts'

export class ConfiguredMachine {
  readonly name: string
  readonly file: string
  readonly http: string
  readonly nbd: string
  readonly #env: NodeJS.ProcessEnv
  readonly #services: Service[] = []

  /** The first one holds the store. */
  constructor(root: string, number: number, port: number) {
    this.name = `n${number}`
    const home = join(root, this.name)
    const ip = `127.0.0.${number}`
    this.http = `${ip}:${port}`
    this.nbd = `${ip}:${port + 2}`
    this.file = join(home, 'ndfs.yaml')
    this.#env = { ...process.env, XDG_CONFIG_HOME: join(home, 'config') }
    mkdirSync(join(home, 'flash0'), { recursive: true })
    const store = `127.0.0.1:${port + 3}`
    writeFileSync(
      this.file,
      `version: 1
cluster: { keyFile: ${home}/cluster.key }
node: ${this.name}
block: b${number}
dir: ${home}/node
listen: { http: ${this.http}, peer: ${ip}:${port + 1}, nbd: ${this.nbd} }
disks:
  - { id: ${this.name}-flash-0, path: ${home}/flash0, tier: flash, capacity: 2GiB }
cache: 64MiB
zeus: { store: { address: ${store}${number === 1 ? `, dir: ${home}/store` : ''} } }
medusa: { store: { address: ${store} } }
`,
    )
  }

  /** Names other places of the metadata in the configuration, of which they are the last lines. */
  setStores(lines: string): void {
    const before = readFileSync(this.file, 'utf8')
    writeFileSync(this.file, before.replace(/^zeus:[^]*/m, `${lines}\n`))
  }

  ndfs(...args: string[]): Promise<string> {
    return run(process.execPath, [ndfsProgram, ...args], { env: this.#env })
  }

  tryNdfs(...args: string[]) {
    return tryRun(process.execPath, [ndfsProgram, ...args], { env: this.#env })
  }

  showToken(file: string): void {
    this.#env.NDFS_TOKEN = readFileSync(file, 'utf8').trim()
  }

  start(what: 'node' | 'store'): Service {
    const service = new Service(process.execPath, [ndfsProgram, what, '--config', this.file], this.#env)
    this.#services.push(service)
    return service
  }

  /** Resolves when it serves. */
  async startNode(): Promise<Service> {
    const node = this.start('node')
    await node.until('it serves', async () => {
      const { code } = await this.tryNdfs('status', '--api', this.http)
      return code === 0
    })
    return node
  }

  async end(): Promise<void> {
    for (const service of this.#services.reverse()) await service.stop()
  }
}
