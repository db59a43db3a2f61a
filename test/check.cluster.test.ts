/** `ndfs check`: what is right is said to be right, while guests write; what is wrong is found, and made anew where that was asked for. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { copyFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { test } from 'node:test'
import Database from 'better-sqlite3'
import type { CheckInfo } from '../src/management/management.ts'
import { decodeInodeRow, encodeInodeRow, type FileRow } from '../src/stargate/namespace/rows.ts'
import { type Cluster, withCluster } from './support/cluster.ts'
import { flipByte, groupFiles } from './support/group-files.ts'
import { NbdClient } from './support/nbd-client.ts'
import { run, until } from './support/run.ts'
import { WrittenSectors } from './support/written-sectors.ts'

const MiB = 1024 * 1024

interface Checked {
  readonly code: number
  readonly lines: readonly string[]
}

async function check(cluster: Cluster, ...args: string[]): Promise<Checked> {
  const { code, stdout, stderr } = await cluster.tryNdfs('check', ...args)
  assert.equal(stderr, '')
  return { code, lines: stdout.trim().split('\n') }
}

test(
  'ndfs check is clean while guests write, finds what is wrong, and has it made anew',
  { timeout: 240_000 },
  () =>
    withCluster({}, async (cluster) => {
      const full = await cluster.createVDisk('48MiB')
      const client = await NbdClient.open(cluster.node('n1').nbd.address, full)
      const content = randomBytes(48 * MiB)
      for (let at = 0; at < content.length; at += MiB) await client.write(at, content.subarray(at, at + MiB))
      await cluster.drain(full)
      const busy = await cluster.createVDisk('32MiB', 'busy')
      const sectors = new WrittenSectors(32 * MiB)
      const guest = await NbdClient.open(cluster.node('n2').nbd.address, busy)
      let over = false
      const writing = sectors.write(guest, 8, 256, () => over)

      const right = await check(cluster)
      assert.equal(right.code, 0, right.lines.join('\n'))
      assert.match(
        right.lines.at(-1)!,
        /^all is right: \d+ copies of extent groups \(.*\) read, of 2 vDisks$/,
      )

      const files = groupFiles(cluster.dir).filter(({ group }) => group.startsWith('1-'))
      const groups = [...new Set(files.map(({ group }) => group))]
      const [flipped, removed] = groups.map((group) => files.find((file) => file.group === group)!)
      await flipByte(flipped.path, 4096)
      rmSync(removed.path)
      const orphan = join(dirname(flipped.path), `${flipped.group}.424242`)
      copyFileSync(flipped.path, orphan)

      const wrong = await check(cluster)
      assert.equal(wrong.code, 1)
      assert.equal(wrong.lines.length, 4, wrong.lines.join('\n'))
      const copyOf = ({ path, disk }: { path: string; disk: string }): string =>
        `copy ${basename(path).split('.')[1]} of extent group ${basename(path).split('.')[0]} on ${disk}`
      for (const line of [
        `bad copy: ${copyOf(flipped)}: 1 of its pages have other bytes: 1`,
        `missing copy: ${copyOf(removed)}: its file is not there`,
        `orphan: ${copyOf({ ...flipped, path: orphan })}: no row knows of its file`,
      ])
        assert(wrong.lines.includes(line), `${line}\nis not in\n${wrong.lines.join('\n')}`)
      assert.match(wrong.lines.at(-1)!, /^wrong: 1 missing copy, 1 bad copy, 1 orphan; /)
      const again = await check(cluster)
      assert.deepEqual(again.lines.slice(0, -1), wrong.lines.slice(0, -1), 'a check changes nothing')

      const info = JSON.parse((await cluster.tryNdfs('check', '--repair', '--json')).stdout) as CheckInfo
      assert.deepEqual([info.state, info.repaired], ['wrong', 2], info.summary)
      rmSync(orphan)
      const mended = await check(cluster)
      assert.equal(mended.code, 0, mended.lines.join('\n'))

      await test('with a node dead copies are missing, until they were made anew elsewhere', async () => {
        over = true
        await writing
        await cluster.drain(busy)
        const { groups } = JSON.parse((await cluster.tryNdfs('check', '--json')).stdout) as CheckInfo
        assert.ok(groups.total !== undefined && groups.total >= 12, JSON.stringify(groups))
        assert.ok(groups.checked >= 12, JSON.stringify(groups))
        await cluster.kill('n3')
        const short = await check(cluster)
        assert([0, 1].includes(short.code), short.lines.join('\n'))
        let last: Checked = short
        await until('a check is clean', async () => (last = await check(cluster)).code === 0, 60, 500).catch(
          (error: unknown) => {
            throw new Error(`${String(error)}\n${last.lines.join('\n')}`)
          },
        )
        assert((await client.read(0, MiB)).equals(content.subarray(0, MiB)))
        await sectors.verify(guest)
      })
      client.close()
      guest.close()
    }),
)

/** Changes rows of the store while nothing runs. */
function changeStore(cluster: Cluster, change: (database: Database.Database) => void): void {
  const database = new Database(join(cluster.dir, 'store/store.db'))
  try {
    change(database)
  } finally {
    database.close()
  }
}

