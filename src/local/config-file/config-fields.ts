/** What may stand in the configuration of a node, key by key; config-file.ts says what becomes of it. */
import { isIP } from 'node:net'
import { resolve } from 'node:path'
import { formatSize, parseDuration, parseSize } from '../../base/units.ts'
import { nodeIdPattern } from '../../management/management.ts'
import { diskBytesMin } from '../layout.ts'
import { configVersion } from '../node-config.ts'
import {
  bothOrNeither,
  exactlyOneOf,
  list,
  needed,
  optional,
  section,
  type Shape,
  text,
} from './config-shape.ts'

const disksMax = 64
const serversMax = 32
/** What Linux takes as the path of a socket, less the name of ours. */
const dirLengthMax = 107 - '/store.sock'.length

const matching =
  (pattern: RegExp) =>
  (written: string): string | undefined =>
    pattern.test(written) ? written : undefined

const identifier = (hint: string): Shape<string> => text(hint, matching(new RegExp(nodeIdPattern)))
const name = (hint: string): Shape<string> => text(hint, matching(/^[^\s\p{Cc}]{1,128}$/u))
const isPath = (written: string): boolean => /^\/\P{Cc}*$/u.test(written) && written.length <= 4096
const path = text('an absolute path', (written) => (isPath(written) ? resolve(written) : undefined))

const port = (written: string): number | undefined =>
  /^\d{1,5}$/.test(written) && Number(written) >= 1 && Number(written) <= 65535 ? Number(written) : undefined

const hostName = /^(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*$/i
const isHost = (written: string): boolean => isIP(written) !== 0 || hostName.test(written)

/** `host:port`, or `[v6]:port`, split; the host without brackets. */
function splitAddress(written: string): { host: string; port: number } | undefined {
  const match = /^(?:\[([0-9a-f:.]+)\]|([^:[\]\s]+)):(\d{1,5})$/i.exec(written)
  const number = match === null ? undefined : port(match[3])
  if (match === null || number === undefined) return undefined
  const host = match[1] ?? match[2]
  return (match[1] === undefined ? isHost(host) : isIP(host) === 6) ? { host, port: number } : undefined
}

const isEverywhere = (host: string): boolean => ['0.0.0.0', '::'].includes(host)

/** Others are told it, so that it is one, and not all of the machine's. */
const address = text('an address of this machine and a port, such as 10.0.0.1:9440', (written) => {
  const parts = splitAddress(written)
  return parts !== undefined && isIP(parts.host) !== 0 && !isEverywhere(parts.host) ? written : undefined
})
const anyAddress = text('an address and a port, such as 0.0.0.0:2049', (written) => {
  const parts = splitAddress(written)
  return parts !== undefined && isIP(parts.host) !== 0 ? written : undefined
})
const server = text('a host and a port, such as 10.0.0.1:2181', (written) =>
  splitAddress(written) === undefined ? undefined : written,
)
const host = text('a host, by name or address', (written) => (isHost(written) ? written : undefined))
const storeAddress = text(
  'an address and a port, such as 10.0.0.9:9460, or unix: and an absolute path',
  (written) =>
    written.startsWith('unix:')
      ? isPath(written.slice('unix:'.length))
        ? written
        : undefined
      : splitAddress(written) && written,
)

const size = (least: number): Shape<number> =>
  text(`a size such as 100GiB or 512MiB${least > 0 ? `, at least ${formatSize(least)}` : ''}`, (written) => {
    const bytes = parseSize(written)
    return bytes !== undefined && bytes >= least ? bytes : undefined
  })

const disk = section({
  id: needed(text('small letters, digits and -, such as n1-flash-0', matching(/^[a-z0-9][a-z0-9-]{0,62}$/))),
  path: needed(path),
  tier: needed(
    text('flash or hdd', (written) => (written === 'flash' || written === 'hdd' ? written : undefined)),
  ),
  capacity: needed(size(diskBytesMin)),
})

const engineUser = { user: optional(name('the name of a user')), passwordFile: optional(path) }

const zeus = section(
  {
    zookeeper: optional(
      section(
        {
          servers: needed(
            list(server, serversMax, 'a list of servers, such as [10.0.0.1:2181, 10.0.0.2:2181]'),
          ),
          chroot: optional(text('a path such as /ndfs', matching(/^(?:\/[a-z0-9_-]{1,64}){1,8}$/i))),
          ...engineUser,
        },
        bothOrNeither('user', 'passwordFile'),
      ),
    ),
    store: optional(section({ address: needed(storeAddress), dir: optional(path) })),
  },
  exactlyOneOf('zookeeper', 'store'),
)

const medusa = section(
  {
    cassandra: optional(
      section(
        {
          contactPoints: needed(list(host, serversMax, 'a list of hosts, such as [10.0.0.1, 10.0.0.2]')),
          port: optional(text('a port, such as 9042', port)),
          datacenter: needed(text('letters, digits, _ and -, such as dc1', matching(/^[\w-]{1,63}$/))),
          keyspace: optional(
            text('small letters, digits and _, such as ndfs', matching(/^[a-z][a-z0-9_]{0,47}$/)),
          ),
          caFile: optional(path),
          ...engineUser,
        },
        bothOrNeither('user', 'passwordFile'),
      ),
    ),
    store: optional(section({ address: needed(storeAddress) })),
  },
  exactlyOneOf('cassandra', 'store'),
)

export const fileShape = section({
  version: needed(
    text(`${configVersion}`, (written) => (written === `${configVersion}` ? configVersion : undefined)),
  ),
  cluster: needed(
    section({
      id: optional(
        text('the 16 hex digits that `ndfs init` or `ndfs join` writes here', matching(/^[0-9a-f]{16}$/)),
      ),
      keyFile: needed(path),
      tokenFile: optional(path),
    }),
  ),
  node: needed(identifier('small letters, digits and -, such as n1')),
  block: needed(identifier('small letters, digits and -, such as b1')),
  dir: needed(
    text(`an absolute path of at most ${dirLengthMax} characters`, (written) =>
      isPath(written) && resolve(written).length <= dirLengthMax ? resolve(written) : undefined,
    ),
  ),
  listen: needed(
    section({
      http: needed(address),
      peer: needed(address),
      nbd: needed(address),
      nfs: optional(address),
      nfsEverywhere: optional(anyAddress),
      portMapper: optional(anyAddress),
    }),
  ),
  disks: needed(
    list(disk, disksMax, `a list of 1 to ${disksMax} disks, each with id, path, tier and capacity`),
  ),
  cache: optional(size(0)),
  writeWait: optional(
    text('a time such as 60s, 3m or 2h, at least 1s', (written) => {
      const milliseconds = parseDuration(written)
      return milliseconds !== undefined && milliseconds >= 1000 && milliseconds < 2 ** 31
        ? milliseconds
        : undefined
    }),
  ),
  zeus: needed(zeus),
  medusa: needed(medusa),
  tls: optional(section({ caFile: needed(path), certFile: needed(path), keyFile: needed(path) })),
  nbdTls: optional(
    section(
      { certFile: optional(path), keyFile: optional(path), caFile: optional(path), pskFile: optional(path) },
      bothOrNeither('certFile', 'keyFile'),
      (has) =>
        has('certFile') || has('pskFile') ? undefined : 'certFile and keyFile should be there, or pskFile',
    ),
  ),
})
