/**
 * fio's NBD engine, as a client that verifies what it wrote. It never reconnects: when its server goes it spins and floods
 * stderr, so it runs under `timeout -k`, and what it prints is capped.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { tryRun } from './run.ts'

export type FioJob = FioWork & (OverNbd | Elsewhere)
export interface OverNbd {
  readonly uri: string
}
/** Without NDFS, for comparison. */
export interface Elsewhere {
  /** fio's words for the engine and what it works on, without the dashes. */
  readonly place: readonly string[]
}
export interface FioWork {
  /** Its words without the dashes: `rw=randwrite`, `iodepth=32`. */
  readonly options: readonly string[]
  readonly seconds: number
  /** Where its report and state may lie. */
  readonly folder: string
  readonly env?: NodeJS.ProcessEnv
  /** Ends it before its time. */
  readonly signal?: AbortSignal
}

export interface FioReport {
  readonly writes: FioSide
  readonly reads: FioSide
  /** The longest that one request waited. */
  readonly longestMs: number
}
export interface FioSide {
  readonly iops: number
  readonly bytesPerSecond: number
  readonly requests: number
  readonly meanMicroseconds: number
  readonly p50Microseconds: number
  readonly p99Microseconds: number
  readonly p999Microseconds: number
}

interface RawSide {
  readonly iops: number
  readonly bw_bytes: number
  readonly total_ios: number
  readonly clat_ns: {
    readonly max: number
    readonly mean: number
    readonly percentile?: Record<string, number>
  }
}
interface RawReport {
  readonly jobs: readonly { readonly error: number; readonly read: RawSide; readonly write: RawSide }[]
}

let runs = 0

/** Rejects where fio saw an error: one of I/O, or bytes that are not what it wrote. */
export async function fio(fioJob: FioJob): Promise<FioReport> {
  const { options, seconds, folder, env, signal } = fioJob
  const report = join(folder, `fio-${++runs}.json`)
  const place = 'uri' in fioJob ? ['ioengine=nbd', `uri=${fioJob.uri}`] : fioJob.place
  const words = ['name=job', ...place, 'thread', 'output-format=json', `output=${report}`]
  const args = [...words, ...options].map((word) => `--${word}`)
  const { code, stdout, stderr } = await tryRun('fio', args, { seconds, cwd: folder, env, signal })
  const heard = `${stderr.slice(0, 3000)}\n${stdout.slice(0, 1000)}`
  assert.equal(code, 0, `fio ${options.join(' ')} ended with ${code}\n${heard}`)
  const text = readFileSync(report, 'utf8')
  // Notes may stand before the report itself.
  const [job] = (JSON.parse(text.slice(text.indexOf('{'))) as RawReport).jobs
  assert.equal(job.error, 0, `fio saw error ${job.error}\n${heard}`)
  const longestNs = Math.max(job.read.clat_ns.max, job.write.clat_ns.max)
  return { reads: sideOf(job.read), writes: sideOf(job.write), longestMs: longestNs / 1e6 }
}

const sideOf = ({ iops, bw_bytes, total_ios, clat_ns }: RawSide): FioSide => {
  const percentile = (name: string): number => (clat_ns.percentile?.[name] ?? 0) / 1000
  return {
    iops,
    bytesPerSecond: bw_bytes,
    requests: total_ios,
    meanMicroseconds: clat_ns.mean / 1000,
    p50Microseconds: percentile('50.000000'),
    p99Microseconds: percentile('99.000000'),
    p999Microseconds: percentile('99.900000'),
  }
}

/** Blocks of all sizes from 512 bytes to 1 MiB, as guests mix them. */
export const mixedSizes = 'bssplit=512/20:1k/5:4k/40:7k/5:16k/10:64k/10:260k/5:1m/5'
