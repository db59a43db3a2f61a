/**
 * A cluster whose nodes are on machines of their own, as far as the network goes: peers speak TLS, and so do clients of NBD, Debian's nbdinfo and
 * QEMU, with certificates and with shared keys.
 */
import assert from 'node:assert/strict'
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { ClusterStatus, NodeInfo } from '../src/management/management.ts'
import { type Cluster, withCluster } from './support/cluster.ts'
import { Namespaces, withoutNamespaces } from './support/namespaces.ts'
import { run, tryRun, until } from './support/run.ts'
import { without } from './support/tools.ts'

const skip = withoutNamespaces() || without('nbdinfo', 'qemu-img', 'qemu-io', 'openssl')
const key = '00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff'

interface Config {
  listen: { nbd: string; peer: string }
  tls?: object
  nbdTls?: object
}

/** Changes what processes are told, between `down` and `up`. */
function configure(cluster: Cluster, file: string, change: (config: Config) => void): void {
  const path = join(cluster.dir, file)
  const config = JSON.parse(readFileSync(path, 'utf8')) as Config
  change(config)
  writeFileSync(path, JSON.stringify(config))
}
const logOf = (cluster: Cluster, name: string): string =>
  readFileSync(join(cluster.dir, 'log', `${name}.log`), 'utf8')

/** Files as GnuTLS' clients look for them. */
function clientFolder(cluster: Cluster, folder: string, name: string): string {
  const path = join(cluster.scratch, name)
  mkdirSync(path, { recursive: true })
  copyFileSync(join(folder, 'ca.pem'), join(path, 'ca-cert.pem'))
  copyFileSync(join(folder, `${name}.pem`), join(path, 'client-cert.pem'))
  copyFileSync(join(folder, `${name}.key`), join(path, 'client-key.pem'))
  return path
}

