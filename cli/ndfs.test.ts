import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { giveTokenToUser } from '../src/local/token.ts'
import { serveHttpApi, type HttpApi } from '../src/management/http-api.ts'
import { MemoryTarget } from '../src/management/memory-target.test.ts'
import type { UpgradeInfo, VDiskInfo } from '../src/management/management.ts'
import { nodePlatform } from '../src/platform/node-platform.ts'
import { table } from './tables.ts'

const platform = nodePlatform({ level: 'silent' })
const program = join(import.meta.dirname, 'ndfs.ts')
const token = 'the-token'
const target = new MemoryTarget()
let api: HttpApi
let home: string

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'ndfs-cli-'))
  api = await serveHttpApi({ target, node: 'n1', version: '0', token, listen: '127.0.0.1:0', platform })
})
after(async () => {
  await api.close()
  await rm(home, { recursive: true })
})

interface Run {
  code: number
  out: string
  error: string
}

/** In a working directory and with a configuration folder of the test's own. */
function ndfs(args: string, environment: Record<string, string> = {}): Promise<Run> {
  const run = { code: -1, out: '', error: '' }
  const child = spawn(process.execPath, [program, ...args.split(' ')], {
    cwd: home,
    env: { PATH: process.env.PATH, HOME: home, XDG_CONFIG_HOME: home, ...environment },
  })
  child.stdout.on('data', (bytes) => (run.out += String(bytes)))
  child.stderr.on('data', (bytes) => (run.error += String(bytes)))
  return new Promise((resolve) => child.on('close', (code) => resolve({ ...run, code: code ?? -1 })))
}

const withApi = (args: string): Promise<Run> => ndfs(args, { NDFS_API: api.address, NDFS_TOKEN: token })

test('ndfs makes, lists, shows, resizes and deletes', async () => {
  assert.deepEqual(await withApi('container create vms --copies 3'), {
    code: 0,
    out: 'Made the container vms, with 3 copies.\n',
    error: '',
  })
  assert.equal((await withApi('vdisk create vms/disk1 --size 20GiB')).code, 0)
  const [vdisk] = JSON.parse((await withApi('vdisk list --json')).out) as VDiskInfo[]
  assert.equal(vdisk.sizeBytes, 20 * 1024 ** 3)
  assert.equal(
    (await withApi('vdisk list')).out,
    'VDISK       SIZE  COPIES  OWNER  UNDRAINED  STATE\nvms/disk1  20GiB       3      -          -  unowned\n',
  )
  assert.match((await withApi('vdisk show vms/disk1')).out, /^size {7}20GiB$/m)
  const smaller = await withApi('vdisk resize vms/disk1 --size 1GiB')
  assert.deepEqual([smaller.code, smaller.out], [1, ''])
  assert.match(smaller.error, /^error: Cannot shrink vms\/disk1/)
  assert.equal((await withApi('vdisk resize vms/disk1 --size 1GiB --force')).code, 0)
  assert.match(
    (await withApi('container delete vms')).error,
    /^error: Cannot delete the container vms: it holds 1/,
  )
  assert.equal((await withApi('container delete vms --force')).code, 0)
  assert.match((await withApi('container list')).out, /There is no container yet/)
})

test('ndfs sets who may use a container by NFS, and takes it back', async () => {
  const made = await withApi(
    'container create shared --nfs-allow 10.0.0.0/8 --nfs-allow fd00::/8 --nfs-read-only',
  )
  assert.deepEqual([made.code, made.error], [0, ''])
  assert.match((await withApi('container list')).out, /^shared .* 10\.0\.0\.0\/8 fd00::\/8, read-only$/m)
  const squashed = await withApi(
    'container set shared --nfs-squash root --nfs-anonymous-uid 99 --no-nfs-read-only',
  )
  assert.match(squashed.out, /^nfs clients {2}10\.0\.0\.0\/8 fd00::\/8$/m)
  assert.match(squashed.out, /^nfs users {4}as they say, root as 99:65534$/m)
  assert.match(squashed.out, /^nfs access {3}read and write$/m)
  assert.match((await withApi('container set shared --nfs-allow none')).out, /^nfs clients {2}nobody$/m)
  const usual = (await withApi('container set shared --nfs-allow default --nfs-squash none')).out
  assert.match(usual, /^nfs clients {2}127\.0\.0\.0\/8 ::1\/128$/m)
  assert.match(usual, /^nfs users {4}as they say$/m)
  assert.match(usual, /^nbd clients {2}this machine, by TLS$/m)
  const open = (await withApi('container set shared --nbd-allow 10.0.0.0/8 --nbd-allow fd00::/8')).out
  assert.match(open, /^nbd clients {2}this machine, by TLS, 10\.0\.0\.0\/8, fd00::\/8$/m)
  assert.match(open, /^nfs clients {2}127\.0\.0\.0\/8 ::1\/128$/m)
  assert.match(
    (await withApi('container set shared --nbd-allow none')).out,
    /^nbd clients {2}this machine, by TLS$/m,
  )
  assert.equal((await withApi('container delete shared')).code, 0)
})

