/** The walk through docs/operating.md. What a person does who reads it is a method of `Reader`; the document has the words. */
import assert from 'node:assert/strict'
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { isTaken } from '../../scripts/engines/java-server.ts'
import { fio, mixedSizes } from '../support/fio.ts'
import { Namespaces } from '../support/namespaces.ts'
import { run, Service, until } from '../support/run.ts'
import { installCassandraService, seenByCassandra } from './cassandra-service.ts'
import { Machine } from './machine.ts'
import { Manual } from './manual.ts'

const project = join(import.meta.dirname, '../..')
const names = ['n1', 'n2', 'n3']
const newVersion = '0.1.1~test'
const vdisk = 'vms/disk1'
const vdiskMiB = 128
/** All that these sections have typed is typed here. */
const whole = [
  ...['Install', 'The configuration of a node', 'ZooKeeper', 'Cassandra', 'The first node, and the others'],
  ...['Start and stop', 'Upgrade', 'Remove'],
]

/** Packages: the first to be installed, and one that follows it. */
export interface Packages {
  readonly older: string
  readonly newer: string
}

export async function followTheManual(
  folder: string,
  { older, newer }: Packages,
  say: (line: string) => void,
): Promise<void> {
  await run('mount', ['-t', 'tmpfs', 'tmpfs', '/run'])
  await run('ip', ['link', 'set', 'lo', 'up'])
  const namespaces = new Namespaces(names.length)
  const machines = names.map(
    (name) => new Machine({ name, folder, namespace: namespaces.namespaceOf(name), sees: seenByCassandra }),
  )
  const walk = new Walk({ folder, namespaces, machines, say, older, newer })
  try {
    await Promise.all(machines.map((machine) => machine.boot()))
    say('three clean Debians have booted')
    await walk.build()
    await walk.upgrade()
    await walk.remove()
    assert.deepEqual(walk.manual.unused(whole), [], 'nobody has typed these lines of docs/operating.md')
  } catch (error) {
    await walk.keepLogs()
    throw error
  } finally {
    await walk.end()
  }
}

/** This version, and one that says that it is the next. */
export async function buildPackages(folder: string): Promise<Packages> {
  const build = async (...version: string[]): Promise<string> => {
    const args = [join(project, 'scripts/package.ts'), '--out', join(folder, 'packages'), ...version]
    return (await run(process.execPath, args, { seconds: 300 })).trim()
  }
  return { older: await build(), newer: await build('--version', newVersion) }
}

const versionOf = async (file: string): Promise<string> =>
  (await run('dpkg-deb', ['--field', file, 'Version'])).trim()

interface WalkOptions extends Packages {
  readonly folder: string
  readonly namespaces: Namespaces
  readonly machines: readonly Machine[]
  readonly say: (line: string) => void
}

class Walk {
  readonly manual = new Manual()
  readonly #options: WalkOptions
  readonly #net: string
  readonly #address: ReadonlyMap<Machine, string>
  #connection: Service | undefined

  constructor(options: WalkOptions) {
    const { machines, namespaces } = options
    this.#options = options
    this.#address = new Map(machines.map((machine) => [machine, namespaces.addressOf(machine.name)]))
    this.#net = namespaces.clientAddress.split('.').slice(0, 3).join('.')
  }

