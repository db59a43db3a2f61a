/** What `killed-nodes.cluster.test.ts` has through `ndfs connect`, by a plain client that tries again by itself. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { withCluster } from './support/cluster.ts'
import { verifyWhileNodesDie } from './support/dying-nodes.ts'
import { without } from './support/tools.ts'

test(
  "fio verifies all it wrote through nbdkit's retry filter while nodes are killed one at a time",
  { skip: without('fio', 'nbdkit'), timeout: 400_000 },
  () =>
    withCluster({}, async (cluster) => {
      const vdisk = await cluster.createVDisk('128MiB')
      const socket = join(cluster.scratch, 'nbdkit.sock')
      const words = ['-f', '-U', socket, '--filter=retry', 'nbd', `uri=${cluster.tcp('n1', vdisk)}`]
      const nbdkit = cluster.service('nbdkit', [
        ...words,
        'retries=120',
        'retry-delay=1',
        'retry-exponential=no',
      ])
      await nbdkit.until('its socket is there', () => existsSync(socket))
      await verifyWhileNodesDie(cluster, `nbd+unix:///?socket=${socket}`, 'nbdkit retry', '96m')
    }),
)
