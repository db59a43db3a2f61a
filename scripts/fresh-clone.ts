/**
 * The README's two commands, as a stranger gives them: clones this checkout into an empty folder, runs `npm ci` and
 * `npm start`, and tells how long it takes until the cluster is ready. Not part of `npm test`: it installs everything anew.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const readySecondsMax = 90
const from = join(import.meta.dirname, '..')
const folder = mkdtempSync(join(tmpdir(), 'ndfs-clone-'))
const clone = join(folder, 'ndfs')
/** npm's own scripts put this checkout's tools first, Node.js too: a stranger has none of them. */
const ownTools = (process.env.PATH ?? '').split(':').filter((part) => !part.includes('node_modules'))
const env = { ...process.env, PATH: ownTools.join(':'), XDG_CONFIG_HOME: join(folder, 'config') }

function seconds(cwd: string, command: string, ...args: string[]): number {
  const began = performance.now()
  const { status } = spawnSync(command, args, { cwd, env, stdio: ['ignore', 'inherit', 'inherit'] })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}`)
  return (performance.now() - began) / 1000
}

try {
  const { stdout } = spawnSync('node', ['--version'], { env, encoding: 'utf8' })
  console.log(`The machine's own Node.js is ${stdout.trim()}.`)
  seconds(folder, 'git', 'clone', '--quiet', from, clone)
  const installed = seconds(clone, 'npm', 'ci')
  const ready = seconds(clone, 'npm', 'start', '--', '--detach')
  seconds(clone, 'npx', 'ndfs', 'status')
  const all = installed + ready
  console.log(
    `npm ci took ${installed.toFixed(1)} s, npm start ${ready.toFixed(1)} s: ready after ${all.toFixed(1)} s.`,
  )
  if (all > readySecondsMax) throw new Error(`It should be ready in ${readySecondsMax} s.`)
} finally {
  spawnSync('npx', ['ndfs', 'down'], { cwd: clone, env, stdio: 'inherit' })
  rmSync(folder, { recursive: true, force: true })
}
