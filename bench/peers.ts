/**
 * `npm run bench:peers`: NDFS beside Ceph, GlusterFS, nbdkit and qemu-nbd, on the same machine and disk and in the same run.
 *
 * One peer after the other: it is installed where it is missing (Debian's packages, root), started by a script of ours with its state in the
 * folder that is measured, and NDFS beside it. Both images are written full; then each job runs on one and on the other, in turn, round
 * after round. The peer is stopped and its data removed before the next one starts. What is compared are ratios within a round; the median
 * of the rounds counts.
 *
 * Prints tables with what is wanted, writes all of it to bench-results/, and a chart to docs/bench.svg where every peer took part.
 *
 * Options: --only ceph,glusterfs,nbdkit,qemu-nbd; --rounds N (3); --seconds N of each job (5); --dir DIR on the disk to be measured (the
 * system's folder for temporary files); --chart FILE; --sustained: instead, NDFS alone, random writes for five minutes (--seconds N).
 */
import { statfsSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { parseArgs } from 'node:util'
import { carriedOverNote, carryOver } from './carry-over.ts'
import { chartSvg } from './chart.ts'
import { judge, judgeMemory, type Judged } from './goals.ts'
import { installPackages, type NeededPackages } from './install-packages.ts'
import { type Job, jobs } from './jobs.ts'
import { circumstances, machineAndCommit } from './machine.ts'
import { Ndfs } from './ndfs.ts'
import { chartOf } from './peers-chart.ts'
import { Ceph } from './peers/ceph.ts'
import { GlusterFs } from './peers/glusterfs.ts'
import { Nbdkit } from './peers/nbdkit.ts'
import { QemuNbd } from './peers/qemu-nbd.ts'
import { RawDisk } from './raw-disk.ts'
import { keepResults } from './results.ts'
import { fill, measureInTurn, type Schedule } from './rounds.ts'
import { orAborted, withScratch } from './scratch.ts'
import type { Section } from './section.ts'
import { sustained } from './sustained.ts'
import {
  carriedOverTable,
  figuresTable,
  goalsTable,
  memoryTable,
  quietMachineTable,
  ratiosTable,
  sampleLine,
} from './table.ts'
import { restSeconds, type Target, withTargets } from './target.ts'
import { sleep } from '../test/support/run.ts'

interface Peer extends NeededPackages {
  create(root: string): Target
}

const GiB = 1024 ** 3
const freeBytesMin = 40 * GiB
const warmUpSeconds = 2
const secondsUsual = 5
/** What a job takes besides its own time: fio's start, what is to be settled. */
const besidesSeconds = 3
const startSeconds = 60

const peers: Readonly<Record<string, Peer>> = {
  ceph: {
    packages: ['ceph-osd', 'ceph-mon', 'ceph-mgr', 'ceph-common'],
    commands: ['ceph', 'ceph-osd', 'ceph-mon', 'ceph-mgr', 'monmaptool', 'rbd'],
    create: (root) => new Ceph(root),
  },
  glusterfs: {
    packages: ['glusterfs-server'],
    commands: ['glusterd', 'glusterfsd', 'gluster'],
    create: (root) => new GlusterFs(root),
  },
  nbdkit: { packages: ['nbdkit'], commands: ['nbdkit'], create: (root) => new Nbdkit(root) },
  'qemu-nbd': {
    packages: ['qemu-utils'],
    commands: ['qemu-nbd', 'qemu-img'],
    create: (root) => new QemuNbd(root),
  },
}

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: Object.keys(peers).join(',') },
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string' },
    dir: { type: 'string', default: tmpdir() },
    chart: { type: 'string' },
    sustained: { type: 'boolean', default: false },
  },
})
const rounds = Number(values.rounds)
const secondsGiven = values.seconds === undefined ? undefined : Number(values.seconds)
const seconds = secondsGiven ?? secondsUsual
const wanted = values.only.split(',')
const say = (line: string): void => console.log(line)

const secondsOfRound = (targets: readonly Target[], common: readonly Job[]): number =>
  targets
    .flatMap((target) => common.filter(({ id }) => target.jobs.includes(id)).map((job) => ({ target, job })))
    .reduce(
      (sum, { target, job }) =>
        sum + seconds + warmUpSeconds + besidesSeconds + (target.secondsBesides?.(job) ?? 0),
      0,
    )

