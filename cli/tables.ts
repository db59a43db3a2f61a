/** How results look to a person. */
import { formatSize } from '../src/base/units.ts'
import type {
  CassandraInfo,
  CassandraServerInfo,
  ClusterStatus,
  ContainerInfo,
  DiskInfo,
  ExportRulesInfo,
  Mode,
  NodeInfo,
  ScrubInfo,
  UpgradeInfo,
  VDiskInfo,
} from '../src/management/management.ts'

/** Columns as wide as their widest cell; those of numbers to the right. */
export function table(
  headings: readonly string[],
  rows: readonly (readonly (string | number)[])[],
  none: string,
): string {
  if (rows.length === 0) return none
  const width = headings.map((heading, column) =>
    Math.max(heading.length, ...rows.map((row) => String(row[column]).length)),
  )
  const toTheRight = headings.map((_, column) => rows.every((row) => /^-$|^\d/.test(String(row[column]))))
  const line = (cells: readonly (string | number)[]): string =>
    cells
      .map((cell, column) =>
        toTheRight[column] ? String(cell).padStart(width[column]) : String(cell).padEnd(width[column]),
      )
      .join('  ')
      .trimEnd()
  return [headings, ...rows].map(line).join('\n')
}

/** What is known of one thing, a line each. */
export function facts(entries: readonly (readonly [string, string | number | undefined])[]): string {
  const known = entries.filter((entry) => entry[1] !== undefined)
  const width = Math.max(...known.map(([name]) => name.length))
  return known.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join('\n')
}

const size = (bytes: number | undefined): string => (bytes === undefined ? '-' : formatSize(bytes))
const stateIn = (state: string, mode: Mode): string => (mode === 'active' ? state : `${state}, ${mode}`)
const when = (milliseconds: number | undefined): string | undefined =>
  milliseconds === undefined ? undefined : new Date(milliseconds).toISOString()

export const containersTable = (containers: readonly ContainerInfo[]): string =>
  table(
    ['CONTAINER', 'COPIES', 'VDISKS', 'SIZE', 'NFS'],
    containers.map(({ name, copies, vdisks, sizeBytes, nfs }) => [
      ...[name, copies, vdisks, size(sizeBytes)],
      nfs.readOnly ? `${clientsOf(nfs)}, read-only` : clientsOf(nfs),
    ]),
    'There is no container yet: make one with `ndfs container create NAME`.',
  )

const clientsOf = ({ networks }: ExportRulesInfo): string =>
  networks.length === 0 ? 'nobody' : networks.join(' ')

function usersOf({ squash, anonymousUid, anonymousGid }: ExportRulesInfo): string {
  const anonymous = `${anonymousUid}:${anonymousGid}`
  return {
    none: 'as they say',
    root: `as they say, root as ${anonymous}`,
    all: `all as ${anonymous}`,
  }[squash]
}

export const containerFacts = ({
  name,
  copies,
  vdisks,
  sizeBytes,
  createdAt,
  nfs,
  nbd,
}: ContainerInfo): string =>
  facts([
    ['container', name],
    ['copies', copies],
    ['vdisks', vdisks],
    ['size', size(sizeBytes)],
    ['created', when(createdAt)],
    ['nbd clients', ['this machine', 'by TLS', ...nbd.networks].join(', ')],
    ['nfs clients', clientsOf(nfs)],
    ['nfs ports', nfs.privilegedPorts ? 'below 1024' : 'any'],
    ['nfs access', nfs.readOnly ? 'read-only' : 'read and write'],
    ['nfs users', usersOf(nfs)],
  ])

export const vDisksTable = (vdisks: readonly VDiskInfo[]): string =>
  table(
    ['VDISK', 'SIZE', 'COPIES', 'OWNER', 'UNDRAINED', 'STATE'],
    vdisks.map(({ name, sizeBytes, copies, owner, undrainedBytes, state, reason }) => [
      name,
      size(sizeBytes),
      copies,
      owner ?? '-',
      size(undrainedBytes),
      reason === undefined ? state : `${state}: ${reason}`,
    ]),
    'There is no vDisk yet: make one with `ndfs vdisk create CONTAINER/NAME --size 20GiB`.',
  )

