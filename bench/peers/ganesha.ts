/**
 * nfs-ganesha from Debian's packages: the NFS server in user space, over a folder of the disk (its VFS back end), on an address of its own in a
 * network namespace, with an rpcbind beside it that it registers with and that QEMU asks. Clients run in that namespace too.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Daemons } from '../daemons.ts'

const address = '127.0.0.1'

export class Ganesha {
  readonly name = 'nfs-ganesha'
  readonly #folder: string
  readonly #namespace: string
  readonly #daemons: Daemons

  constructor(root: string) {
    this.#folder = join(root, 'ganesha')
    this.#namespace = `ndbench${process.pid}`
    this.#daemons = new Daemons(this.#folder)
  }

  /** Words before a client's own. */
  get inside(): readonly string[] {
    return ['ip', 'netns', 'exec', this.#namespace]
  }

  url(file: string): string {
    return `nfs://${address}${this.#exported}/${file}`
  }

  get #exported(): string {
    return join(this.#folder, 'export')
  }

  async start(): Promise<void> {
    for (const name of ['', 'export', 'run']) mkdirSync(join(this.#folder, name))
    const configuration = join(this.#folder, 'ganesha.conf')
    writeFileSync(configuration, configurationOf(this.#exported))
    execFileSync('ip', ['netns', 'add', this.#namespace])
    execFileSync('ip', ['-n', this.#namespace, 'link', 'set', 'lo', 'up'])
    // What it keeps under /run, and the socket by which it registers, are its own.
    const run = join(this.#folder, 'run')
    const log = join(this.#folder, 'log')
    const script =
      `mount --make-rprivate / && mount --bind ${run} /run && mkdir -p /run/ganesha && rpcbind -f & sleep 1; ` +
      `exec ganesha.nfsd -F -f ${configuration} -L ${log} -p ${join(this.#folder, 'pid')}`
    const words = [...this.inside.slice(1), 'unshare', '--mount', 'sh', '-c', script]
    const server = this.#daemons.start('ganesha', 'ip', ...words)
    await server.until('it serves', () => this.#answers())
  }

  #answers(): boolean {
    try {
      const words = [...this.inside, 'rpcinfo', '-T', 'tcp', address, 'nfs', '3']
      execFileSync(words[0], words.slice(1), { stdio: 'ignore' })
      return true
    } catch {
      return false
    }
  }

  pids(): readonly number[] {
    return this.#daemons.pids()
  }

  async stop(): Promise<void> {
    await this.#daemons.stopAll()
    execFileSync('ip', ['netns', 'delete', this.#namespace])
    rmSync(this.#folder, { recursive: true, force: true })
  }
}

const configurationOf = (folder: string): string => `NFS_CORE_PARAM {
  NFS_Protocols = 3;
  Enable_NLM = false;
  Enable_RQUOTA = false;
}
EXPORT {
  Export_Id = 1;
  Path = ${folder};
  Pseudo = /bench;
  Access_Type = RW;
  Squash = No_Root_Squash;
  SecType = sys;
  FSAL { Name = VFS; }
}
LOG { Default_Log_Level = WARN; }
`
