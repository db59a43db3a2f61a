/** The clients that people use, against files in memory: libnfs' tools. */
import { test, type TestContext } from 'node:test'
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { access, constants, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'
import { MiB } from '../../../base/units.ts'
import { nodePlatform } from '../../../platform/node-platform.ts'
import { MemoryTree } from './memory-tree-for-tests.ts'
import { mount3Program } from './mount3-protocol.ts'
import { nfs3Program } from './nfs3-protocol.ts'
import { createRpcServer } from './rpc-server.ts'

const run = promisify(execFile)

const found = async (program: string): Promise<boolean> => {
  for (const directory of (process.env.PATH ?? '').split(delimiter))
    if (
      await access(join(directory, program), constants.X_OK).then(
        () => true,
        () => false,
      )
    )
      return true
  return false
}

/** Why a test can't run here; `false` where it can. */
async function missing(...programs: string[]): Promise<string | false> {
  for (const program of programs)
    if (!(await found(program))) return `${program} is not installed (Debian: libnfs-utils)`
  return false
}

const bytes = Buffer.alloc(3 * MiB + 777)
for (let at = 0; at < bytes.length - 4; at += 4) bytes.writeUInt32BE(at ^ 0x5a5a5a5a, at)

async function start(t: TestContext) {
  const directory = await mkdtemp(join(tmpdir(), 'ndfs-nfs-clients-'))
  const tree = new MemoryTree()
  tree.add(tree.root, 'disk.raw', bytes)
  tree.add(tree.root, 'small', Buffer.from('hello, NFS\n'))
  const inner = tree.add(tree.root, 'inner')
  for (let index = 0; index < 500; index += 1)
    tree.add(inner, `${'long'.repeat(20)}-${index}`, Buffer.alloc(index))
  const server = createRpcServer({
    platform: nodePlatform({ level: 'silent' }),
    programs: [nfs3Program(tree.nfs), mount3Program(tree.mount)],
  })
  const port = (await server.listen('127.0.0.1:0')).split(':').at(-1)
  t.after(async () => {
    await server.close()
    await rm(directory, { recursive: true })
  })
  const url = (path: string): string =>
    `nfs://127.0.0.1/vms/${path}?nfsport=${port}&mountport=${port}&version=3`
  return { directory, tree, server, url }
}

test('nfs-ls lists a directory', { skip: await missing('nfs-ls') }, async (t) => {
  const { server, url } = await start(t)
  const { stdout } = await run('nfs-ls', [url('')])
  const lines = stdout.trim().split('\n')
  assert.equal(lines.length, 3)
  assert.match(stdout, /-rw-r--r--.* 3146505 disk\.raw/)
  assert.match(stdout, /-rw-r--r--.* 11 small/)
  assert.match(stdout, /drwxr-xr-x.* inner/)
  const { refused, garbled, failed, callsByProcedure } = server.statistics()
  assert.deepEqual([refused, garbled, failed], [0, 0, 0])
  assert.ok(callsByProcedure['MOUNT3.MNT'] === 1 && callsByProcedure['NFS3.READDIRPLUS'] > 0)
})

test(
  'nfs-ls goes on where one answer has no room for a directory',
  { skip: await missing('nfs-ls') },
  async (t) => {
    const { server, url } = await start(t)
    const { stdout } = await run('nfs-ls', [url('inner')])
    const sizes = stdout
      .trim()
      .split('\n')
      .map((line) => Number(/ (\d+) long/.exec(line)?.[1]))
    assert.deepEqual(
      sizes.sort((x, y) => x - y),
      Array.from({ length: 500 }, (_, index) => index),
    )
    assert.ok(server.statistics().callsByProcedure['NFS3.READDIRPLUS'] > 3)
  },
)

test('nfs-cat reads a file, long or short', { skip: await missing('nfs-cat') }, async (t) => {
  const { url } = await start(t)
  assert.equal((await run('nfs-cat', [url('small')])).stdout, 'hello, NFS\n')
  const { stdout } = await run('nfs-cat', [url('disk.raw')], { encoding: 'buffer', maxBuffer: 8 * MiB })
  assert.ok(stdout.equals(bytes))
})

test('nfs-cp puts a file in and takes it out', { skip: await missing('nfs-cp') }, async (t) => {
  const { directory, tree, url } = await start(t)
  const [file, back] = [join(directory, 'file'), join(directory, 'back')]
  await writeFile(file, bytes)
  await run('nfs-cp', [file, url('copy')])
  assert.ok(tree.root.entries?.get('copy')?.bytes?.equals(bytes))
  await run('nfs-cp', [url('copy'), back])
  assert.ok((await readFile(back)).equals(bytes))
})

test('nfs-cat learns that there is no such file', { skip: await missing('nfs-cat') }, async (t) => {
  const { url } = await start(t)
  await assert.rejects(run('nfs-cat', [url('missing')]), /NOENT/)
  await assert.rejects(run('nfs-cat', [url(`${'x'.repeat(300)}`)]), /NAMETOOLONG/)
})
