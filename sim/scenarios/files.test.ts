/** Histories of files that seeds meet too seldom: two nodes at one file or directory, one of them late. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MiB } from '../../src/base/units.ts'
import { inlineBytesMax } from '../../src/stargate/namespace/namespace.ts'
import { decodeInodeRow, inodeRowKey, type InodeRow } from '../../src/stargate/namespace/rows.ts'
import { Cluster } from '../cluster.ts'
import { NfsCaller } from '../files/nfs-caller.ts'
import * as nfs from '../files/nfs-calls.ts'
import { sectorBytes, stampSectors, stampsIn } from '../sector-stamps.ts'
import { type StoreAsks, StoreHolds } from './critical/store-holds.ts'

interface Scene {
  readonly cluster: Cluster
  readonly holds: StoreHolds
  readonly root: Buffer
  /** Asks one node, and nobody else. */
  readonly ask: (node: 0 | 1 | 2, call: nfs.NfsCall) => Promise<nfs.Answer>
  readonly until: (holds: () => boolean) => Promise<void>
}

async function tell(story: (scene: Scene) => Promise<void>): Promise<void> {
  const cluster = await Cluster.start({
    ...{ seed: 1, nodes: 3, nfs: true, oplogSegmentBytes: 1 * MiB, cacheBytes: 4 * MiB },
  })
  const { world } = cluster
  const holds = new StoreHolds(world)
  cluster.delayStoreRequest = (kind, body) => holds.delayOf(kind, body)
  const counts = { calls: 0, resent: 0, reconnects: 0, statuses: new Map<string, number>() }
  let hands = 0
  const ask = async (node: 0 | 1 | 2, call: nfs.NfsCall): Promise<nfs.Answer> => {
    const caller = new NfsCaller(cluster, `hand ${++hands}`, '127.0.0.2', counts)
    const answer = await caller.ask(() => ({ call, answered: () => undefined }), cluster.names[node])
    caller.close()
    assert.ok(answer !== undefined, 'there was no answer')
    return answer
  }
  const until = async (isSo: () => boolean): Promise<void> => {
    while (!isSo()) await pause(1)
  }
  const pause = (ms: number): Promise<void> => new Promise((resolve) => world.after(ms, resolve))
  try {
    await world.play(async () => {
      await cluster.node(cluster.names[0])!.management.createContainer({ name: 'f', copies: 2 })
      const root = (await ask(0, nfs.mount('f'))).handle!
      await story({ cluster, holds, root, ask, until })
    }, 120_000)
  } finally {
    cluster.database.close()
  }
}

/** The row of an inode that a request would write. */
function rowIn({ change }: StoreAsks): InodeRow | undefined {
  const row = change?.put?.find(({ key }) => key === inodeRowKey)
  return row && decodeInodeRow(Buffer.from(row.value))
}

const stamped = (stamp: number, first: number, count: number): Buffer => {
  const bytes = Buffer.alloc(count * sectorBytes)
  stampSectors(bytes, stamp, first)
  return bytes
}

test('M6: who fills a vDisk too slowly does not end the promotion while another fills it again', () =>
  tell(async ({ cluster, holds, root, ask, until }) => {
    const { handle } = await ask(0, nfs.create(root, 'grows', { mode: 'guarded' }))
    const last = inlineBytesMax / sectorBytes - 1
    await ask(0, nfs.write(handle!, (last - 8) * sectorBytes, stamped(1, last - 8, 8)))
    const end = holds.hold(
      'request',
      (_, asks) => {
        const row = asks.partition?.table === 'inode' ? rowIn(asks) : undefined
        return row?.type === 'file' && row.content?.kind === 'vdisk'
      },
      1,
    )
    const first = ask(0, nfs.write(handle!, (last - 4) * sectorBytes, stamped(2, last - 4, 8)))
    await until(() => end.caught === 1)
    // The next one has read what it fills the vDisk with, and has not written it yet.
    const read = holds.hold(
      'answer',
      (kind, asks) => kind === 'medusa.get' && asks.partition?.table === 'inode' && hasDataRows(asks),
      1,
    )
    const second = ask(1, nfs.write(handle!, 0, stamped(3, 0, 1)))
    await until(() => read.caught === 1)
    end.release()
    const patience = cluster.world.now + 2_000
    let isAnswered = false
    void first.then(() => (isAnswered = true))
    await until(() => isAnswered || cluster.world.now > patience)
    read.release()
    for (const { status } of await Promise.all([first, second])) assert.equal(status, 'OK')
    for (const node of [0, 1, 2] as const) {
      const { data } = await ask(node, nfs.read(handle!, (last - 8) * sectorBytes, 12 * sectorBytes))
      assert.deepEqual([...stampsIn(data!, last - 8)], [1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2])
    }
  }))

const hasDataRows = (asks: StoreAsks): boolean =>
  (asks as { readonly rowKeys?: readonly string[] }).rowKeys?.includes('d00') === true

test('what is created in a directory that another one is about to replace is not lost', () =>
  tell(async ({ holds, root, ask, until }) => {
    const [over, under] = [await ask(0, nfs.mkdir(root, 'over')), await ask(0, nfs.mkdir(root, 'under'))]
    const moment = holds.hold(
      'request',
      (_, asks) => asks.partition?.key === over.seen!.id && asks.change !== undefined,
      1,
    )
    const renamed = ask(0, nfs.rename(root, 'over', root, 'under'))
    await until(() => moment.caught === 1)
    const created = await ask(1, nfs.create(under.handle!, 'file', { mode: 'guarded' }))
    moment.release()
    assert.equal(created.status, 'OK')
    assert.equal((await renamed).status, 'NOTEMPTY')
    const { handle } = await ask(2, nfs.lookup(root, 'under'))
    assert.equal((await ask(2, nfs.lookup(handle!, 'file'))).status, 'OK')
  }))

test('what one node has begun to make is made impossible before another makes it', () =>
  tell(async ({ holds, root, ask, until }) => {
    const make = nfs.create(root, 'file', { mode: 'guarded' })
    const moment = holds.hold(
      'request',
      (_, asks) => asks.partition?.table === 'inode' && rowIn(asks) !== undefined,
      1,
    )
    const late = ask(0, make)
    await until(() => moment.caught === 1)
    const made = await ask(1, make)
    moment.release()
    assert.equal(made.status, 'OK')
    assert.equal((await late).status, 'EXIST')
    assert.equal((await ask(2, nfs.lookup(root, 'file'))).seen?.id, made.seen!.id)
  }))

const readsInode = (asks: StoreAsks, id: string): boolean =>
  (asks as { readonly keys?: readonly string[] }).keys?.includes(id) === true

test('a name that passes from one file to another while it is looked up is not missing', () =>
  tell(async ({ holds, root, ask, until }) => {
    const { seen } = await ask(0, nfs.create(root, 'new', { mode: 'guarded' }))
    await ask(0, nfs.create(root, 'name', { mode: 'guarded' }))
    const isOfNew = (asks: StoreAsks): boolean => asks.partition?.key === seen!.id
    const moment = holds.hold('request', (_, asks) => isOfNew(asks) && asks.change !== undefined, 1)
    const renamed = ask(0, nfs.rename(root, 'new', root, 'name'))
    await until(() => moment.caught === 1)
    const read = holds.hold('answer', (_, asks) => readsInode(asks, seen!.id), 1)
    const looked = ask(1, nfs.lookup(root, 'name'))
    await until(() => read.caught === 1)
    moment.release()
    assert.equal((await renamed).status, 'OK')
    read.release()
    assert.equal((await looked).seen?.id, seen!.id)
  }))
