/** A server with vDisks in memory and clients of it, for tests: all of them end with the test. */
import type { TestContext } from 'node:test'
import { MiB } from '../../../base/units.ts'
import type { Platform } from '../../../platform/platform.ts'
import { MemoryExports } from './memory-exports.ts'
import { createNbdServer, type NbdServer, type NbdServerParts } from './nbd.ts'
import { RawClient } from './raw-client.ts'

export interface NbdFixture {
  readonly exports: MemoryExports
  readonly server: NbdServer
  readonly connect: () => Promise<RawClient>
  /** Resolves when the server has no connection left. */
  readonly deserted: () => Promise<void>
}

export async function startNbd(
  t: TestContext,
  platform: Platform,
  options: Pick<NbdServerParts, 'admission' | 'limits'> = {},
): Promise<NbdFixture> {
  const exports = new MemoryExports({ 'vms/b': 3 * MiB, 'vms/a': 1 * MiB, 'vms/large': 160 * MiB })
  const server = createNbdServer({ platform, exports, ...options })
  const address = await server.listen('127.0.0.1:0')
  const clients: RawClient[] = []
  t.after(async () => {
    for (const client of clients) client.destroy()
    await server.close()
  })
  return {
    exports,
    server,
    connect: async () => {
      const client = new RawClient(await platform.sockets.connect(address, 5000))
      clients.push(client)
      return client
    },
    deserted: async () => {
      while (server.statistics().connections > 0) await platform.clock.sleep(2)
    },
  }
}
