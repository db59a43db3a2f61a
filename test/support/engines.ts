/** Real ZooKeeper and Cassandra for a test: all are gone at its end, whatever happens. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Engines, type EnginesOptions } from '../../scripts/engines/engines.ts'

export async function withEngines(
  options: Omit<EnginesOptions, 'dir'>,
  work: (engines: Engines) => Promise<void>,
): Promise<void> {
  const dir = mkdtempSync(join(process.env.NDFS_TEST_ROOT ?? tmpdir(), 'engines-'))
  const engines = new Engines({ ...options, dir })
  try {
    await engines.start()
    await work(engines)
  } finally {
    await engines.end()
    rmSync(dir, { recursive: true, force: true, maxRetries: 3 })
  }
}