  /** Types a line of the document on a machine; `words` take the place of the document's. */
  #type(
    machine: Machine,
    line: string,
    words: Readonly<Record<string, string>> = {},
    answer?: string,
  ): Promise<string> {
    const typed = this.manual.command(line, words)
    return machine.run(typed, { seconds: 300, ...(answer === undefined ? {} : { answer }) })
  }

  /** From nothing to a cluster that serves. */
  async build(): Promise<void> {
    const { machines, say, older, newer } = this.#options
    for (const machine of machines) {
      for (const file of [older, newer]) copyFileSync(file, join(machine.root, 'root', basename(file)))
      await this.#install(machine)
      await this.#configure(machine)
    }
    say('the package is installed and configured on each')
    await Promise.all(machines.map((machine) => this.#startZooKeeper(machine)))
    say('ZooKeeper runs')
    for (const machine of machines) await this.#startCassandra(machine)
    say('Cassandra runs')
    await this.#makeCluster()
    await this.#untilWell('the cluster is made')
    const [first] = machines
    await this.#type(first, 'ndfs container create vms --nbd-allow 10.0.0.0/24', {
      '10.0.0.0': `${this.#net}.0`,
    })
    await this.#type(first, 'ndfs vdisk create vms/disk1 --size 100GiB', { '100GiB': `${vdiskMiB}MiB` })
    await this.#connectClient()
    await this.#fio('rw=randwrite', 'verify_fatal=1')
    say('a client has written and verified')
  }

  #install(machine: Machine): Promise<string> {
    const { older } = this.#options
    const line = 'apt install sudo ./ndfs_0.1.0_amd64.deb'
    return this.#type(machine, line, { 'ndfs_0.1.0_amd64.deb': basename(older) }, 'y')
  }

  async #configure(machine: Machine): Promise<void> {
    const [first] = this.#options.machines
    await this.#type(machine, 'ndfs config example > /etc/ndfs/ndfs.yaml')
    const example = await machine.read('/etc/ndfs/ndfs.yaml')
    await machine.write('/etc/ndfs/ndfs.yaml', this.#edited(machine, example))
    const checked = await this.#type(machine, 'ndfs config check /etc/ndfs/ndfs.yaml')
    assert.match(checked, /no mistakes/)
    for (const disk of ['flash0', 'hdd0'])
      await this.#type(machine, 'install -d -o ndfs -g ndfs /srv/ndfs/flash0', { flash0: disk })
    const password = '/etc/ndfs/zookeeper.password'
    if (machine === first) await this.#type(machine, `head -c 24 /dev/urandom | base64 > ${password}`)
    else await machine.write(password, await first.read(password))
    await this.#type(machine, `chgrp ndfs ${password}`)
    await this.#type(machine, `chmod 0640 ${password}`)
  }

  /** The example, as a person changes it to these machines. */
  #edited(machine: Machine, example: string): string {
    const number = names.indexOf(machine.name) + 1
    return example
      .replace(/^node: n1$/m, `node: ${machine.name}`)
      .replace(/^block: b1$/m, `block: b${number}`)
      .replaceAll(/^( {2}(?:http|peer|nbd|nfs): )10\.0\.0\.1:/gm, `$110.0.0.${number}:`)
      .replaceAll('{ id: n1-', `{ id: ${machine.name}-`)
      .replaceAll(/capacity: 1(?:00G|T)iB/g, 'capacity: 2GiB')
      .replace(/^cache: 2GiB$/m, 'cache: 128MiB')
      .replace(/ {4}user: ndfs\n {4}passwordFile: \/etc\/ndfs\/cassandra.password\n/, '')
      .replaceAll('10.0.0.', `${this.#net}.`)
  }

  async #startZooKeeper(machine: Machine): Promise<void> {
    await this.#type(machine, 'apt install --no-install-recommends zookeeperd', {}, 'y')
    const shown = this.manual.fileIn('ZooKeeper', (line) => /^[\w.]+=/.test(line))
    await machine.write('/etc/zookeeper/conf/zoo.cfg', shown.replaceAll('10.0.0.', `${this.#net}.`))
    const number = String(names.indexOf(machine.name) + 1)
    await this.#type(machine, 'echo 1 > /var/lib/zookeeper/myid', { '1': number })
    await this.#type(machine, 'systemctl restart zookeeper')
  }

  async #startCassandra(machine: Machine): Promise<void> {
    await installCassandraService(machine)
    await this.#type(machine, 'systemctl stop cassandra')
    await this.#type(machine, 'rm -rf /var/lib/cassandra/*')
    await this.#type(machine, 'ndfs cassandra config --first --out /etc/cassandra')
    await this.#type(machine, 'systemctl enable --now cassandra')
    const host = this.#address.get(machine)
    const serves = async (): Promise<boolean> => {
      await machine.run('systemctl is-active cassandra')
      return isTaken({ host: String(host), port: 9042 })
    }
    await until(`Cassandra serves on ${machine.name}`, serves, 300, 1000)
  }

  async #makeCluster(): Promise<void> {
    const { say, machines } = this.#options
    const [first, ...others] = machines
    const made = await this.#type(first, 'sudo -u ndfs ndfs init --config /etc/ndfs/ndfs.yaml', {}, 'y')
    const ofInit = tokenIn(made)
    await this.#start(first)
    say('n1 has made the cluster')
    const invited = await this.#type(first, 'sudo -u ndfs ndfs invite --uses 5 --expires 2h')
    for (const [index, machine] of others.entries()) {
      const token = index === 0 ? ofInit : tokenIn(invited)
      const line = 'sudo -u ndfs ndfs join TOKEN --config /etc/ndfs/ndfs.yaml'
      await this.#type(machine, line, { TOKEN: token }, 'y')
      await this.#start(machine)
      say(`${machine.name} has joined`)
    }
  }

  /** By one of the lines that start it. */
  async #start(machine: Machine, line = 'systemctl enable --now ndfs'): Promise<void> {
    await this.#type(machine, line)
    await until(`${machine.name} answers`, async () => (await machine.try('ndfs status')).code === 0, 60, 500)
  }

  async #untilWell(when: string): Promise<void> {
    let last = ''
    const isWell = async (): Promise<boolean> => {
      const answers = await Promise.all(this.#options.machines.map((machine) => machine.try('ndfs status')))
      const ill = answers.find(({ stdout }) => !/^health +ok$/m.test(stdout))
      last = ill === undefined ? '' : `${ill.stdout}${ill.stderr}`
      return ill === undefined
    }
    await until(`all is well when ${when}`, isWell, 180, 1000).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${last}`)
    })
    this.#options.say(`all is well: ${when}`)
  }

  /** The client is a machine of its own, that has the program and no configuration. */
  async #connectClient(): Promise<void> {
    const { folder, older, machines } = this.#options
    const client = join(folder, 'client')
    await run('dpkg-deb', ['-x', older, client])
    const args = ['connect', vdisk, '--socket', join(folder, 'disk1.sock')]
    const api = `${this.#address.get(machines[0])}:9440`
    this.#connection = new Service(join(client, 'usr/bin/ndfs'), [...args, '--api', api])
    await this.#connection.until('it is connected', () => this.#connection?.output !== '')
  }

  async #fio(...options: readonly string[]): Promise<number> {
    const { folder } = this.#options
    const uri = `nbd+unix:///${vdisk}?socket=${join(folder, 'disk1.sock')}`
    const usual = [mixedSizes, `size=${vdiskMiB}m`, 'iodepth=8', 'verify=crc32c', 'randseed=7']
    const { longestMs } = await fio({ uri, options: [...usual, ...options], seconds: 600, folder })
    return longestMs
  }

  /** To the next version and back, one node after the other, while the client writes and verifies. */
  async upgrade(): Promise<void> {
    const { say, older, newer } = this.#options
    let isOver = false
    let [passes, longest] = [0, 0]
    const writing = (async () => {
      while (!isOver) {
        const paced = ['rw=randwrite', 'verify_fatal=1', 'rate=,4m', 'verify_backlog=256']
        longest = Math.max(longest, await this.#fio(...paced))
        passes++
      }
    })()
    writing.catch(() => undefined)
    const steps = async (): Promise<void> => {
      await this.#replace('apt install ./ndfs_NEW.deb', 'ndfs_NEW.deb', newer)
      say('all have the new version')
      await this.#replace('apt install --allow-downgrades ./ndfs_OLD.deb', 'ndfs_OLD.deb', older)
      say('all have the old version again')
    }
    await Promise.race([steps(), writing.then(() => new Promise<never>(() => undefined))]).finally(
      () => (isOver = true),
    )
    await writing
    await this.#fio('rw=randwrite', 'verify_only=1')
    const [first] = this.#options.machines
    for (const line of ['ndfs upgrade status', 'ndfs upgrade finish']) await this.#type(first, line)
    say(`no error, ${passes} passes of fio verified, longest wait ${(longest / 1000).toFixed(1)} s`)
  }

  async #replace(line: string, word: string, file: string): Promise<void> {
    const version = await versionOf(file)
    for (const machine of this.#options.machines) {
      const { name } = machine
      const node = { n2: name }
      await this.#type(machine, 'ndfs node maintenance n2 on --watch', node)
      await this.#type(machine, line, { [word]: basename(file) }, 'y')
      await this.#start(machine, 'systemctl restart ndfs')
      await this.#type(machine, 'ndfs node maintenance n2 off', node)
      await this.#untilWell(`${name} has ${version}`)
      assert.equal((await machine.run('ndfs --version')).trim(), version)
    }
  }

  /** Removed, installed again, and purged: what guests have stored stays. */
  async remove(): Promise<void> {
    const { machines, say } = this.#options
    const [, second] = machines
    await this.#type(second, 'ndfs node maintenance n2 on --watch')
    await this.#type(second, 'systemctl stop ndfs')
    const before = await hashes(second)
    await this.#type(second, 'apt remove ndfs', {}, 'y')
    assert.equal(await hashes(second), before, 'removing the package has changed what is stored')
    await this.#install(second)
    assert.equal(await hashes(second), before, 'installing the package has changed what is stored')
    await this.#start(second, 'systemctl start ndfs')
    await this.#type(second, 'ndfs node maintenance n2 off')
    await this.#untilWell('n2 was removed and installed again')
    say('n2 was stopped, removed and installed again')

    for (const machine of machines) await this.#type(machine, 'apt remove ndfs', {}, 'y')
    for (const machine of machines)
      assert.equal(
        await machine.run('find /proc -maxdepth 1 -user ndfs'),
        '',
        `${machine.name} still runs processes`,
      )
    for (const machine of machines) {
      await this.#install(machine)
      await this.#start(machine)
    }
    await this.#untilWell('all were removed and installed again')
    await this.#fio('rw=randwrite', 'verify_only=1')
    say('all were removed and installed again, and every byte is there')

    for (const machine of machines) await machine.run('systemctl stop ndfs')
    const stored = await Promise.all(machines.map(hashes))
    for (const machine of machines) await this.#type(machine, 'apt purge ndfs', {}, 'y')
    assert.deepEqual(await Promise.all(machines.map(hashes)), stored, 'purging has changed what is stored')
    for (const machine of machines) {
      const left = (await machine.run('ls /etc/ndfs')).trim().split('\n')
      assert.deepEqual(left, ['cluster.key', 'ndfs.yaml', 'token', 'zookeeper.password'])
      await this.#install(machine)
      await this.#start(machine)
    }
    await this.#untilWell('all were purged and installed again')
    await this.#fio('rw=randwrite', 'verify_only=1')
    say('all were purged and installed again, and every byte is there')
  }

  async keepLogs(): Promise<void> {
    const { folder, machines } = this.#options
    const logs = join(folder, 'logs')
    mkdirSync(logs, { recursive: true })
    if (this.#connection !== undefined) writeFileSync(join(logs, 'connect.log'), this.#connection.output)
    for (const machine of machines) {
      const { stdout } = await machine.try('journalctl --no-pager -o short-precise')
      writeFileSync(join(logs, `${machine.name}.log`), stdout)
    }
  }

  async end(): Promise<void> {
    await this.#connection?.stop()
  }
}

const tokenIn = (printed: string): string => {
  const token = /ndfs-join-[\w.-]+/.exec(printed)?.[0]
  assert.ok(token !== undefined, `there is no token in ${printed}`)
  return token
}

/** Of all that lies on a machine's disks, and of what it is called. */
const hashes = (machine: Machine): Promise<string> =>
  run('sh', ['-c', 'cd "$0" && find . -type f -print0 | sort -z | xargs -0 sha256sum', machine.disks], {
    seconds: 300,
  })
