/**
 * A machine of the walk: a layer over the clean Debian, booted by systemd-nspawn with process, mount, host name and network namespaces of its own. Its disks lie
 * outside, in a folder that is mounted at /srv. All of it goes with the process that made it, which must be in namespaces of its own (inside.ts).
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync, globSync, mkdirSync, readFileSync, rmdirSync } from 'node:fs'
import { join } from 'node:path'
import { run, tryRun, until, type Finished } from '../support/run.ts'
import { baseRoot } from './base-root.ts'

const hierarchy = ['/sys/fs/cgroup/systemd', '/sys/fs/cgroup'].find((path) => existsSync(path)) ?? ''
const groupPrefix = 'ndfs-operating-'

export interface MachineOptions {
  readonly name: string
  readonly folder: string
  /** Its network namespace, as `ip netns` has it. */
  readonly namespace: string
  /** Folders of this machine that it sees, read only: ours, then its own. */
  readonly sees: readonly (readonly [string, string])[]
}

interface Typing {
  readonly seconds?: number
  /** To the question that is asked at a terminal. */
  readonly answer?: string
  readonly input?: string
}

export class Machine {
  readonly name: string
  /** Its own file system, as seen from outside. */
  readonly root: string
  /** What it sees as /srv. */
  readonly disks: string
  readonly #options: MachineOptions
  #pid = 0

  constructor(options: MachineOptions) {
    const { name, folder } = options
    this.name = name
    this.#options = options
    this.root = join(folder, name, 'root')
    this.disks = join(folder, name, 'srv')
  }

  async boot(): Promise<void> {
    const { name, folder, namespace, sees } = this.#options
    const [upper, work] = ['upper', 'work'].map((layer) => join(folder, name, layer))
    for (const path of [this.root, this.disks, upper, work]) mkdirSync(path, { recursive: true })
    const layers = `lowerdir=${baseRoot},upperdir=${upper},workdir=${work}`
    await run('mount', ['-t', 'overlay', 'overlay', '-o', layers, this.root])
    const group = join(hierarchy, `${groupPrefix}${process.env.NDFS_OPERATING_RUN ?? ''}-${name}`)
    mkdirSync(group, { recursive: true })
    const container = spawn(
      'sh',
      [
        ...['-c', `echo $$ > ${group}/cgroup.procs && exec systemd-nspawn "$@"`, 'sh'],
        ...['--quiet', '--boot', '--keep-unit', '--register=no', `--directory=${this.root}`],
        ...[`--machine=${name}`, `--hostname=${name}`, `--network-namespace-path=/run/netns/${namespace}`],
        ...[`--bind=${this.disks}:/srv`, ...sees.map(([ours, own]) => `--bind-ro=${ours}:${own}`)],
        ...['--resolv-conf=off', '--timezone=off', '--link-journal=no', '--console=pipe'],
      ],
      { stdio: 'ignore' },
    )
    await until(
      `${name} boots`,
      async () => {
        if (container.exitCode !== null)
          throw new Error(`systemd-nspawn of ${name} ended with ${container.exitCode}`)
        this.#pid = firstChildOf(container)
        if (this.#pid === 0) return false
        const { stdout } = await this.try('systemctl is-system-running')
        return /^(running|degraded)$/m.test(stdout)
      },
      60,
      500,
    )
  }

  /** A line that root types there, at a terminal where there is an answer to give. */
  try(line: string, { seconds = 120, answer = '', input = `${answer}\n` }: Typing = {}): Promise<Finished> {
    const within = ['--mount', '--uts', '--ipc', '--net', '--pid', '--root', '--wdns=/root']
    const environment = [
      '-i',
      'HOME=/root',
      'PATH=/usr/sbin:/usr/bin:/sbin:/bin',
      'DEBIAN_FRONTEND=noninteractive',
    ]
    const shell = answer === '' ? ['sh', '-c', line] : ['script', '-qec', line, '/dev/null']
    return tryRun('nsenter', [`--target=${this.#pid}`, ...within, 'env', ...environment, ...shell], {
      seconds,
      input: Buffer.from(input),
    })
  }

  async run(line: string, options: Typing = {}): Promise<string> {
    const { code, stdout, stderr } = await this.try(line, options)
    if (code === 0) return stdout
    throw new Error(
      `${this.name}: ${line} ended with ${code}\n${stderr.slice(-3000)}\n${stdout.slice(-3000)}`,
    )
  }

  /** A file as its owner would write it with an editor: there, since a link leads elsewhere out here. */
  async write(path: string, content: string): Promise<void> {
    await this.run(`cat > ${path}`, { input: content })
  }
  read(path: string): Promise<string> {
    return this.run(`cat ${path}`)
  }
}

/** Process 1 of the machine, by its number here; 0: it is not there yet. */
function firstChildOf({ pid }: ChildProcess): number {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()
  return Number(children.split(' ')[0])
}

/** Control groups of machines that are gone, however they went. */
export function sweepGroups(): void {
  const groups = globSync(`${hierarchy}/${groupPrefix}*/**/`).sort((a, b) => b.length - a.length)
  for (const group of groups)
    try {
      rmdirSync(group)
    } catch {
      continue // another's, who is still at it
    }
}