/** Ours and the peer; with the first of them the raw disk too. */
async function measurePeer(
  peer: Peer,
  root: string,
  signal: AbortSignal,
  withDisk: boolean,
): Promise<Section> {
  const theirs = peer.create(root)
  const ours = new Ndfs(root)
  const others = withDisk ? [theirs, new RawDisk(root)] : [theirs]
  const targets = [ours, ...others]
  // Ours does what somebody else does too, so that there is something to hold it against.
  const common = jobs.filter(({ id }) => others.some((other) => other.jobs.includes(id)))
  const expected = startSeconds + rounds * secondsOfRound(targets, common)
  say(`\n${theirs.name}: about ${Math.ceil(expected / 60)} minutes`)
  for (const { name, notes } of targets)
    say(`  ${name}: ${notes.version}\n    set up: ${notes.setup}\n    durable: ${notes.durable}`)
  let section: Section | undefined
  await withTargets(targets, signal, async () => {
    const schedule: Schedule = {
      rounds,
      seconds,
      warmUpSeconds,
      jobs: common.map(({ id }) => id),
      folder: root,
      signal,
      heard: (sample) => say(sampleLine(sample)),
    }
    await fill(targets, schedule)
    const samples = await measureInTurn(targets, schedule)
    await orAborted(sleep(restSeconds * 1000), signal)
    const memory = await Promise.all(
      targets.map(async (target) => (await target.memory()).map((each) => ({ of: target.name, ...each }))),
    )
    section = {
      peer: theirs.name,
      targets: targets.map(({ name, notes }) => ({ name, ...notes })),
      samples,
      memory: memory.flat(),
    }
  })
  if (section === undefined) throw new Error(`There are no figures of ${theirs.name}`)
  say(`${theirs.name} is stopped, and its data is removed.\n\n${figuresTable(section.samples)}`)
  say(`\n${ratiosTable(section)}\n\n${memoryTable(section.memory)}`)
  return section
}

function judgeSection({ peer, samples, memory }: Section): Judged[] {
  const of = (name: string): typeof memory => memory.filter((each) => each.of === name)
  const ofMemory = peer === 'Ceph' ? judgeMemory(of('NDFS'), of('Ceph')) : undefined
  return [...judge(samples), ...(ofMemory === undefined ? [] : [ofMemory])]
}

async function comparePeers(root: string, signal: AbortSignal): Promise<void> {
  const { bavail, bsize } = statfsSync(root)
  if (bavail * bsize < freeBytesMin)
    throw new Error(
      `Cannot run in ${root}: its disk has ${(bavail * bsize) / GiB} GiB free, and ${freeBytesMin / GiB} are needed. ` +
        'Name a folder on a larger one with --dir.',
    )
  const sections: Section[] = []
  for (const name of wanted) {
    signal.throwIfAborted()
    try {
      installPackages(name, peers[name], say)
      sections.push(await measurePeer(peers[name], root, signal, sections.length === 0))
    } catch (error) {
      // The others' figures are worth their minutes without it.
      signal.throwIfAborted()
      console.error(`There are no figures of ${name}: it failed on the way, and was stopped.`, error)
      process.exitCode = 1
    }
  }
  if (sections.length === 0) return
  const samples = sections.flatMap((section) => section.samples)
  const carriedOver = carryOver(samples)
  const judged = sections.flatMap(judgeSection)
  say(`\n${goalsTable(judged)}\n\n${quietMachineTable(samples)}`)
  say(`\n${carriedOverTable(carriedOver)}\n(${carriedOverNote})`)
  const around = circumstances(root)
  const results = {
    ...around,
    rounds,
    seconds,
    warmUpSeconds,
    sections,
    judged,
    carriedOver,
    carriedOverNote,
  }
  say(`\nWritten to ${keepResults('peers', results)}.`)
  const chart = values.chart ?? (sections.length === Object.keys(peers).length ? 'docs/bench.svg' : undefined)
  if (chart === undefined) return
  const notes = [
    `${around.processors}, ${around.disk}; commit ${around.commit.slice(0, 10)}; median of ${rounds} rounds of ${seconds} s; ratios are those within a round.`,
    'NDFS and Ceph: on stable media of two nodes before the answer. GlusterFS: durable at d1 only. nbdkit: memory. qemu-nbd: one file, no copies.',
    `* ${carriedOverNote}.`,
  ]
  writeFileSync(chart, chartSvg(chartOf(sections, carriedOver, notes)))
  say(`The chart is in ${chart}.`)
}

const unknown = wanted.filter((name) => !(name in peers))
if (unknown.length > 0) {
  console.error(`There is no peer ${unknown.join(', ')}: those are ${Object.keys(peers).join(', ')}.`)
  process.exitCode = 2
} else {
  installPackages('the jobs', { packages: ['fio'], commands: ['fio'] }, say)
  say(machineAndCommit())
  await withScratch(values.dir, (root, signal) =>
    values.sustained ? sustained(root, signal, { seconds: secondsGiven }) : comparePeers(root, signal),
  )
}
