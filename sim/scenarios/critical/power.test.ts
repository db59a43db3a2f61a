/** Histories in which power goes, or a log is damaged, and what was acknowledged has to be in what is left. */
import { test } from 'node:test'
import type { NodeId } from '../../../src/base/ids.ts'
import { MiB, pageBytes } from '../../../src/base/units.ts'
import type { SimNode } from '../../sim-disk.ts'
import { sectorBytes, stampMarker } from '../../sector-stamps.ts'
import type { Asked } from './guest.ts'
import { Stage } from './support.ts'

const cutAll = (stage: Stage): void => {
  for (const node of stage.cluster.names) stage.cluster.end(node, 'power cut')
}

for (const seed of [1, 2, 3]) {
  test(`C3: power goes everywhere at any moment of a drain, and rows, map and log agree, seed ${seed}`, () =>
    Stage.tell({ seed }, async (stage) => {
      const guest = stage.guest('guest')
      for (const moments of [1, 3, 5, 7, 9, 11, 13, 15, 18, 22, 28]) {
        await guest.open(stage.cluster.names[moments % 3])
        await stage.answer(guest.write(0, 12))
        await stage.answer(guest.write(200 + moments, 9))
        stage.drain(stage.owners()[0])
        await stage.passMoments(moments + seed, 200)
        cutAll(stage)
        await stage.pass(50)
        await stage.calm()
        await stage.readEverywhere()
      }
    }))

  test(`C4: what was acknowledged outlives a power cut, whatever lies before it in the log, seed ${seed}`, () =>
    Stage.tell({ seed, vdisks: 2 }, async (stage) => {
      const guests = stage.vdisks.map((vdisk, i) => stage.guest(`guest ${i}`, vdisk))
      for (const moments of [1, 2, 3, 4, 5, 6, 8, 10, 13, 17]) {
        for (const guest of guests) await guest.open(stage.cluster.names[0])
        // Each second write to a log is slow, so that what came later may be done before it.
        for (const node of stage.cluster.names) {
          let writes = 0
          stage.onDisk(node, ({ kind, path }) =>
            kind === 'write' && path.includes('/oplog/') && writes++ % 2 === 0 ? { delayMs: 6 } : undefined,
          )
        }
        const asked: Asked<void>[] = []
        for (let i = 0; i < 6; i++)
          stage.world.after(i * 0.7, () => guests.forEach((guest) => asked.push(guest.write(i * 3, 8))))
        await stage.passMoments(moments, 100)
        cutAll(stage)
        await stage.pass(20)
        await stage.calm()
        await stage.readEverywhere()
      }
    }))
}

/** Where a stamp lies in the log of a node. */
function stampInLog(stage: Stage, node: NodeId, stamp: number): { path: string; position: number } {
  const folder = '/disks/flash/oplog'
  const wanted = Buffer.concat([stampMarker, Buffer.alloc(4)])
  wanted.writeUInt32LE(stamp, stampMarker.length)
  const names = (stage.world.disk(node).find(folder) as SimNode & { kind: 'directory' }).names
  for (const [name, file] of names) {
    if (file.kind !== 'file') continue
    const bytes = Buffer.alloc(file.content.size)
    file.content.read(bytes, 0)
    const position = bytes.indexOf(wanted)
    if (position >= 0) return { path: `${folder}/${name}`, position: position + sectorBytes / 2 }
  }
  throw new Error(`stamp ${stamp} is not in the log of ${node}`)
}

