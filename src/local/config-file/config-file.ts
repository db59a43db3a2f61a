/**
 * The configuration of one node of a cluster of many machines: a YAML file that an operator writes, `/etc/ndfs/ndfs.yaml`.
 *
 *  1. Every mistake is found at once, each with its line and column, what is wrong and what would be right.
 *  2. Whatever the text is, it is read or refused with such mistakes: nothing is guessed, and nothing that is written there is passed over.
 *  3. The file is the operator's. Only `ndfs init` and `ndfs join` change it, once, by one key (`withClusterId`); all else stays as it
 *     stands, comments too.
 *
 * Not here: whether what it names is there (files, addresses, disks): whoever uses that finds out.
 */
import { dirname, join } from 'node:path'
import { LineCounter, type ParsedNode, parseDocument } from 'yaml'
import { assert } from '../../base/assert.ts'
import { NdfsError } from '../../base/errors.ts'
import { formatSize, KiB } from '../../base/units.ts'
import type { Files } from '../../platform/platform.ts'
import {
  cacheBytesUsual,
  configVersion,
  type NodeConfig,
  type StoreConfig,
  writeWaitMaxMsUsual,
} from '../node-config.ts'
import { fileShape } from './config-fields.ts'
import type { Draft, Path, Read } from './config-shape.ts'

export interface ConfigMistake {
  /** From 1. */
  readonly line: number
  readonly column: number
  readonly message: string
}

/** A person writes some hundred lines. */
const textLengthMax = 256 * KiB
/** What the file says, as far as it says it. */
export type ConfigFile = Read<typeof fileShape>

export type Parsed = { readonly config: ConfigFile } | { readonly mistakes: readonly ConfigMistake[] }

/** Never throws, whatever the text is. Mistakes are in the order of the file, and at least one. */
export function parseConfigFile(written: string): Parsed {
  const lines = new LineCounter()
  const mistakes: ConfigMistake[] = []
  const report = (offset: number, message: string): void => {
    const { line, col } = lines.linePos(offset)
    mistakes.push({ line: Math.max(1, line), column: Math.max(1, col), message: onOneLine(message) })
  }
  if (written.length > textLengthMax) {
    report(0, `the file is longer than ${formatSize(textLengthMax)}: it is no configuration`)
    return { mistakes }
  }
  const document = parseDocument(written, {
    ...{ schema: 'failsafe', lineCounter: lines, prettyErrors: false },
  })
  for (const { pos, message } of [...document.errors, ...document.warnings])
    report(pos[0], `not YAML: ${message}`)
  // What is no YAML may have been taken for anything: what its parts lack would mislead.
  if (document.errors.some(({ code }) => code !== 'DUPLICATE_KEY')) return { mistakes }
  const reportAt = (node: ParsedNode | null | undefined, message: string): void =>
    report(node?.range[0] ?? 0, message)
  const draft = fileShape.read(document.contents, [], reportAt)
  const draftReport = (at: Path, message: string): void =>
    reportAt(document.getIn(at, true) as ParsedNode | undefined, message)
  checkAcross(draft, draftReport)
  mistakes.sort((a, b) => a.line - b.line || a.column - b.column)
  if (mistakes.length > 0) return { mistakes }
  assert(draft !== undefined, 'a file without a mistake was not read')
  return { config: draft }
}

const onOneLine = (message: string): string => message.replaceAll(/\p{Cc}+/gu, ' ')

type PathReport = (at: Path, message: string) => void

/** What no part of the file can tell by itself. */
function checkAcross(draft: Draft<ConfigFile>, report: PathReport): void {
  const disks = draft?.disks ?? []
  differ(
    disks.map((one, at) => [['disks', at, 'id'], one?.id]),
    report,
  )
  differ(
    Object.entries(draft?.listen ?? {}).map(([key, one]) => [['listen', key], one]),
    report,
  )
  const folders: Placed[] = disks.map((one, at) => [['disks', at, 'path'], one?.path])
  standApart([[['dir'], draft?.dir], ...folders], report)
  if (disks.length > 0 && disks.every((one) => one?.tier === 'hdd'))
    report(['disks'], 'disks has none of tier flash: one is needed, as the log lies there')
  const [zeusStore, medusaStore] = [draft?.zeus?.store, draft?.medusa?.store]
  if ((zeusStore && draft?.medusa?.cassandra) || (medusaStore && draft?.zeus?.zookeeper))
    report(
      ['medusa'],
      'zeus and medusa are both on one store, or on zookeeper and cassandra: name the same kind for both',
    )
  if (
    zeusStore?.address !== undefined &&
    medusaStore?.address !== undefined &&
    zeusStore.address !== medusaStore.address
  )
    report(
      ['medusa', 'store', 'address'],
      `medusa.store.address is ${medusaStore.address}: it should be that of zeus.store, ${zeusStore.address}`,
    )
}

type Placed = readonly [at: Path, value: string | undefined]

function differ(all: readonly Placed[], report: PathReport): void {
  for (const [index, [at, value]] of all.entries()) {
    const before = all.slice(0, index).find((one) => value !== undefined && one[1] === value)
    if (before) report(at, `${shown(at)} is ${value}, as ${shown(before[0])} is: each has its own`)
  }
}

