/**
 * Who is measured: NDFS, the raw disk, or a peer. Each is started by a script of ours, with all that it writes in a folder of its own, and
 * leaves nothing behind when it is stopped.
 */
import type { Job, JobId } from './jobs.ts'

export interface Target {
  readonly name: TargetName
  /** Those it can do, or that say something about it. */
  readonly jobs: readonly JobId[]
  /** What version it is, how it was set up, and what of its writes is on stable media when they are acknowledged. */
  readonly notes: TargetNotes

  /** Resolves when it serves an image of `imageMiB`. A start that failed is stopped like any other. */
  start(): Promise<void>
  /** fio's words for the engine and the image. It is in the state in which the job is to meet it when this resolves. */
  place(job: Pick<Job, 'id' | 'from'>): Promise<readonly string[]>
  /** What clients need in their environment. */
  readonly clientEnv?: NodeJS.ProcessEnv
  /** What a job takes besides its own time and fio's start, for the forecast. */
  secondsBesides?(job: Job): number
  /** Resolves when it has no more work from what was written, so that nobody else pays for it. */
  settled(): Promise<void>
  /** All of its processes, for their processor time; clients don't count. None where it has none. */
  pids(): readonly number[]
  /** Of its storage processes, what data they cache not counted. */
  memory(): Promise<readonly Resident[]>
  stop(): Promise<void>
}

export type TargetName =
  'NDFS' | 'NDFS on engines' | 'raw disk' | 'Ceph' | 'GlusterFS' | 'nbdkit' | 'qemu-nbd'

export interface TargetNotes {
  readonly version: string
  readonly setup: string
  readonly durable: string
}

export interface Resident {
  readonly process: string
  readonly bytes: number
  /** What was taken off for the data that it caches. */
  readonly cacheBytes: number
}

/** Between the last job and a look at memory, for everybody: some give back what they had for it. */
export const restSeconds = 20

/** Starts them one after the other; all are stopped in the end, also when one did not start. */
export async function withTargets(
  targets: readonly Target[],
  signal: AbortSignal,
  work: (targets: readonly Target[]) => Promise<void>,
): Promise<void> {
  const started: Target[] = []
  try {
    for (const target of targets) {
      signal.throwIfAborted()
      started.push(target)
      await target.start()
    }
    await work(targets)
  } finally {
    const endings = await Promise.allSettled(started.reverse().map((target) => target.stop()))
    for (const ending of endings) if (ending.status === 'rejected') console.error(ending.reason)
  }
}