for (const seed of [1, 2])
  test(`F7: one rotten record of another vDisk cuts nothing of this one, seed ${seed}`, () =>
    Stage.tell({ seed, vdisks: 2 }, async (stage) => {
      const [guest, other] = stage.vdisks.map((vdisk, i) => stage.guest(`guest ${i}`, vdisk))
      await guest.open(stage.cluster.names[0])
      await other.open(stage.cluster.names[0])
      await stage.answer(guest.write(0, 8))
      // Its own log has both vDisks' records; soon it is the only one that has this one's.
      const { owner, peers } = stage.roles()
      const stamp = stage.nextStamp() + 1
      await stage.answer(other.write(0, 8))
      for (let i = 1; i < 6; i++) await stage.answer(guest.write(i * 8, 8))
      await stage.answer(other.write(8, 8))
      const { path, position } = stampInLog(stage, owner, stamp)
      stage.world.disk(owner).flipByte(path, position)
      stage.cluster.end(owner, 'kill')
      stage.cluster.end(peers[0], 'silent power cut')
      stage.cluster.startNode(owner)
      await stage.until('somebody serves the vDisk again', () => stage.owners().length === 1)
      await stage.readAll(stage.owners()[0])
      stage.checkHistory()
    }))

for (const seed of [1, 2])
  test(`F7: a replica that came back without what it had acknowledged says so, and the owner goes on elsewhere, seed ${seed}`, () =>
    Stage.tell({ seed, nodes: 4 }, async (stage) => {
      const guest = stage.guest('guest')
      await guest.open(stage.cluster.names[0])
      await stage.answer(guest.write(0, 8))
      const { owner, peers } = stage.roles()
      await guest.open(owner)
      // Its disk says that it has written, and has not.
      stage.onDisk(peers[0], ({ kind, path }) =>
        kind === 'write' && path.includes('/oplog/') ? { lost: true } : undefined,
      )
      await stage.answer(guest.write(8, 8))
      await stage.answer(guest.write(4, 8))
      stage.onDisk(peers[0], () => undefined)
      stage.cluster.end(peers[0], 'power cut')
      stage.cluster.startNode(peers[0])
      await stage.until('another episode is open, and the one before is drained', () => {
        const { episodes } = stage.row
        return episodes.length === 1 && !episodes[0].replicas.some(({ node }) => node === peers[0])
      })
      stage.cluster.lose(owner)
    }))

/** Appends to the logs of these nodes take long, and a kill leaves the header of what is being written and a part of its records. */
function cutAppendsShort(stage: Stage, nodes: readonly NodeId[], leaves: number): void {
  for (const node of nodes)
    stage.onDisk(node, ({ kind, path }) =>
      kind === 'write' && path.includes('/oplog/') ? { delayMs: 50, leaves } : undefined,
    )
}

for (const seed of [1, 2])
  test(`C4: of a write that the end of all processes cut short nothing is read, and the vDisk is served, seed ${seed}`, () =>
    Stage.tell({ seed }, async (stage) => {
      const guest = stage.guest('guest')
      for (const sectors of [1, 3, 5]) {
        await guest.open(stage.cluster.names[0])
        await stage.answer(guest.write(0, 8))
        await stage.pass(20)
        cutAppendsShort(stage, stage.cluster.names, pageBytes + sectors * sectorBytes)
        guest.write(0, 8)
        await stage.pass(2)
        for (const node of stage.cluster.names) stage.cluster.end(node, 'kill')
        await stage.calm()
        await stage.readEverywhere()
      }
    }))

for (const seed of [1, 2, 3])
  test(`I1: a log says of nothing that it was synced because it could be read, seed ${seed}`, () =>
    Stage.tell({ seed }, async (stage) => {
      const guest = stage.guest('guest')
      await guest.open(stage.cluster.names[0])
      await stage.answer(guest.write(0, 8))
      const { owner, peers, others } = stage.roles()
      const [peer] = peers
      await guest.open(owner)
      // Nobody but the two can have a replica.
      for (const other of others) stage.cluster.end(other, 'kill')
      cutAppendsShort(stage, [peer], 1 * MiB)
      const write = guest.write(8, 8)
      await stage.pass(10)
      // All of the write is in the page cache of the peer's machine, and nowhere else.
      stage.cluster.end(peer, 'kill')
      stage.onDisk(peer, () => undefined)
      stage.cluster.startNode(peer)
      await stage.answer(write)
      // The peer's log has gone on behind it.
      await stage.answer(guest.write(16, 8))
      stage.cluster.end(peer, 'power cut')
      stage.cluster.lose(owner)
    }))
