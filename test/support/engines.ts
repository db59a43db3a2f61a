/** Real ZooKeeper and Cassandra for a test: all are gone at its end, whatever happens. */
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { Engines, type EnginesOptions } from '../../scripts/engines/engines.ts'

const results = join(import.meta.dirname, '../../test-results')

/** When it fails, their logs are kept in test-results/. */
export async function withEngines(
  options: Omit<EnginesOptions, 'dir'>,
  work: (engines: Engines) => Promise<void>,
): Promise<void> {
  const dir = mkdtempSync(join(process.env.NDFS_TEST_ROOT ?? tmpdir(), 'engines-'))
  const engines = new Engines({ ...options, dir })
  try {
    await engines.start()
    await work(engines)
  } catch (error) {
    for (const { logFile } of [...engines.zooKeepers, ...engines.cassandras])
      cpSync(logFile, join(results, basename(dir), `${basename(dirname(logFile))}.log`))
    throw error
  } finally {
    await engines.end()
    rmSync(dir, { recursive: true, force: true, maxRetries: 3 })
  }
}
