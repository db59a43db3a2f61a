/**
 * `npm run soak:operating -- [--older FILE --newer FILE]`: docs/operating.md, followed by its words on three clean Debians, each in namespaces of its own with systemd: from nothing to a cluster on
 * ZooKeeper and Cassandra that serves, is upgraded and taken back while a client writes and verifies, is removed, installed again, and purged. The packages are
 * those of this version, and of the same code under the next one's name, or those that are given. Needs root, and some 4 GiB of memory; leaves nothing behind, also when it is interrupted, but the clean Debian in the user's cache.
 *
 * Cassandra is not installed by the document's words, as Apache's own packages can't be reached from everywhere: its jars from Maven Central run in a service
 * of the same name, with the same folders, user and configuration.
 */
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { installCassandra, withoutCassandra } from '../../scripts/engines/cassandra.ts'
import { installTestTools } from '../../scripts/install-test-tools.ts'
import { runInside, whyNotHere } from '../power-cut/inside.ts'
import { makeBaseRoot } from './base-root.ts'
import { sweepGroups } from './machine.ts'
import { buildPackages, followTheManual, type Packages } from './walk.ts'

const project = join(import.meta.dirname, '../..')
/** Where this process runs inside its namespaces: the folder for all it makes. */
const insideVariable = 'NDFS_OPERATING_INSIDE'
const { values } = parseArgs({ options: { older: { type: 'string' }, newer: { type: 'string' } } })
const say = (line: string): void => console.log(line)

async function outside(): Promise<number> {
  installTestTools(say)
  const why = whyNotHere('debootstrap', 'systemd-nspawn', 'nsenter', 'fio')
  if (why !== undefined) {
    console.error(
      `Cannot follow docs/operating.md here: ${why}. It takes Debian's packages debootstrap and systemd-container.`,
    )
    return 2
  }
  installCassandra(say)
  const without = withoutCassandra()
  if (without !== undefined) {
    console.error(`Cannot follow docs/operating.md here: ${without}.`)
    return 2
  }
  makeBaseRoot(say)
  const folder = mkdtempSync(join(process.env.NDFS_TEST_ROOT ?? tmpdir(), 'operating-'))
  try {
    const { older, newer } = await packages(folder)
    const args = [import.meta.filename, '--older', older, '--newer', newer]
    return await runInside(args, { ...process.env, [insideVariable]: folder }, ['--net'])
  } finally {
    sweepGroups()
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 })
  }
}

async function packages(folder: string): Promise<Packages> {
  const { older, newer } = values
  if (older !== undefined && newer !== undefined) return { older: resolve(older), newer: resolve(newer) }
  say('Building both packages')
  return buildPackages(folder)
}

async function inside(folder: string): Promise<number> {
  const began = performance.now()
  const told = (line: string): void =>
    say(`${((performance.now() - began) / 1000).toFixed(1).padStart(7)} s  ${line}`)
  try {
    await followTheManual(folder, await packages(folder), told)
    say('done')
    return 0
  } catch (error) {
    console.error(error)
    const kept = join(project, 'test-results', basename(folder))
    cpSync(join(folder, 'logs'), kept, { recursive: true })
    console.error(`What the machines logged is in ${kept}`)
    return 1
  }
}

const folder = process.env[insideVariable]
if (folder === undefined) process.exit(await outside())
// Whoever started this one has gone: so do all that run in here.
process.stdin.on('end', () => process.exit(130)).resume()
process.exit(await inside(folder))
