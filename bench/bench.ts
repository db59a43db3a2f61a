/**
 * `npm run bench`: NDFS over the Unix socket of the node that owns the vDisk, two copies, three nodes on this machine; beside it, in turn
 * and on the same disk, what that disk does by itself. Prints tables with what is wanted, and writes all of it to bench-results/.
 *
 * Options: --seconds N of each job (8), --rounds N (1), --dir DIR on the disk to be measured (the system's folder for temporary files),
 * --sustained: instead, random writes for five minutes (--seconds N) over 16 GiB, or 6 where the disk is small (--vdisk-gib N).
 */
import { tmpdir } from 'node:os'
import { parseArgs } from 'node:util'
import { judge, memoryOfNodeMaxBytes } from './goals.ts'
import { installPackages } from './install-packages.ts'
import { circumstances, machineAndCommit } from './machine.ts'
import { Ndfs } from './ndfs.ts'
import { RawDisk } from './raw-disk.ts'
import { keepResults } from './results.ts'
import { fill, measureInTurn } from './rounds.ts'
import { orAborted, withScratch } from './scratch.ts'
import { sustained } from './sustained.ts'
import { figuresTable, goalsTable, memoryTable, quietMachineTable, sampleLine } from './table.ts'
import { restSeconds, withTargets } from './target.ts'
import { sleep } from '../test/support/run.ts'

const { values } = parseArgs({
  options: {
    seconds: { type: 'string' },
    rounds: { type: 'string', default: '1' },
    dir: { type: 'string', default: tmpdir() },
    sustained: { type: 'boolean', default: false },
    'vdisk-gib': { type: 'string' },
  },
})
const warmUpSeconds = 2
const secondsUsual = 8
const numberOf = (given: string | undefined): number | undefined =>
  given === undefined ? undefined : Number(given)
const secondsGiven = numberOf(values.seconds)

installPackages('the jobs', { packages: ['fio'], commands: ['fio'] }, (line) => console.log(line))
console.log(machineAndCommit())
await withScratch(values.dir, async (root, signal) => {
  if (values.sustained)
    return sustained(root, signal, { seconds: secondsGiven, vdiskGiB: numberOf(values['vdisk-gib']) })
  const targets = [new Ndfs(root), new RawDisk(root)]
  const [rounds, seconds] = [Number(values.rounds), secondsGiven ?? secondsUsual]
  await withTargets(targets, signal, async ([ndfs]) => {
    const schedule = { rounds, seconds, warmUpSeconds, folder: root, signal }
    await fill(targets, schedule)
    const samples = await measureInTurn(targets, {
      ...schedule,
      heard: (sample) => console.log(sampleLine(sample)),
    })
    await orAborted(sleep(restSeconds * 1000), signal)
    const memory = (await ndfs.memory()).map((resident) => ({ of: ndfs.name, ...resident }))
    const judged = judge(samples)
    console.log(`\n${figuresTable(samples)}\n\n${goalsTable(judged)}\n\n${quietMachineTable(samples)}`)
    console.log(
      `\n${memoryTable(memory)}\n(a quiet machine should show at most ${memoryOfNodeMaxBytes / 1e6} MB)`,
    )
    const file = keepResults('bench', {
      ...circumstances(root),
      rounds,
      seconds,
      warmUpSeconds,
      targets: targets.map(({ name, notes }) => ({ name, ...notes })),
      samples,
      judged,
      memory,
    })
    console.log(`\nWritten to ${file}.`)
  })
})
