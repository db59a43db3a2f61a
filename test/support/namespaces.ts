/**
 * A network for nodes of one machine, each in a network namespace of its own, joined by a bridge: so that one can be cut off
 * as a pulled cable does it. Who is cut off hears nothing and is told nothing: packets are lost, no connection is reset.
 *
 *   this process ── bridge (….254, the store listens on ….253) ──┬── veth ── n1 (….1)
 *                                                                ├── veth ── n2 (….2) …
 *                                                                └── tap ── a guest (….101) …
 *
 * Needs root, and iproute2.
 */
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { isInstalled } from '../../scripts/install-test-tools.ts'

const ip = (...args: string[]): string =>
  execFileSync('ip', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })

/** No card has it: what is sent there reaches nobody. */
const nobody = '02:00:00:00:00:01'
/**
 * A bridge without an address of its own has the lowest of its members', and another when that one leaves: then those who are left know
 * the store and the clients by a card that is gone, for as long as they remember it.
 */
const bridgeCard = '02:00:00:00:00:02'

/** For node:test's `skip`. */
export function withoutNamespaces(): string | false {
  if (!isInstalled('ip')) return 'ip is not installed (npm test says how)'
  const name = `ndtry${process.pid}`
  try {
    ip('netns', 'add', name)
    ip('netns', 'delete', name)
    return false
  } catch {
    return 'network namespaces need root'
  }
}

export interface GuestPlace {
  /** The device that QEMU opens: the other end is the guest's network card. */
  readonly tap: string
  readonly card: string
  readonly address: string
}

let made = 0

export class Namespaces {
  /** Tells whose they are: what a process that was killed has left is swept away by the next. */
  readonly prefix = `nd${process.pid.toString(36)}x${made++}`
  readonly nodes: readonly string[]
  readonly #net: string
  readonly #guests: string[] = []

  constructor(count: number) {
    this.nodes = Array.from({ length: count }, (_, index) => `n${index + 1}`)
    sweep()
    this.#net = freeNet()
    try {
      ip('link', 'add', this.#bridge, 'address', bridgeCard, 'type', 'bridge')
      for (const own of [this.#address(254), this.storeAddress])
        ip('address', 'add', `${own}/24`, 'dev', this.#bridge)
      ip('link', 'set', this.#bridge, 'up')
      for (const node of this.nodes) this.#join(node)
    } catch (error) {
      this.remove()
      throw error
    }
  }

  #join(node: string): void {
    const [namespace, outside] = [this.namespaceOf(node), this.#outside(node)]
    ip('netns', 'add', namespace)
    ip('link', 'add', outside, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', namespace)
    ip('-n', namespace, 'address', 'add', `${this.addressOf(node)}/24`, 'dev', 'eth0')
    for (const inside of ['lo', 'eth0']) ip('-n', namespace, 'link', 'set', inside, 'up')
    ip('link', 'set', outside, 'master', this.#bridge, 'up')
  }

  /** A place for a guest, which stays its own when it is started again. */
  addGuest(): GuestPlace {
    const number = this.#guests.length + 1
    const guest = `g${number}`
    const tap = this.#outside(guest)
    ip('tuntap', 'add', 'dev', tap, 'mode', 'tap')
    this.#guests.push(guest)
    ip('link', 'set', tap, 'master', this.#bridge, 'up')
    return { tap, card: `02:00:00:00:01:0${number}`, address: this.#address(100 + number) }
  }

  get #bridge(): string {
    return `${this.prefix}b`
  }
  #outside(member: string): string {
    return `${this.prefix}${member}`
  }
  #address(host: number): string {
    return `${this.#net}.${host}`
  }

  /** In front of a command that is to run there. */
  within(node: string): readonly string[] {
    return ['ip', 'netns', 'exec', this.namespaceOf(node)]
  }
  namespaceOf(node: string): string {
    return `${this.prefix}-${node}`
  }
  addressOf(node: string): string {
    return this.#address(1 + this.nodes.indexOf(node))
  }
  /** Of the side where clients are. */
  get clientAddress(): string {
    return this.#address(254)
  }
  get storeAddress(): string {
    return this.#address(253)
  }
  /** One that nodes have in turn: see `moveServiceAddress`. */
  get serviceAddress(): string {
    return this.#address(200)
  }
  /** All of them, as an export's rules name them. */
  get network(): string {
    return `${this.#net}.0/24`
  }

  /** From all others, from clients, and from the store. */
  cut(node: string): void {
    ip('link', 'set', this.#outside(node), 'nomaster')
  }

  mend(node: string): void {
    ip('link', 'set', this.#outside(node), 'master', this.#bridge)
  }

  /** The node's packets to this address are lost, and so its answers: neither can talk to the other. */
  cutWay(node: string, address: string): void {
    ip('-n', this.namespaceOf(node), 'neighbour', 'replace', address, 'lladdr', nobody, 'dev', 'eth0')
  }

  mendWay(node: string, address: string): void {
    ip('-n', this.namespaceOf(node), 'neighbour', 'delete', address, 'dev', 'eth0')
  }

  /** From now on the node has it, and no other; whoever has met it elsewhere is told by an ARP message that nobody asked for. */
  moveServiceAddress(to: string): void {
    const own = `${this.serviceAddress}/24`
    for (const node of this.nodes) gone('-n', this.namespaceOf(node), 'address', 'delete', own, 'dev', 'eth0')
    ip('-n', this.namespaceOf(to), 'address', 'add', own, 'dev', 'eth0')
    const tell = ['busybox', 'arping', '-q', '-U', '-c', '1', '-I', 'eth0', this.serviceAddress]
    ip('netns', 'exec', this.namespaceOf(to), ...tell)
  }

  /** After the last process in them has ended. */
  remove(): void {
    for (const node of this.nodes) gone('netns', 'delete', this.namespaceOf(node))
    for (const member of [...this.nodes, ...this.#guests]) gone('link', 'delete', this.#outside(member))
    gone('link', 'delete', this.#bridge)
  }
}

/** It may never have been made, or have gone with another thing. */
function gone(...args: string[]): void {
  try {
    ip(...args)
  } catch {
    return
  }
}

function sweep(): void {
  const ours = /^nd([0-9a-z]+?)x\d+/
  const isLeft = (name: string): boolean => {
    const pid = ours.exec(name)?.[1]
    return pid !== undefined && !existsSync(`/proc/${parseInt(pid, 36)}`)
  }
  for (const line of ip('netns', 'list').split('\n')) {
    const [name] = line.split(' ')
    if (isLeft(name)) gone('netns', 'delete', name)
  }
  for (const name of readdirSync('/sys/class/net')) if (isLeft(name)) gone('link', 'delete', name)
}

/** The first three numbers of a network that this machine isn't in. */
function freeNet(): string {
  const used = Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ address }) => address))
  for (;;) {
    const [second, third] = randomBytes(2)
    const net = `10.${second}.${third}`
    if (!used.some((address) => address.startsWith(`10.${second}.`))) return net
  }
}