/** No folder is another, nor lies in another: what is in a disk is that disk's. */
function standApart(all: readonly Placed[], report: PathReport): void {
  for (const [index, [at, value]] of all.entries())
    for (const [otherAt, other] of all.slice(0, index)) {
      if (value === undefined || other === undefined) continue
      const isDisk = otherAt.length > 1
      if (value === other)
        report(at, `${shown(at)} is ${value}, as ${shown(otherAt)} is: each has its own folder`)
      // A disk may lie in the node's own folder, and not the other way round.
      else if (`${other}/`.startsWith(`${value}/`) || (isDisk && `${value}/`.startsWith(`${other}/`)))
        report(
          at,
          `${shown(at)} is ${value}, and ${shown(otherAt)} is ${other}: no disk lies in another, nor holds dir`,
        )
    }
}

const shown = (at: Path): string =>
  at
    .map((part) => (typeof part === 'number' ? `[${part}]` : `.${part}`))
    .join('')
    .slice(1)

/** What the node runs by. REFUSED where it is no member of a cluster yet. */
export function nodeConfigOf(file: string, config: ConfigFile): NodeConfig {
  const { node, block, dir, listen, disks, cache, writeWait, tls, nbdTls } = config
  return {
    cluster: memberOf(file, config),
    ...{ node, block, dir, listen },
    nbdSocket: join(dir, 'nbd.sock'),
    tokenFile: tokenFileOf(config),
    disks: disks.map(({ id, path, tier, capacity }) => ({ id, path, tier, capacityBytes: capacity })),
    cacheBytes: cache ?? cacheBytesUsual,
    writeWaitMaxMs: writeWait ?? writeWaitMaxMsUsual,
    stores: storesOf(config),
    ...(tls === undefined ? {} : { tls }),
    ...(nbdTls === undefined ? {} : { nbdTls: nbdTlsOf(nbdTls) }),
  }
}

/** A certificate counts before a list of keys. */
function nbdTlsOf({
  certFile,
  keyFile,
  caFile,
  pskFile,
}: NonNullable<ConfigFile['nbdTls']>): NodeConfig['nbdTls'] {
  if (certFile !== undefined && keyFile !== undefined)
    return { certFile, keyFile, ...(caFile === undefined ? {} : { caFile }) }
  assert(pskFile !== undefined, 'the file was not checked')
  return { pskFile }
}

export const tokenFileOf = ({ cluster: { keyFile, tokenFile } }: ConfigFile): string =>
  tokenFile ?? join(dirname(keyFile), 'token')

export function storesOf({
  zeus: { zookeeper, store },
  medusa: { cassandra },
}: ConfigFile): NodeConfig['stores'] {
  if (store !== undefined) return { kind: 'store', address: store.address }
  assert(zookeeper !== undefined && cassandra !== undefined, 'the file was not checked')
  return {
    kind: 'engines',
    zookeeper: { ...zookeeper, chroot: zookeeper.chroot ?? '/ndfs' },
    cassandra: { ...cassandra, port: cassandra.port ?? 9042, keyspace: cassandra.keyspace ?? 'ndfs' },
  }
}

/** What the store runs by, on the one machine whose file names the store's folder. */
export function storeConfigOf(file: string, config: ConfigFile): StoreConfig {
  const { dir, address: listen } = config.zeus.store ?? {}
  if (dir === undefined || listen === undefined)
    throw new NdfsError(
      'REFUSED',
      `Cannot run a store as ${file} says: it has no zeus.store.dir. That stands in the file of the machine that holds the store.`,
      { path: file },
    )
  const cluster = memberOf(file, config)
  const socket = join(dir, 'store.sock')
  return { version: configVersion, cluster, dir, socket, ...(listen.startsWith('unix:') ? {} : { listen }) }
}

function memberOf(file: string, { node, cluster: { id, keyFile } }: ConfigFile): NodeConfig['cluster'] {
  if (id === undefined)
    throw new NdfsError(
      'REFUSED',
      `Cannot start ${node}: ${file} names no cluster yet. Make one with \`ndfs init --config ${file}\`, or join one with \`ndfs join\`.`,
      { path: file },
    )
  return { id, keyFile }
}

/** NOT_FOUND, or REFUSED with all mistakes in its message, a line each. */
export async function readConfigFile(files: Files, file: string): Promise<ConfigFile> {
  const bytes = await files.readWhole(file)
  if (bytes === undefined)
    throw new NdfsError(
      'NOT_FOUND',
      `Cannot find the configuration ${file}. \`ndfs config example\` prints one to begin with.`,
      { path: file },
    )
  const parsed = parseConfigFile(bytes.toString())
  if ('config' in parsed) return parsed.config
  throw new NdfsError(
    'REFUSED',
    [`Cannot use ${file}:`, ...parsed.mistakes.map((mistake) => mistakeLine(file, mistake))].join('\n'),
    { path: file, mistakes: parsed.mistakes },
  )
}

/** As compilers write it: editors find the place. */
export const mistakeLine = (file: string, { line, column, message }: ConfigMistake): string =>
  `${file}:${line}:${column}: ${message}`

export const isConfigFile = (file: string): boolean => /\.ya?ml$/.test(file)

/** The text with the cluster's id, and every other character as it was. `written` is a file without mistakes that names none. */
export function withClusterId(written: string, id: string): string {
  const lines = new LineCounter()
  const document = parseDocument(written, { schema: 'failsafe', lineCounter: lines })
  const { range, flow } = document.get('cluster', true) as { range: [number]; flow?: boolean }
  const [start] = range
  const indent = ' '.repeat(lines.linePos(start).col - 1)
  const changed = flow
    ? `${written.slice(0, start)}{ id: ${id},${written.slice(start + 1)}`
    : `${written.slice(0, start)}id: ${id}\n${indent}${written.slice(start)}`
  const parsed = parseConfigFile(changed)
  assert(
    'config' in parsed && parsed.config.cluster.id === id,
    'the id of the cluster did not get where it belongs',
  )
  return changed
}