test(
  'ndfs check reads all files of containers, finds what is wrong with them, and what a dead node left of them is cleared away',
  { timeout: 240_000 },
  () =>
    withCluster({ disks: ['flash:4GiB'] }, async (cluster) => {
      await cluster.ndfs('container', 'create', 'vms')
      const copy = async (name: string, bytes: number, node: string): Promise<void> => {
        const local = join(cluster.scratch, name)
        writeFileSync(local, randomBytes(bytes))
        const [host, port] = cluster.node(node).nfs!.address.split(':')
        await run('nfs-cp', [local, `nfs://${host}/vms/${name}?nfsport=${port}&mountport=${port}`], {
          seconds: 60,
        })
      }
      for (const [name, bytes] of [
        ['none', 0],
        ['small', 100_000],
        ['big', 600_000],
        ['gone', 700_000],
      ] as const)
        await copy(name, bytes, 'n1')

      let over = false
      const copying = (async () => {
        for (let i = 0; !over; i++) await copy(`busy${i}`, (i % 3) * 300_000, `n${1 + (i % 3)}`)
      })()
      for (let checks = 0; checks < 4; checks++) {
        const right = await check(cluster)
        assert.equal(right.code, 0, right.lines.join('\n'))
        assert.match(right.lines.at(-1)!, / and \d+ files/)
      }
      over = true
      await copying

      await cluster.down()
      changeStore(cluster, (database) => {
        const inodes = database
          .prepare<[], { id: number; key: string; value: Buffer }>(
            `SELECT p.id, p.key, r.value FROM medusa_partitions p JOIN medusa_rows r ON r.partition = p.id
             WHERE p.table_name = 'inode' AND r.key = 'inode'`,
          )
          .all()
        const named = (
          name: string,
        ): { readonly id: number; readonly key: string; readonly row: FileRow } => {
          for (const { id, key, value } of inodes) {
            const row = decodeInodeRow(value)
            if (row.type !== 'removed' && row.type !== 'directory' && row.names[0].name.toString() === name)
              return { id, key, row }
          }
          throw new Error(`there is no ${name}`)
        }
        const rowOf = database.prepare<[number, string], { value: Buffer }>(
          'SELECT value FROM medusa_rows WHERE partition = ? AND key = ?',
        )
        const put = database.prepare('UPDATE medusa_rows SET value = ? WHERE partition = ? AND key = ?')
        const small = named('small')
        const { value } = rowOf.get(small.id, 'd02')!
        value[1000] ^= 0x10
        put.run(value, small.id, 'd02')

        const gone = named('gone')
        assert(gone.row.content?.kind === 'vdisk')
        const { vdisk } = gone.row.content
        put.run(encodeInodeRow({ type: 'removed', never: false, vdisk }), gone.id, 'inode')
        const name = `vdisk/vms/file-${vdisk}`
        const { json } = database
          .prepare<[string], { json: string }>('SELECT json FROM zeus_keys WHERE key = ?')
          .get(name)!
        const known = JSON.parse(json) as { id: number; file: number; createdAt: number }
        assert.deepEqual([known.id, known.file], [vdisk, Number(gone.key)])
        database
          .prepare('UPDATE zeus_keys SET json = ? WHERE key = ?')
          .run(JSON.stringify({ ...known, createdAt: 0 }), name)
      })
      await cluster.up()
      const wrong = await check(cluster)
      assert.equal(wrong.code, 1, wrong.lines.join('\n'))
      assert.match(
        wrong.lines[0],
        /^damaged file: \/vms\/small: .* data row 2 has other bytes than were written$/,
      )
      assert(
        wrong.lines.includes('left over: /vms/gone: its entry counts for nothing'),
        wrong.lines.join('\n'),
      )
      assert.match(wrong.lines.at(-1)!, /^wrong: 1 damaged file; .*left over, and no damage: 1 entry/)
      const files = async (): Promise<number> =>
        (await cluster.json<{ name: string; sizeBytes: number }[]>('vdisk', 'list')).filter(
          ({ sizeBytes }) => sizeBytes === 700_000,
        ).length
      await until(
        'the vDisk of the file that was removed is deleted',
        async () => (await files()) === 0,
        60,
        500,
      )
      await until(
        'the scrub tells of the damaged file',
        async () => (await cluster.ndfs('status')).includes('the scrub found 1 damaged file or wrong name: '),
        60,
        500,
      )

      // A container that is deleted leaves no rows but tombstones.
      await cluster.ndfs('container', 'delete', 'vms', '--force')
      await cluster.down()
      changeStore(cluster, (database) => {
        const left = database
          .prepare<[], { key: string; value: Buffer }>(
            `SELECT r.key, r.value FROM medusa_partitions p JOIN medusa_rows r ON r.partition = p.id
             WHERE p.table_name IN ('inode', 'directory')`,
          )
          .all()
        assert(left.length > 4)
        const live = left.filter(
          ({ key, value }) => key !== 'inode' || decodeInodeRow(value).type !== 'removed',
        )
        assert.deepEqual(live, [])
        const names = database
          .prepare("SELECT key FROM zeus_keys WHERE key LIKE '%vms%' AND json IS NOT NULL")
          .all()
        assert.deepEqual(names, [])
      })
    }),
)
