/**
 * How many requests the adapter takes from a real client, fio, over a Unix socket, with a vDisk in memory behind it: once
 * one that answers at once, once one that answers each request a turn later, as disks and peers do. nbdkit's memory
 * plugin stands beside it, to tell the machine from the code. Run it: `node bench/parts/nbd.ts`.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { MiB } from '../../src/base/units.ts'
import { nodePlatform } from '../../src/platform/node-platform.ts'
import { MemoryExports } from '../../src/stargate/front-end-adapter/nbd/memory-exports.ts'
import { createNbdServer } from '../../src/stargate/front-end-adapter/nbd/nbd.ts'

const sizeBytes = 256 * MiB
const secondsEach = Number(process.argv[2] ?? 3)
const jobs = [
  { name: 'random read d1', args: ['--rw=randread', '--bs=4k', '--iodepth=1'] },
  { name: 'random read d32', args: ['--rw=randread', '--bs=4k', '--iodepth=32'] },
  { name: 'random read d128', args: ['--rw=randread', '--bs=4k', '--iodepth=128'] },
  { name: 'random write d1', args: ['--rw=randwrite', '--bs=4k', '--iodepth=1'] },
  { name: 'random write d32', args: ['--rw=randwrite', '--bs=4k', '--iodepth=32'] },
  { name: '1 MiB read d8', args: ['--rw=read', '--bs=1m', '--iodepth=8'] },
  { name: '1 MiB write d8', args: ['--rw=write', '--bs=1m', '--iodepth=8'] },
]

interface FioSide {
  readonly iops: number
  readonly bw_bytes: number
  readonly clat_ns: { readonly percentile?: Readonly<Record<string, number>> }
}

async function fio(uri: string, args: readonly string[]): Promise<string> {
  // fio's NBD engine spins and outlives TERM when its server goes away.
  const child = spawn(
    'timeout',
    ['-k', '2', String(secondsEach + 10), 'fio', '--name=nbd', '--ioengine=nbd', `--uri=${uri}`, '--thread']
      .concat(['--time_based', `--runtime=${secondsEach}`, `--size=${sizeBytes}`, '--output-format=json'])
      .concat(['--randrepeat=0', '--norandommap', ...args]),
    { stdio: ['ignore', 'pipe', 'ignore'] },
  )
  let out = ''
  child.stdout.on('data', (text: Buffer) => (out += text.toString()))
  await once(child, 'close')
  const result = JSON.parse(out.slice(out.indexOf('{'))) as { jobs: [{ read: FioSide; write: FioSide }] }
  const { read, write } = result.jobs[0]
  const side = read.iops > 0 ? read : write
  const p99 = (side.clat_ns.percentile?.['99.000000'] ?? 0) / 1000
  const rate = `${(side.iops / 1000).toFixed(1)} k/s`.padStart(11)
  return `${rate} ${(side.bw_bytes / 1e6).toFixed(0).padStart(6)} MB/s  p99 ${p99.toFixed(0)} µs`
}

async function measure(title: string, uri: string): Promise<void> {
  process.stdout.write(`${title}\n`)
  for (const job of jobs)
    process.stdout.write(`  ${job.name.padEnd(18)}${await fio(uri, job.args).catch(String)}\n`)
}

const directory = await mkdtemp(join(tmpdir(), 'ndfs-nbd-bench-'))
const exports = new MemoryExports({ 'bench/now': sizeBytes, 'bench/later': sizeBytes })
exports.vdisk('bench/later').before = () => new Promise((resolve) => setImmediate(resolve))
const server = createNbdServer({ platform: nodePlatform({ level: 'warn' }), exports })
const path = join(directory, 'nbd.sock')
await server.listen(`unix:${path}`)
await measure('NDFS, answers at once', `nbd+unix:///bench/now?socket=${path}`)
await measure('NDFS, answers a turn later', `nbd+unix:///bench/later?socket=${path}`)
await server.close()

const kitPath = join(directory, 'nbdkit.sock')
const kit = spawn('nbdkit', ['-f', '-U', kitPath, 'memory', String(sizeBytes)], { stdio: 'ignore' })
kit.on('error', () => {})
await delay(500)
await measure('nbdkit, memory plugin', `nbd+unix:///?socket=${kitPath}`)
kit.kill()
await rm(directory, { recursive: true, force: true })
