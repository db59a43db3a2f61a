/** The clients that people use, against vDisks in memory: libnbd's tools and QEMU's. */
import { test, type TestContext } from 'node:test'
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { access, constants, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'
import { KiB, MiB } from '../../../base/units.ts'
import { nodePlatform } from '../../../platform/node-platform.ts'
import { MemoryExports } from './memory-exports.ts'
import { createNbdServer } from './nbd.ts'

const run = promisify(execFile)
const sizeBytes = 40 * MiB + 512

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
  for (const program of programs) if (!(await found(program))) return `${program} is not installed`
  return false
}

async function start(t: TestContext) {
  const directory = await mkdtemp(join(tmpdir(), 'ndfs-nbd-clients-'))
  const exports = new MemoryExports({ 'vms/disk': sizeBytes, 'vms/other': sizeBytes })
  const server = createNbdServer({ platform: nodePlatform({ level: 'silent' }), exports })
  const socket = join(directory, 'nbd')
  await server.listen(`unix:${socket}`)
  t.after(async () => {
    await server.close()
    await rm(directory, { recursive: true })
  })
  const uri = (name: string): string => `nbd+unix:///${name}?socket=${socket}`
  const all = exports.vdisk('vms/disk')
  return { directory, exports, disk: all, uri, server }
}

/** Bytes that differ everywhere, with holes between them. */
function pattern(bytes: Buffer): Buffer {
  for (let at = 0; at < bytes.length - 4; at += 4)
    if ((at >> 20) % 3 > 0) bytes.writeUInt32BE(at ^ 0x5a5a5a5a, at)
  return bytes
}

test(
  'nbdinfo lists the exports and shows what each can do',
  { skip: await missing('nbdinfo') },
  async (t) => {
    const { uri } = await start(t)
    const listed = JSON.parse((await run('nbdinfo', ['--list', '--json', uri('')])).stdout) as {
      exports: Record<string, unknown>[]
    }
    assert.deepEqual(
      listed.exports.map((each) => each['export-name']),
      ['vms/disk', 'vms/other'],
    )
    const shown = JSON.parse((await run('nbdinfo', ['--json', uri('vms/disk')])).stdout) as typeof listed
    const [disk] = shown.exports
    for (const ability of [
      'can_flush',
      'can_fua',
      'can_trim',
      'can_zero',
      'can_fast_zero',
      'can_df',
      'can_cache',
      'can_multi_conn',
    ])
      assert.equal(disk[ability], true, ability)
    assert.equal(disk['export-size'], sizeBytes)
    assert.deepEqual(
      [disk.block_size_minimum, disk.block_size_preferred, disk.block_size_maximum],
      [1, 4096, 32 * MiB],
    )
    assert.deepEqual(disk.contexts, ['base:allocation'])
  },
)

test('nbdinfo maps data and holes', { skip: await missing('nbdinfo') }, async (t) => {
  const { disk, uri } = await start(t)
  disk.stored.fill(1, 256, 512)
  const { stdout } = await run('nbdinfo', ['--map', '--json', uri('vms/disk')])
  const runs = JSON.parse(stdout) as { offset: number; length: number; type: number }[]
  assert.deepEqual(
    runs.map(({ offset, length, type }) => [offset, length, type]),
    [
      [0, 1 * MiB, 3],
      [1 * MiB, 1 * MiB, 0],
      [2 * MiB, sizeBytes - 2 * MiB, 3],
    ],
  )
})

test('nbdcopy takes a disk out and puts one in', { skip: await missing('nbdcopy') }, async (t) => {
  const { directory, exports, disk, uri } = await start(t)
  const file = join(directory, 'image')
  const bytes = pattern(Buffer.alloc(sizeBytes))
  await writeFile(file, bytes)
  await run('nbdcopy', ['--flush', file, uri('vms/disk')])
  assert.ok(disk.bytes.equals(bytes))
  await run('nbdcopy', [uri('vms/disk'), uri('vms/other')])
  assert.ok(exports.vdisk('vms/other').bytes.equals(bytes))
  await run('nbdcopy', [uri('vms/other'), file])
  assert.ok((await readFile(file)).subarray(0, sizeBytes).equals(bytes))
})

test('qemu-img converts, both ways, and finds the same', { skip: await missing('qemu-img') }, async (t) => {
  const { directory, disk, uri } = await start(t)
  const file = join(directory, 'image')
  const back = join(directory, 'back.qcow2')
  await writeFile(file, pattern(Buffer.alloc(sizeBytes)))
  await run('qemu-img', ['convert', '-n', '-f', 'raw', '-O', 'raw', file, uri('vms/disk')])
  assert.ok(disk.bytes.equals(await readFile(file)))
  await run('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', file, uri('vms/disk')])
  await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', uri('vms/disk'), back])
  await run('qemu-img', ['compare', '-f', 'qcow2', '-F', 'raw', back, uri('vms/disk')])
})

test('qemu-io writes at any place, discards and zeroes', { skip: await missing('qemu-io') }, async (t) => {
  const { disk, uri, server } = await start(t)
  const commands = [
    'write -P 0x41 1M 3M',
    'write -P 0x42 1000001 777',
    'write -f -P 0x43 2097151 2',
    'write -z 1536k 64k',
    'write -z -u 1792k 64k',
    'discard 2M 1M',
    'flush',
    'read -P 0x42 1000001 777',
    'read -P 0x41 3M 1M',
    'read -P 0 2101248 512k',
    'aio_write -P 0x44 5M 1M',
    'aio_read -P 0x41 3M 64k',
    'aio_flush',
  ]
  const { stdout } = await run('qemu-io', [
    '-f',
    'raw',
    ...commands.flatMap((each) => ['-c', each]),
    uri('vms/disk'),
  ])
  assert.doesNotMatch(stdout, /fail|error/i)
  const expected = Buffer.alloc(sizeBytes)
  expected.fill(0x41, 1 * MiB, 4 * MiB)
  expected.fill(0x42, 1_000_001, 1_000_778)
  expected.fill(0x43, 2_097_151, 2_097_153)
  expected.fill(0, 1536 * KiB, 1600 * KiB)
  expected.fill(0, 1792 * KiB, 1856 * KiB)
  expected.fill(0, 2 * MiB, 3 * MiB)
  expected.fill(0x44, 5 * MiB, 6 * MiB)
  assert.ok(disk.bytes.equals(expected))
  const { zeroes, trims, errors } = server.statistics()
  assert.ok(zeroes >= 2 && trims >= 1, 'zeroing and discarding came as such')
  assert.equal(errors, 0)
})

test(
  'a client with a session in its export name is known by it',
  { skip: await missing('nbdinfo') },
  async (t) => {
    const { disk, uri } = await start(t)
    const { stdout } = await run('nbdinfo', ['--size', uri('vms/disk%23host-1.17')])
    assert.equal(Number(stdout), sizeBytes)
    assert.deepEqual(disk.sessions.at(-1), { client: 'host-1', number: 17 })
  },
)
