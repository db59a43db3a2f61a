/**
 * `ndfs up --detach`: the same `up`, in a process of its own that tells the one at the terminal how it goes, and stays
 * when that one leaves. What it says later stands in `DIR/log/up.log`.
 *
 *   child → parent   {"line": "…"} …, then {"ready": true} or {"failed": {"code": "…", "message": "…", "facts": {…}}}
 *
 * A parent that leaves before the end of that takes the child along.
 */
import { spawn } from 'node:child_process'
import { mkdir, open } from 'node:fs/promises'
import { resolve } from 'node:path'
import { messageOf, NdfsError, type NdfsErrorCode } from '../base/errors.ts'
import type { Platform } from '../platform/platform.ts'
import { layoutOf } from './layout.ts'
import type { Output, Program, UpOptions } from './local.ts'
import { lastLines } from './log-lines.ts'
import { up, type UpOutput } from './up.ts'
import { whenAborted } from './when-aborted.ts'

type Message =
  | { readonly line: string }
  | { readonly event: { readonly event: string } & Record<string, unknown> }
  | { readonly ready: true }
  | { readonly failed: { code: string; message: string; facts: Record<string, unknown> } }

const linesShown = 8

/** Resolves when the cluster serves; rejects with the reason, and then nothing of it runs. `args` are those of `up`. */
export async function upDetached(
  dir: string,
  args: readonly string[],
  program: Program,
  output: Output,
  stopped: AbortSignal,
): Promise<void> {
  const layout = layoutOf(resolve(dir))
  await mkdir(layout.logs, { recursive: true })
  const logPath = layout.log('up')
  const log = await open(logPath, 'a')
  const logStart = (await log.stat()).size
  const child = spawn(process.execPath, [...program.nodeOptions, program.entry, ...args], {
    detached: true,
    stdio: ['ignore', log.fd, log.fd, 'ipc'],
  })
  try {
    await new Promise<void>((done, reject) => {
      stopped.addEventListener('abort', () => child.disconnect(), { once: true })
      child.on('error', (error) => reject(error))
      child.on('message', (message) => {
        const said = message as Message
        if ('line' in said) output.line(said.line)
        else if ('event' in said) output.event(said.event)
        else if ('ready' in said) done()
        else reject(new NdfsError(said.failed.code as NdfsErrorCode, said.failed.message, said.failed.facts))
      })
      child.on('exit', (code, signal) => {
        void lastLines('up', logPath, logStart, linesShown).then((lines) =>
          reject(
            new NdfsError(
              'UNAVAILABLE',
              `Cannot start the cluster: its supervisor ended (${signal ?? `exit code ${code}`}). ${lines.join('\n')}`,
            ),
          ),
        )
      })
    })
  } finally {
    if (child.connected) child.disconnect()
    child.unref()
    await log.close()
  }
}

/** The child's part. Resolves when the cluster was stopped; rejects where it never came to serve. */
export async function beDetachedUp(
  options: UpOptions,
  program: Program,
  platform: Platform,
  console: Output,
  stopped: AbortController,
): Promise<void> {
  let told = false
  const tell = (message: Message): void => {
    if (process.connected) process.send?.(message)
  }
  process.once('disconnect', () => {
    if (!told) stopped.abort()
  })
  const output: UpOutput = {
    followLogs: false,
    line: (line) => (told ? console.line(line) : tell({ line })),
    event: (event) => (told ? console.event(event) : tell({ event })),
  }
  try {
    const running = await up(options, program, platform, output, stopped.signal)
    tell({ ready: true })
    told = true
    await whenAborted(stopped.signal)
    await running.stop()
  } catch (error) {
    const { code = 'UNAVAILABLE', facts = {} } = error as Partial<NdfsError>
    tell({ failed: { code, message: messageOf(error), facts } })
    throw error
  }
}