test("ndfs shows how Cassandra's servers see one another, once their heartbeats are known", async () => {
  const { code, out } = await withApi('cassandra status')
  assert.equal(code, 0)
  assert.match(out, /^ +SERVER +RACK +STATE +BEATS\/S +STARTED +REPAIRED +SEEN BY$/m)
  assert.match(out, /^10\.0\.0\.1:9042 +b1 +NORMAL +1\.0( +2023-11-14T22:13:20\.000Z){2} +2 of 2$/m)
  assert.match(out, /^10\.0\.0\.3:9042 +b3 +NORMAL, stands still +0\.0 /m)
  assert.match(out, /^! the Cassandra at 10\.0\.0\.3:9042 does not answer n1/m)
  assert.match(out, /^! 10\.0\.0\.2:9042 has schema s2/m)
  const shown = JSON.parse((await withApi('cassandra status --json')).out) as { views: number }
  assert.equal(shown.views, 2)
})

test('ndfs shows status, nodes and disks, and sets the cache of a node', async () => {
  const { out } = await withApi('status')
  assert.match(out, /^one copy of 1GiB left: vms\/disk1; n2 is down\n/)
  assert.match(out, /^- copies of 1GiB/m)
  assert.match(out, /^health {6}degraded$/m)
  assert.match(out, /^! n2 is down/m)
  assert.equal((JSON.parse((await withApi('node list --json')).out) as unknown[]).length, 2)
  assert.match((await withApi('node list')).out, /^n2 {4}b2 {5}down/m)
  assert.match((await withApi('disk list')).out, /^n1-flash-0 {2}n1 {4}flash/m)
  assert.match((await withApi('node set n1 --cache 4GiB')).out, /^cache {7}0B of 4GiB$/m)
  const moved = (await withApi('node set n1 --block rack-7')).out
  assert.match(moved, /^block {7}rack-7$/m)
  assert.match(moved, /^cache {7}0B of 4GiB$/m)
})

test('ndfs check ends with 0 where all is right, 1 where something is wrong, 2 where it was not finished', async () => {
  const right = await withApi('check')
  assert.deepEqual([right.code, right.out], [0, 'all is right\n'])

  const what = 'copy 2 of extent group 1-1-1 on n2-flash-0: its file is not there'
  target.checkEnds = {
    ...{ state: 'wrong', summary: 'wrong: 2 missing copies', unfinished: [] },
    counts: [{ kind: 'missing copy', count: 2 }],
    findings: [{ kind: 'missing copy', what }],
  }
  const wrong = await withApi('check --repair')
  assert.equal(wrong.code, 1)
  assert.equal(wrong.out, `missing copy: ${what}\nand 1 more, which are not shown\nwrong: 2 missing copies\n`)
  const { repair } = JSON.parse((await withApi('check --repair --json')).out) as { repair: boolean }
  assert.equal(repair, true)

  target.checkEnds = {
    ...{ state: 'unfinished', summary: 'not finished: n2 ended', unfinished: ['n2 ended'] },
    ...{ counts: [], findings: [] },
  }
  assert.equal((await withApi('check')).code, 2)
  assert.equal((await ndfs('check --api 127.0.0.1:1')).code, 2)
})

test('ndfs scrub shows how far each node is, and changes how often every copy is read', async () => {
  const { out } = await withApi('scrub show')
  assert.match(
    out,
    /^every copy once in 14 days, 43 % of this round read, the last complete 2023-.*; 3 wrong found, 2 made anew$/m,
  )
  assert.match(out, /^n1 +43 % +7 +28MiB +2023-\S+ +3 +2 +1$/m)
  assert.match((await withApi('status')).out, /^scrub {7}every copy once in 14 days, 43 %/m)
  assert.match((await withApi('scrub set --every 12h')).out, /^every copy once in 12 hours,/)
  assert.match((await withApi('scrub set --every off')).out, /^off,/)
  assert.equal((await withApi('scrub set --every 400d')).code, 2)
})

