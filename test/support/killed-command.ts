/** A command of a cluster that is killed at a moment. */
import { spawn } from 'node:child_process'
import { type Cluster, ndfsProgram } from './cluster.ts'

export interface Killed {
  readonly output: string
  /** It was quicker. */
  readonly ended: boolean
}

/** `at`: so many milliseconds after its start, or when it prints such words. */
export function killedCommand(
  cluster: Cluster,
  args: readonly string[],
  at: number | RegExp,
): Promise<Killed> {
  const child = spawn(process.execPath, [ndfsProgram, ...args, '--dir', cluster.dir], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: cluster.env,
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (piece: Buffer) => {
      output += piece.toString()
      if (at instanceof RegExp && at.test(output)) child.kill('SIGKILL')
    })
  const timer = typeof at === 'number' ? setTimeout(() => child.kill('SIGKILL'), at) : undefined
  return new Promise((resolve, reject) => {
    child.once('error', reject).once('close', (_, signal) => {
      clearTimeout(timer)
      resolve({ output, ended: signal !== 'SIGKILL' })
    })
  })
}
