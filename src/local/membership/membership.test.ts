import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import type { NdfsError } from '../../base/errors.ts'
import { thisRelease } from '../../base/formats.ts'
import type { DiskId, NodeId } from '../../base/ids.ts'
import { openDisk } from '../../disk/folder-disk.ts'
import { admitMember } from '../../joining.ts'
import { serveHttpApi } from '../../management/http-api.ts'
import { MemoryTarget } from '../../management/memory-target.test.ts'
import { nodePlatform } from '../../platform/node-platform.ts'
import type { Files, Platform } from '../../platform/platform.ts'
import type { FormatValue, Zeus } from '../../zeus/zeus.ts'
import { nodeConfigOf, readConfigFile, storeConfigOf } from '../config-file/config-file.ts'
import { type NodeConfig, readClusterKey } from '../node-config.ts'
import { runStore } from '../store/store-process.ts'
import { formatNewDisk } from './format-new-disk.ts'
import { type Initiated, initCluster } from './init.ts'
import { invite, withStores } from './invite.ts'
import { joinCluster } from './join.ts'

const platform = nodePlatform({ level: 'silent' })
let root: string
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'ndfs-members-'))
})
afterEach(() => rm(root, { recursive: true, force: true }))

const yes = (): Promise<boolean> => Promise.resolve(true)
const apiAddress = `127.0.0.1:${9500 + (process.pid % 500)}`

/** A machine: a folder with a configuration in it. The first holds the store. */
async function machine(name: string, holdsStore = false): Promise<string> {
  const home = join(root, name)
  await mkdir(join(home, 'disk'), { recursive: true })
  const address = `unix:${root}/n1/store/store.sock`
  const file = join(home, 'ndfs.yaml')
  await writeFile(
    file,
    `# of ${name}
version: 1
cluster:
  keyFile: ${home}/cluster.key # secret
node: ${name}
block: b1
dir: ${home}/node
listen: { http: ${apiAddress}, peer: 127.0.0.1:9441, nbd: 127.0.0.1:10809 }
disks: [{ id: ${name}-flash-0, path: ${home}/disk, tier: flash, capacity: 1GiB }]
zeus: { store: { address: ${address}${holdsStore ? `, dir: ${home}/store` : ''} } }
medusa: { store: { address: ${address} } }
`,
  )
  return file
}

class PowerFailure extends Error {}

/** The same machine, where the power goes before the `last`-th change that is to be durable. */
function failing(last: number): { readonly platform: Platform; readonly hasFailed: () => boolean } {
  let count = 0
  let failed = false
  const spoiled =
    <A extends unknown[]>(change: (path: string, ...args: A) => Promise<void>) =>
    async (path: string, ...args: A): Promise<void> => {
      if (failed) throw new PowerFailure()
      // A store that failed half-way ends with its process, and here the process goes on.
      failed = !path.startsWith(join(root, 'n1/store')) && ++count === last
      if (failed) throw new PowerFailure()
      await change(path, ...args)
    }
  const { files } = platform
  const spoiledFiles: Files = {
    ...files,
    makeDirectory: spoiled((path) => files.makeDirectory(path)),
    replaceWhole: spoiled((path, bytes, mode) => files.replaceWhole(path, bytes, mode)),
    syncDirectory: spoiled((path) => files.syncDirectory(path)),
  }
  return { platform: { ...platform, files: spoiledFiles }, hasFailed: () => failed }
}

async function configOf(file: string): Promise<NodeConfig> {
  return nodeConfigOf(file, await readConfigFile(platform.files, file))
}

/** What a start of the node would find. */
async function assertWhole(file: string, cluster: string): Promise<void> {
  const config = await configOf(file)
  assert.equal(config.cluster.id, cluster)
  await readClusterKey(platform.files, config.cluster.keyFile)
  assert.match(await readFile(config.tokenFile, 'utf8'), /^[\w-]{43}\n$/)
  for (const { id, path } of config.disks) {
    const disk = await openDisk(platform, { path, node: config.node as NodeId, cluster, disk: id as DiskId })
    await disk.close()
  }
  const member = JSON.parse(await readFile(join(config.dir, 'member.json'), 'utf8')) as { state: string }
  assert.equal(member.state, 'member')
}