export const vDiskFacts = (vdisk: VDiskInfo): string =>
  facts([
    ['vdisk', vdisk.name],
    ['id', vdisk.id],
    ['size', size(vdisk.sizeBytes)],
    ['copies', vdisk.copies],
    ['state', vdisk.state],
    ['reason', vdisk.reason],
    ['owner', vdisk.owner ?? '-'],
    ['epoch', vdisk.epoch],
    ['episodes', vdisk.episodes],
    ['undrained', size(vdisk.undrainedBytes)],
    ['created', when(vdisk.createdAt)],
  ])

/** Versions only where they differ. */
export function nodesTable(nodes: readonly NodeInfo[]): string {
  const differ = new Set(nodes.map(({ release }) => release?.version)).size > 1
  return table(
    ['NODE', 'BLOCK', 'STATE', ...(differ ? ['VERSION'] : []), 'API', 'NBD', 'CACHE', 'VDISKS'],
    nodes.map(({ id, block, state, mode, release, addresses, cache, vdisks }) => [
      id,
      block,
      stateIn(state, mode),
      ...(differ ? [release?.version ?? '-'] : []),
      addresses.http,
      addresses.nbd.address,
      cache ? `${size(cache.usedBytes)} of ${size(cache.limitBytes)}` : '-',
      vdisks,
    ]),
    'There is no node.',
  )
}

export const nodeFacts = ({
  id,
  block,
  state,
  mode,
  addresses,
  portMapper,
  cache,
  vdisks,
  certificates,
  startedAt,
  release,
}: NodeInfo): string =>
  facts([
    ['node', id],
    ['block', block],
    ['state', state],
    ['mode', mode],
    ['started', when(startedAt)],
    ['version', release?.version],
    ['formats', release && formatsText(release)],
    ['api', addresses.http],
    ['peer', addresses.peer],
    ['nbd', addresses.nbd.address],
    ['nbd socket', addresses.nbd.socket],
    ['certificate for peers', certificates?.peers && `until ${when(certificates.peers.expiresAt)}`],
    ['certificate for nbd', certificates?.nbd && `until ${when(certificates.nbd.expiresAt)}`],
    ['nfs', addresses.nfs],
    ['port mapper', portMapper && [portMapper.by, portMapper.reason].filter(Boolean).join(': ')],
    ['cache', cache ? `${size(cache.usedBytes)} of ${size(cache.limitBytes)}` : undefined],
    ['vdisks', vdisks],
  ])

const formatsText = ({ oldest, newest }: NonNullable<NodeInfo['release']>): string =>
  oldest === newest ? String(oldest) : `${oldest} to ${newest}`

export const upgradeText = ({ format, nodes, finish }: UpgradeInfo): string =>
  [
    `The cluster's format is ${format}.`,
    '',
    table(
      ['NODE', 'STATE', 'VERSION', 'FORMATS'],
      nodes.map(({ node, state, release }) => [
        ...[node, state, release?.version ?? '-'],
        release === undefined ? '-' : formatsText(release),
      ]),
      'There is no node.',
    ),
    '',
    finishText(format, finish),
  ].join('\n')

function finishText(format: number, finish: UpgradeInfo['finish']): string {
  if ('refusal' in finish) return `\`ndfs upgrade finish\` would be refused. ${finish.refusal}.`
  return finish.to === format
    ? 'There is nothing to finish: no node serves a newer format.'
    : `\`ndfs upgrade finish\` raises it to ${finish.to}; releases that do not serve that can not be started from then on.`
}

export const disksTable = (disks: readonly DiskInfo[]): string =>
  table(
    ['DISK', 'NODE', 'TIER', 'CAPACITY', 'USED', 'STATE'],
    disks.map(({ id, node, tier, capacityBytes, usedBytes, state, mode }) => [
      id,
      node,
      tier,
      size(capacityBytes),
      size(usedBytes),
      stateIn(state, mode),
    ]),
    'There is no disk.',
  )

