/** Who may use a container by NFS, as an operator says and changes it, with clients that have it mounted meanwhile. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { ContainerInfo } from '../src/management/management.ts'
import { withCluster } from './support/cluster.ts'
import { NfsClient } from './support/nfs-client.ts'
import { run, tryRun, until } from './support/run.ts'

test('an operator says who may use a container by NFS: every node goes by it at the next call, without another mount (R16)', async () => {
  await withCluster({ disks: ['flash:4GiB'] }, async (cluster) => {
    const set = (...words: string[]): Promise<string> => cluster.ndfs('container', 'set', 'vms', ...words)
    const url = (node: string, path: string): string => {
      const [host, port] = cluster.node(node).nfs?.address.split(':') ?? []
      return `nfs://${host}/vms/${path}?nfsport=${port}&mountport=${port}`
    }
    const local = join(cluster.scratch, 'file')
    writeFileSync(local, 'some bytes')

    for (const network of ['10.0.0.0/33', 'vms', '10.0.0']) {
      const refused = await cluster.tryNdfs('container', 'create', 'vms', '--nfs-allow', network)
      assert.equal(refused.code, 1)
      assert.match(refused.stderr, new RegExp(`Cannot allow "${network}": it is no address or network`))
    }
    await cluster.ndfs('container', 'create', 'vms', '--nfs-allow', '127.0.0.5', '--nfs-allow', '10.0.0.0/8')
    const refused = await tryRun('nfs-cp', [local, url('n1', 'file')], { seconds: 20 })
    assert.notEqual(refused.code, 0, 'from 127.0.0.1 it was mounted')
    assert.match(refused.stderr, /ACCES/)
    const client = await NfsClient.connect(cluster, 'n2')
    assert.deepEqual(await client.exports(), { '/vms': ['127.0.0.5', '10.0.0.0/8'] })
    assert.equal(await client.mount('/vms'), 'ACCES')

    await set('--nfs-allow', '127.0.0.1')
    await until('n2 has heard of it', async () => typeof (await client.mount('/vms')) !== 'string', 5)
    await run('nfs-cp', [local, url('n2', 'file')])
    const root = await client.mount('/vms')
    assert.ok(typeof root !== 'string')
    const file = await client.lookup(root, 'file')
    assert.equal(await client.write(file, 0, Buffer.from('SOME')), 'OK')

    await set('--nfs-read-only')
    await until(
      'n2 refuses writes',
      async () => (await client.write(file, 0, Buffer.from('s'))) === 'ROFS',
      5,
    )
    assert.equal((await client.readAll(file)).toString(), 'SOME bytes')
    assert.match((await tryRun('nfs-cp', [local, url('n2', 'other')])).stderr, /ROFS/)
    assert.equal(await run('nfs-cat', [url('n2', 'file')]), 'SOME bytes')

    await set('--nfs-allow', 'none', '--no-nfs-read-only')
    await until('n2 lets nobody in', async () => (await client.read(file, 0, 10)) === 'ACCES', 5)
    assert.equal(await client.write(file, 0, Buffer.from('s')), 'ACCES')
    assert.deepEqual(await client.exports(), {})

    await set('--nfs-allow', 'default', '--nfs-squash', 'all', '--nfs-anonymous-uid', '99')
    await until('n2 has heard of it', async () => (await client.exports())['/vms']?.length === 2, 5)
    assert.equal(await client.write(file, 0, Buffer.from('s')), 'ACCES', 'to user 99 a file that is root’s')
    const { nfs, copies } = await cluster.json<ContainerInfo>('container', 'show', 'vms')
    assert.deepEqual([nfs.networks, nfs.anonymousUid, copies], [['127.0.0.0/8', '::1/128'], 99, 2])
    client.close()
  })
})