/** With the cluster's store, and the API of its first node, that lets machines in. */
async function withCluster<T>(file: string, work: (zeus: Zeus) => Promise<T>): Promise<T> {
  const config = await configOf(file)
  const { dir, socket } = storeConfigOf(file, await readConfigFile(platform.files, file))
  const { id, keyFile } = config.cluster
  const key = await readClusterKey(platform.files, keyFile)
  const store = await runStore({ platform, dir, mustExist: true, socketPath: socket, clusterId: id, key })
  try {
    return await withStores(config.stores, id, key, platform, async ({ zeus }) => {
      await zeus.set('format', { format: thisRelease.newest, nodes: {} } satisfies FormatValue)
      const token = (await readFile(config.tokenFile, 'utf8')).trim()
      const secrets = { key: key.toString('hex'), token }
      const api = await serveHttpApi({
        ...{ target: new MemoryTarget(), node: 'n1', version: '0', token, listen: apiAddress, platform },
        admit: (request) => admitMember({ platform, zeus, clusterId: id, secrets }, request),
      })
      try {
        return await work(zeus)
      } finally {
        await api.close()
      }
    })
  } finally {
    await store.close()
  }
}

async function made(): Promise<Initiated & { readonly file: string }> {
  const file = await machine('n1', true)
  return { ...(await initCluster({ file, confirm: yes }, platform)), file }
}

const inviteTo = (file: string, uses = 1, expiresMs = 60_000): Promise<string> =>
  invite(file, { uses, expiresMs }, platform)

test('init makes a cluster, join makes further members, and both leave the rest of the configuration as it was', async () => {
  const { cluster, token, file } = await made()
  await assertWhole(file, cluster)
  const other = await machine('n2')
  const before = await readFile(other, 'utf8')
  await withCluster(file, async () => {
    assert.deepEqual(await joinCluster(token, { file: other, confirm: yes }, platform), {
      cluster,
      node: 'n2',
    })
  })
  await assertWhole(other, cluster)
  assert.equal((await readFile(other, 'utf8')).replace(`  id: ${cluster}\n`, ''), before)
  const [one, two] = await Promise.all([configOf(file), configOf(other)])
  for (const path of ['keyFile', 'tokenFile'] as const) {
    const of = (config: NodeConfig): string =>
      path === 'keyFile' ? config.cluster.keyFile : config.tokenFile
    assert.equal(await readFile(of(one), 'utf8'), await readFile(of(two), 'utf8'))
  }
})

test('init that is interrupted anywhere is ended by giving it again', { timeout: 170_000 }, async () => {
  let at = 1
  for (; ; at++) {
    await rm(join(root, 'n1'), { recursive: true, force: true })
    const file = await machine('n1', true)
    const { platform: spoiled, hasFailed } = failing(at)
    await initCluster({ file, confirm: yes }, spoiled).catch((error: unknown) => {
      assert.ok(error instanceof PowerFailure, String(error))
    })
    if (!hasFailed()) break
    const isMember = await initCluster({ file, confirm: yes }, platform).then(
      () => false,
      (error: NdfsError) => /is n1 of the cluster [0-9a-f]{16} already/.test(error.message),
    )
    const { cluster } = await configOf(file)
    await assertWhole(file, cluster.id)
    if (isMember) await withCluster(file, async () => inviteTo(file))
  }
  assert.ok(at > 8, `only ${at} places were tried`)
})

test(
  'join that is interrupted anywhere is ended by giving it again with the same token',
  { timeout: 170_000 },
  async () => {
    const { cluster, file } = await made()
    await withCluster(file, async () => {
      let at = 1
      for (; ; at++) {
        const token = await inviteTo(file)
        const name = `m${at}`
        const other = await machine(name)
        const { platform: spoiled, hasFailed } = failing(at)
        await joinCluster(token, { file: other, confirm: yes }, spoiled).catch((error: unknown) => {
          assert.ok(error instanceof PowerFailure, String(error))
        })
        if (!hasFailed()) break
        await joinCluster(token, { file: other, confirm: yes }, platform).catch((error: NdfsError) =>
          assert.match(error.message, new RegExp(`is ${name} of the cluster ${cluster} already`)),
        )
        await assertWhole(other, cluster)
      }
      assert.ok(at > 8, `only ${at} places were tried`)
    })
  },
)

test('a token lets in as many machines as it was made for, and none when it has expired', async () => {
  const { file } = await made()
  await withCluster(file, async (zeus) => {
    const token = await inviteTo(file, 2)
    for (const name of ['n2', 'n3'])
      await joinCluster(token, { file: await machine(name), confirm: yes }, platform)
    const n4 = { file: await machine('n4'), confirm: yes }
    await assert.rejects(joinCluster(token, n4, platform), {
      code: 'REFUSED',
      message: /made for 2, and is used up/,
    })
    await assert.rejects(joinCluster(await inviteTo(file, 1, 0), n4, platform), /has expired/)
    // The next one that is made takes away those that have.
    const good = await inviteTo(file)
    assert.equal((await zeus.list('invitation/')).length, 3)
    // What was refused has left nothing behind.
    assert.deepEqual(await readdir(join(root, 'n4', 'node')), ['process.lock'])
    await joinCluster(good, n4, platform)
  })
})