describe('TLS between machines', { skip }, () => {
  let namespaces: Namespaces
  before(() => {
    namespaces = new Namespaces(3)
  })
  after(() => namespaces.remove())

  test('peers and clients of NBD speak TLS, whose certificates are replaced while guests work', async () => {
    await withCluster({ namespaces, disks: ['flash:4GiB'] }, async (cluster) => {
      const authority = join(cluster.scratch, 'authority')
      const certificate = (...words: string[]) => cluster.ndfs('certificate', ...words, '--dir', authority)
      await certificate('init', '--name', 'a test')
      for (const node of namespaces.nodes) await certificate('issue', node, namespaces.addressOf(node))
      await certificate('issue', 'store', namespaces.storeAddress)
      await certificate('issue', 'host-7')
      const pskFile = join(cluster.scratch, 'keys.psk')
      writeFileSync(pskFile, `alice:${key}\n`, { mode: 0o600 })

      await cluster.down()
      const filesOf = (name: string) => ({
        caFile: join(authority, 'ca.pem'),
        certFile: join(authority, `${name}.pem`),
        keyFile: join(authority, `${name}.key`),
      })
      configure(cluster, 'store/store.json', (config) => (config.tls = filesOf('store')))
      for (const node of namespaces.nodes)
        configure(cluster, `nodes/${node}/node.json`, (config) => {
          config.tls = filesOf(node)
          if (node !== 'n3') config.nbdTls = node === 'n1' ? filesOf(node) : { pskFile }
        })
      await cluster.up()

      await cluster.ndfs('container', 'create', 'vms')
      await cluster.ndfs('vdisk', 'create', 'vms/disk1', '--size', '64MiB')
      const [n1, n2, n3] = cluster.nodes.map(({ nbd }) => nbd.address)
      const hostAndPort = (address: string): string => {
        const [host, port] = address.split(':')
        return `host=${host},port=${port}`
      }

      // Without TLS nobody gets anything, and where a node has none nobody gets in.
      for (const address of [n1, n2, n3])
        assert.notEqual((await tryRun('nbdinfo', [`nbd://${address}/vms/disk1`])).code, 0)
      assert.match((await tryRun('qemu-img', ['info', `nbd://${n1}/vms/disk1`])).stderr, /TLS/)
      assert.match(logOf(cluster, 'n3'), /An NBD client was refused: no TLS is spoken here/)

      // Certificates, at n1.
      const folder = clientFolder(cluster, authority, 'host-7')
      const info = await run('nbdinfo', [`nbds://${n1}/vms/disk1?tls-certificates=${folder}`])
      assert.match(info, /protocol: newstyle-fixed with TLS, using structured packets/)
      assert.match(info, /export-size: 67108864/)
      const x509 = ['--object', `tls-creds-x509,id=t,dir=${folder},endpoint=client,verify-peer=yes`]
      const opened = (address: string, more = ''): string =>
        `driver=nbd,${hostAndPort(address)},export=vms/disk1,tls-creds=t${more}`
      const io = (address: string, creds: readonly string[], ...commands: string[]): Promise<string> =>
        run('qemu-io', [...creds, '--image-opts', opened(address), ...commands.flatMap((one) => ['-c', one])])
      await io(n1, x509, 'write -P 7 1M 8M', 'read -P 7 1M 8M')
      const { uri } = await cluster.connect('vms/disk1', '--tls', folder)
      await run('qemu-io', ['-f', 'raw', uri, '-c', 'read -P 7 1M 8M'])
      // Another authority's, and none.
      const other = join(cluster.scratch, 'other')
      await cluster.ndfs('certificate', 'init', '--dir', other)
      await cluster.ndfs('certificate', 'issue', 'host-8', '--dir', other)
      const strange = clientFolder(cluster, other, 'host-8')
      copyFileSync(join(authority, 'ca.pem'), join(strange, 'ca-cert.pem'))
      for (const uri of [`nbds://${n1}/vms/disk1?tls-certificates=${strange}`, `nbds://${n1}/vms/disk1`])
        assert.notEqual((await tryRun('nbdinfo', [uri])).code, 0)
      // GnuTLS shows none that the server would not take.
      assert.match(logOf(cluster, 'n1'), /shows no certificate by an authority that is trusted here/)

      // Shared keys, at n2.
      const psk = (await run('nbdinfo', [`nbds://alice@${n2}/vms/disk1?tls-psk-file=${pskFile}`])).toString()
      assert.match(psk, /with TLS/)
      const shared = join(cluster.scratch, 'psk')
      mkdirSync(shared)
      copyFileSync(pskFile, join(shared, 'keys.psk'))
      const creds = (user: string): string[] => [
        '--object',
        `tls-creds-psk,id=t,dir=${shared},username=${user},endpoint=client`,
      ]
      await io(n2, creds('alice'), 'read -P 7 1M 8M', 'write -P 9 20M 1M')
      writeFileSync(join(shared, 'keys.psk'), `alice:${key.replace('0', '1')}\nbob:${key}\n`)
      for (const user of ['alice', 'bob'])
        assert.notEqual(
          (await tryRun('qemu-img', ['info', ...creds(user), '--image-opts', opened(n2)])).code,
          0,
        )

      // What a container allows comes in plain, and nothing else does.
      await cluster.ndfs('container', 'set', 'vms', '--nbd-allow', namespaces.network)
      for (const address of [n1, n2, n3])
        assert.match(await run('nbdinfo', [`nbd://${address}/vms/disk1`]), /newstyle-fixed without TLS/)
      await cluster.ndfs('container', 'set', 'vms', '--nbd-allow', 'none')
      await until(
        'n1 has heard of it',
        async () => (await tryRun('nbdinfo', [`nbd://${n1}/vms/disk1`])).code !== 0,
      )

      // All certificates are replaced, by a new authority too, while a guest writes: not one of its requests fails.
      const guest = run('qemu-io', [
        ...[...x509, '--image-opts', opened(n1)],
        ...Array.from({ length: 200 }, (_, index) => [
          '-c',
          `write -P ${1 + (index % 200)} ${index * 64}k 64k`,
        ]).flat(),
        ...['-c', 'sleep 1500', '-c', 'write -P 3 0 64k', '-c', 'read -P 3 0 64k'],
      ])
      const old = readFileSync(join(authority, 'ca.pem'), 'utf8')
      const next = join(cluster.scratch, 'next')
      await cluster.ndfs('certificate', 'init', '--dir', next, '--name', 'the next')
      const names = [...namespaces.nodes, 'store']
      writeFileSync(join(authority, 'ca.pem'), old + readFileSync(join(next, 'ca.pem'), 'utf8'))
      for (const name of names) {
        const host = name === 'store' ? namespaces.storeAddress : namespaces.addressOf(name)
        await cluster.ndfs('certificate', 'issue', name, host, '--days', '20', '--dir', next)
        for (const end of ['key', 'pem'])
          copyFileSync(join(next, `${name}.${end}`), join(authority, `${name}.${end}`))
      }
      const daysLeft = async (node: string): Promise<number> => {
        const { certificates } = await cluster.json<NodeInfo>(
          'node',
          'show',
          node,
          '--api',
          cluster.node(node).http,
        )
        return Math.floor(((certificates?.peers?.expiresAt ?? 0) - Date.now()) / 86_400_000)
      }
      for (const node of namespaces.nodes)
        await until(`${node} uses the new one`, async () => [19, 20].includes(await daysLeft(node)))
      assert.doesNotMatch(await guest, /failed|error/i)
      // New connections are made with the new ones; the client trusts both authorities too.
      copyFileSync(join(authority, 'ca.pem'), join(folder, 'ca-cert.pem'))
      await io(n1, x509, 'read -P 3 0 64k', 'read -P 9 20M 1M')
      await cluster.kill('n3')
      await cluster.startNode('n3')
      await until('n3 is up', async () => (await cluster.nodeInfo('n3')).state === 'up')
      const status = await cluster.json<ClusterStatus>('status')
      assert.ok(
        status.problems.some((problem) => /certificate of n1 for peers ends in (19|20) days/.test(problem)),
        status.problems.join('\n'),
      )
      assert.ok((await cluster.metric('n1', 'ndfs_certificate_expires_seconds', 'peers')) > Date.now() / 1000)

      // A node whose certificate names another can't come back.
      await cluster.kill('n3')
      for (const end of ['key', 'pem']) copyFileSync(join(next, `n2.${end}`), join(authority, `n3.${end}`))
      const starting = cluster.tryNdfs('node', 'start', 'n3')
      const refusal = /the caller says that it is n3, and its certificate names DNS:n2/
      await until('the store says so', () => refusal.test(logOf(cluster, 'store')))
      for (const end of ['key', 'pem']) copyFileSync(join(next, `n3.${end}`), join(authority, `n3.${end}`))
      assert.equal((await starting).code, 0)
    })
  })
})
