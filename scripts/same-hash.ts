/**
 * `node scripts/same-hash.ts [--runs N] [--seed FIRST]`: the same seed gives the same events, twice on this Node.js and once each on
 * the newest releases of Node.js 22 and 24. Those are packages of the npm registry, fetched into a folder that is removed.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

const root = join(import.meta.dirname, '..')
const { values } = parseArgs({
  options: { runs: { type: 'string', default: '20' }, seed: { type: 'string', default: '1' } },
})
const versions = ['22', '24']

/** A line for each seed; the real time that it took is no part of what must be the same. */
function runs(node: string): string[] {
  const { status, stdout, stderr } = spawnSync(
    node,
    ['sim/run.ts', '--seed', values.seed, '--runs', values.runs, '--workers', '1', '--list'],
    { cwd: root, encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 },
  )
  if (status !== 0) throw new Error(`${node} ended with ${status}:\n${stdout}${stderr}`)
  return stdout
    .split('\n')
    .filter((line) => line.startsWith('seed '))
    .map((line) => line.replace(/ in [\d.]+ s;/, ';'))
}

function fetched(version: string, folder: string): string {
  const name = `node-linux-${process.arch}`
  const { status, stderr } = spawnSync(
    'npm',
    [
      'install',
      '--no-save',
      '--no-audit',
      '--no-fund',
      '--prefix',
      join(folder, version),
      `${name}@${version}`,
    ],
    { cwd: folder, encoding: 'utf8' },
  )
  if (status !== 0) throw new Error(`Node.js ${version} could not be fetched:\n${stderr}`)
  return join(folder, version, 'node_modules', name, 'bin', 'node')
}

const folder = mkdtempSync(join(tmpdir(), 'ndfs-same-hash-'))
try {
  const first = runs(process.execPath)
  const others = [process.execPath, ...versions.map((version) => fetched(version, folder))]
  for (const node of others) {
    const { stdout } = spawnSync(node, ['--version'], { encoding: 'utf8' })
    const again = runs(node)
    const different = first.findIndex((line, i) => line !== again[i])
    if (different >= 0 || again.length !== first.length)
      throw new Error(`Node.js ${stdout.trim()} differs:\n${first[different]}\n${again[different]}`)
    console.log(`${again.length} seeds from ${values.seed}: Node.js ${stdout.trim()} gives the same hashes`)
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}
