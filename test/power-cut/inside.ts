/**
 * Runs a program in namespaces of its own: what it mounts nobody else sees, and all of it goes with its processes, which
 * end when this one does, however it ends.
 */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { isInstalled } from '../../scripts/install-test-tools.ts'

const namespaces = [
  ...['--mount', '--propagation', 'private'],
  ...['--pid', '--fork', '--kill-child=KILL', '--mount-proc'],
]

/** Why power cuts can't be played here, or undefined where they can. */
export function whyNotHere(...commands: string[]): string | undefined {
  if (process.getuid?.() !== 0) return 'it mounts file systems, for which it must be root'
  const devices = ['/dev/fuse', '/dev/loop-control'].filter((path) => !existsSync(path))
  if (devices.length > 0) return `there is no ${devices.join(', no ')}`
  const missing = ['unshare', 'mount', 'losetup', ...commands].filter((command) => !isInstalled(command))
  if (missing.length > 0) return `${missing.join(', ')} is not installed (npm test says how)`
  const { status, stderr } = spawnSync('unshare', [...namespaces, 'true'], { encoding: 'utf8' })
  return status === 0 ? undefined : `it can not have namespaces of its own: ${stderr.trim()}`
}

/** Resolves to its exit code. `more`: namespaces beside these, in `unshare`'s words. */
export function runInside(
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  more: readonly string[] = [],
): Promise<number> {
  const child = spawn('unshare', [...namespaces, ...more, process.execPath, ...args], {
    stdio: ['pipe', 'inherit', 'inherit'],
    env,
  })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => child.kill('SIGKILL'))
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code) => resolve(code ?? 130))
  })
}