test('a machine that is a member, or of another cluster, or bears a name that was taken, is refused', async () => {
  const { token, cluster, file } = await made()
  const options = { file, confirm: yes }
  await assert.rejects(initCluster(options, platform), new RegExp(`is n1 of the cluster ${cluster} already`))
  await assert.rejects(
    joinCluster(token, options, platform),
    new RegExp(`is n1 of the cluster ${cluster} already`),
  )
  await withCluster(file, async () => {
    const twin = await machine('n2')
    await writeFile(twin, (await readFile(twin, 'utf8')).replace('node: n2', 'node: n1'))
    await assert.rejects(joinCluster(token, { file: twin, confirm: yes }, platform), {
      code: 'IN_USE',
      message: /^Cannot join as n1: the name is another machine's, or was/,
    })
    const elsewhere = await machine('n3')
    await writeFile(
      elsewhere,
      (await readFile(elsewhere, 'utf8')).replace('cluster:', `cluster:\n  id: ${'f'.repeat(16)}`),
    )
    await assert.rejects(
      joinCluster(token, { file: elsewhere, confirm: yes }, platform),
      new RegExp(`token is of the cluster ${cluster}, and this machine is of f{16}`),
    )
    await assert.rejects(initCluster({ file: elsewhere, confirm: yes }, platform), /names one already, f{16}/)
    const forged = token.slice(0, 40) + (token[40] === 'A' ? 'B' : 'A') + token.slice(41)
    const n4 = { file: await machine('n4'), confirm: yes }
    await assert.rejects(joinCluster(forged, n4, platform), { code: 'UNAUTHORIZED' })
    await assert.rejects(joinCluster('the-operators-token', n4, platform), /that is no join token/)
  })
})

test("a machine whose release can't serve the cluster's format is refused, and uses no token up", async () => {
  const { token, file } = await made()
  const other = { file: await machine('n2'), confirm: yes }
  await withCluster(file, async (zeus) => {
    const format = thisRelease.newest + 1
    await zeus.set('format', { format, nodes: {} } satisfies FormatValue)
    await assert.rejects(joinCluster(token, other, platform), {
      code: 'REFUSED',
      message: new RegExp(
        `^Cannot let n2 join: it is NDFS .* format is ${format}\\. Install a newer release`,
      ),
    })
    await zeus.set('format', { format: thisRelease.newest, nodes: {} } satisfies FormatValue)
    assert.equal((await joinCluster(token, other, platform)).node, 'n2')
  })
})

test('nothing that is there is formatted or overwritten', async () => {
  const file = await machine('n1', true)
  const options = { file, confirm: yes }
  const held = join(root, 'n1/disk/photos')
  await writeFile(held, '')
  await assert.rejects(
    initCluster(options, platform),
    /Cannot format the disk n1-flash-0 .* not empty \(photos\)/,
  )
  await rm(held)
  await writeFile(join(root, 'n1/cluster.key'), 'another')
  await assert.rejects(initCluster(options, platform), /cluster\.key is there already/)
  await rm(join(root, 'n1/cluster.key'))
  await assert.rejects(
    initCluster({ file, confirm: () => Promise.resolve(false) }, platform),
    /Nothing was changed/,
  )
  assert.deepEqual(await readdir(join(root, 'n1/disk')), [])
  const { token, cluster } = await initCluster(options, platform)
  const other = await machine('n2')
  await rm(join(root, 'n2/disk'), { recursive: true })
  await assert.rejects(joinCluster(token, { file: other, confirm: yes }, platform), /there is no such folder/)
  await writeFile(other, (await readFile(other, 'utf8')).replace('n2/disk', 'n1/disk'))
  await assert.rejects(
    joinCluster(token, { file: other, confirm: yes }, platform),
    new RegExp(`it is the disk n1-flash-0 of the cluster ${cluster}`),
  )
})

test('a disk that is put into the configuration of a member is formatted by itself, once', async () => {
  const { file, cluster } = await made()
  const options = { file, confirm: yes }
  const more = `, { id: n1-hdd-0, path: ${root}/n1/hdd, tier: hdd, capacity: 1GiB }]`
  await writeFile(file, (await readFile(file, 'utf8')).replace(']\n', `${more}\n`))
  await assert.rejects(formatNewDisk('n1-hdd-0', options, platform), /there is no such folder/)
  await mkdir(join(root, 'n1/hdd'))
  await formatNewDisk('n1-hdd-0', options, platform)
  await assertWhole(file, cluster)
  await assert.rejects(formatNewDisk('n1-hdd-0', options, platform), /it is the disk n1-hdd-0 of the cluster/)
  await assert.rejects(formatNewDisk('n1-hdd-1', options, platform), { code: 'NOT_FOUND' })
})