test('ndfs ends with 2 at wrong usage, and says what is right', async () => {
  for (const [args, message] of [
    ['vdisk create vms/disk1', /--size/],
    ['vdisk create disk1 --size 1GiB', /Write CONTAINER\/NAME/],
    ['vdisk create vms/disk1 --size huge', /Write a size such as 20GiB/],
    ['up --listen n1=here', /Write a name and an address, such as n1=192.0.2.1/],
    ['container create vms --copies 4', /from 1 to 3/],
    ['container', /Usage: ndfs container/],
    ['container set vms', /name what is to change/],
    ['container set vms --nfs-squash some', /none, root, all/],
    ['container set vms --nfs-anonymous-uid -2', /from 0 to/],
    ['container set vms --nfs-allow none --nfs-allow 10.0.0.1', /stand alone/],
    ['frobnicate', /unknown command/],
    ['up --disk tape:1GiB', /flash:10GiB/],
    ['up --nodes 0', /from 1 to/],
    ['node', /Usage: ndfs node/],
    ['node set n1', /name --cache or --block/],
    ['node set n1 --block Rack/7', /such as b1 or rack-7/],
    ['status --api nonsense --frob', /unknown option/],
  ] as const) {
    const { code, error } = await withApi(args)
    assert.equal(code, 2, args)
    assert.match(error, message)
  }
})

test('ndfs ends with 3 where no node can be reached, and with 1 where the address is none', async () => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  const { code, error } = await ndfs(`status --api 127.0.0.1:${port} --json`)
  assert.equal(code, 3)
  assert.equal((JSON.parse(error) as { error: { code: string } }).error.code, 'PEER_UNREACHABLE')
  assert.equal((await ndfs('status --api nonsense')).code, 1)
})

test('ndfs finds the nodes of the cluster in .ndfs, goes around one that is down, and takes the token from the user', async () => {
  const node = (id: string, http: string) => ({
    id,
    block: 'b1',
    pid: process.pid,
    http,
    peer: '',
    nbd: { address: '', socket: '' },
  })
  await mkdir(join(home, '.ndfs'))
  const nodes = [node('n0', '127.0.0.1:1'), node('n1', api.address)]
  await writeFile(join(home, '.ndfs', 'cluster.json'), JSON.stringify({ nodes }))
  assert.equal((await ndfs('status')).code, 0)

  const refused = await ndfs('container create other')
  assert.equal(refused.code, 1)
  assert.match(refused.error, /without the operator token/)
  const before = process.env.XDG_CONFIG_HOME
  process.env.XDG_CONFIG_HOME = home
  await giveTokenToUser(platform.files, api.address, token)
  if (before === undefined) delete process.env.XDG_CONFIG_HOME
  else process.env.XDG_CONFIG_HOME = before
  assert.equal((await ndfs('container create other')).code, 0)

  await rm(join(home, '.ndfs'), { recursive: true })
  assert.equal((await ndfs('container show other')).code, 0, 'found by the token of the user')
})

test('ndfs down is done where nothing runs, and node start says where there is no cluster', async () => {
  assert.deepEqual(await ndfs('down --json'), { code: 0, out: '{"event":"down","ended":0}\n', error: '' })
  const { code, error } = await ndfs('node start n1')
  assert.equal(code, 1)
  assert.match(error, /Cannot find a cluster in .*\.ndfs\. Make one with `ndfs up/)
})

test('ndfs doctor tells what it found', async () => {
  const { code, out } = await ndfs('doctor')
  assert.equal(code, 0)
  assert.match(out, /^ok {7}This is Node\.js/m)
})

test('a table has columns as wide as their cells, numbers to the right', () => {
  assert.equal(
    table(
      ['NAME', 'N'],
      [
        ['a', 1],
        ['long name', 100],
      ],
      'none',
    ),
    'NAME         N\na            1\nlong name  100',
  )
  assert.equal(table(['NAME'], [], 'none'), 'none')
})

test('ndfs upgrade shows the releases and what finish would do, and finishes', async () => {
  const { out } = await withApi('upgrade status')
  assert.match(out, /^The cluster's format is 1\.$/m)
  assert.match(out, /^n1 +up +0\.2\.0 +1 to 2\nn2 +down +0\.1\.0 +1$/m)
  assert.match(out, /^`ndfs upgrade finish` would be refused\. n2 is of NDFS 0\.1\.0\.$/m)
  assert.equal((await withApi('upgrade finish')).out, "The cluster's format is 2.\n")
  const shown = JSON.parse((await withApi('upgrade status --json')).out) as UpgradeInfo
  assert.deepEqual([shown.format, shown.finish], [2, { to: 2 }])
})
