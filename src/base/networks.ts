/** Which network a host is in: rules of who may come are made of that. */
import { BlockList, isIP } from 'node:net'
import { NdfsError } from './errors.ts'

export const loopback: readonly string[] = ['127.0.0.0/8', '::1/128']

/** Addresses, or networks as `10.0.0.0/8` and `fd00::/8`. */
export class Networks {
  readonly #list = new BlockList()

  /** REFUSED where a network is none. */
  constructor(networks: readonly string[]) {
    for (const network of networks) add(this.#list, network)
  }

  has(host: string): boolean {
    // Linux tells an IPv4 client of a socket for both so.
    const address = host.startsWith('::ffff:') && isIP(host.slice(7)) === 4 ? host.slice(7) : host
    const family = isIP(address)
    return family !== 0 && this.#list.check(address, family === 4 ? 'ipv4' : 'ipv6')
  }
}

function add(list: BlockList, network: string): void {
  const [address, prefix, ...more] = network.split('/')
  const family = isIP(address)
  const bits = family === 4 ? 32 : 128
  const length = prefix === undefined ? bits : /^\d{1,3}$/.test(prefix) ? Number(prefix) : NaN
  if (family === 0 || more.length > 0 || !(length <= bits))
    throw new NdfsError(
      'REFUSED',
      `Cannot allow ${JSON.stringify(network)}: it is no address or network. Write it as 10.1.2.3, 10.0.0.0/8 or fd00::/8`,
      { network },
    )
  list.addSubnet(address, length, family === 4 ? 'ipv4' : 'ipv6')
}

/** Of `10.0.0.7:800`, `[fe80::1]:800` or `unix:…`. One client has one host, whether it comes by IPv4 or by IPv4 within IPv6. */
export function hostAndPort(address: string): { host: string; port: number } {
  const match = /^(?:\[(?:::ffff:(?=[\d.]+\]))?([^\]]+)\]|([^:]+)):(\d+)$/i.exec(address)
  return match ? { host: match[1] ?? match[2], port: Number(match[3]) } : { host: '', port: 0 }
}

const ownNetworks = new Networks(loopback)

/** What goes to this address, or comes from it, stays within this machine: a Unix socket, or loopback. */
export function isWithinMachine(address: string): boolean {
  const { host } = hostAndPort(address)
  return address.startsWith('unix:') || host === 'localhost' || ownNetworks.has(host)
}