/** `every copy once in 14 days, 43 % of this round read, all of them last by …; 3 wrong copies found, 3 made anew` */
export function scrubText({
  everySeconds,
  progress,
  lastCompleteAt,
  found,
  repaired,
}: ClusterStatus['scrub']): string {
  const often = everySeconds === 0 ? 'off' : `every copy once in ${timeText(everySeconds)}`
  const far = `${Math.floor(100 * progress)} % of this round read`
  const last =
    lastCompleteAt === undefined ? 'none complete yet' : `the last complete ${when(lastCompleteAt)}`
  const wrong = found === 0 ? '' : `; ${found} wrong found, ${repaired} made anew`
  return `${often}, ${far}, ${last}${wrong}`
}

function timeText(seconds: number): string {
  for (const [name, of] of [
    ['days', 86_400],
    ['hours', 3600],
    ['min', 60],
  ] as const)
    if (seconds >= 2 * of) return `${Number((seconds / of).toFixed(1))} ${name}`
  return `${seconds} s`
}

export const scrubTable = ({ nodes, ...sum }: ScrubInfo): string =>
  [
    scrubText(sum),
    '',
    table(
      ['NODE', 'PROGRESS', 'COPIES', 'READ', 'LAST COMPLETE', 'WRONG', 'MADE ANEW', 'WAITING'],
      nodes.map(({ node, progress, copies, bytes, lastCompleteAt, found, repaired, waiting }) => [
        ...[node, `${Math.floor(100 * progress)} %`, copies, size(bytes), when(lastCompleteAt) ?? '-'],
        ...[found, repaired, waiting],
      ]),
      'No node answers.',
    ),
  ].join('\n')

export const cassandraText = ({
  servers,
  views,
  problems,
  disagreements,
  repairsUnknown,
}: CassandraInfo): string =>
  [
    table(
      ['SERVER', 'RACK', 'STATE', 'BEATS/S', 'STARTED', 'REPAIRED', 'SEEN BY'],
      servers.map((server) => [
        ...[server.clients || server.address, server.rack, cassandraState(server)],
        ...[server.heartbeatsPerSecond?.toFixed(1) ?? '-', when(server.startedAt) ?? '-'],
        when(server.repairedAt) ?? '-',
        `${server.seenBy} of ${views}`,
      ]),
      'No server of Cassandra gives its view.',
    ),
    ...[...problems, ...disagreements].map((sentence) => `! ${sentence}`),
    ...(repairsUnknown === undefined ? [] : [`! when servers were repaired is not known: ${repairsUnknown}`]),
  ].join('\n')

const cassandraState = ({ status, beats }: CassandraServerInfo): string =>
  beats === false ? `${status || '-'}, stands still` : status || '-'

/** A time, and how long ago that was. */
export function ageText(at: number): string {
  const minutes = Math.max(0, Math.floor((Date.now() - at) / 60_000))
  const ago = minutes < 120 ? `${minutes} minutes` : `${Math.floor(minutes / 60)} hours`
  return `${new Date(at).toISOString()}, ${ago} ago`
}

export function statusText(status: ClusterStatus): string {
  const { flash, hdd } = status.capacity
  return [
    status.survival.sentence,
    '',
    facts([
      ['cluster', status.cluster],
      ['health', status.health],
      ['flash', `${size(flash.usedBytes)} of ${size(flash.capacityBytes)} used`],
      ['hdd', `${size(hdd.usedBytes)} of ${size(hdd.capacityBytes)} used`],
      ['containers', status.containers],
      [
        'vdisks',
        status.vdisks.offline > 0
          ? `${status.vdisks.total}, ${status.vdisks.offline} offline`
          : status.vdisks.total,
      ],
      ['undrained', size(status.undrainedBytes)],
      ['scrub', scrubText(status.scrub)],
      ['backup', status.metadataBackupAt === undefined ? 'none yet' : ageText(status.metadataBackupAt)],
    ]),
    '',
    nodesTable(status.nodes),
    ...(status.problems.length > 0 ? ['', ...status.problems.map((problem) => `! ${problem}`)] : []),
    ...(status.leaving === undefined ? [] : ['', ...status.leaving.map((one) => `* ${one.sentence}`)]),
    '',
    'What is missing to survive more:',
    ...status.survival.missing.map((missing) => `- ${missing}`),
  ].join('\n')
}
