/** Histories in which moving bytes, or what says where they are, loses newer ones. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { KiB, MiB } from '../../../src/base/units.ts'
import { sectorBytes } from '../../sector-stamps.ts'
import { groupsFolder } from '../../../src/stargate/extent-store/group-file.ts'
import type { SimNode } from '../../sim-disk.ts'
import { Stage } from './support.ts'

const seed = 1

test('C5: what is written and drained while groups are compacted is not overwritten by what they held', () =>
  Stage.tell({ seed }, async (stage) => {
    const guest = stage.guest('guest')
    const groups = 24
    let compactions = 0
    for (const moments of [0, 2, 5, 9, 14, 20]) {
      const node = stage.cluster.names[0]
      await guest.open(node)
      for (let page = 0; page < groups; page++) {
        await stage.answer(guest.write(page * 8, 8))
        await stage.answer(stage.drain(stage.owners()[0]))
      }
      const [owner] = stage.owners()
      const { controller } = stage.cluster.node(owner)!
      const before = controller.statistics().compactedBytes
      await stage.answer(guest.write(groups * 8, 8))
      stage.ask(owner, 'a drain', () => controller.drainNow([stage.vdisk]))
      await stage.until(
        'it is drained',
        () => stage.describe(owner)?.drained === stage.describe(owner)?.acknowledged,
      )
      await stage.passMoments(moments, 500)
      const writes = [0, 7, 15].map((page) => guest.write(page * 8, 8))
      for (const write of writes) await stage.answer(write)
      const drain = stage.drain(owner)
      await stage.until('the drain beside it is over', () => drain.settled)
      await stage.untilOr(() => controller.statistics().compactedBytes > before, 2_000)
      compactions += controller.statistics().compactedBytes > before ? 1 : 0
      stage.cluster.end(owner, 'kill')
      await stage.calm()
      await stage.readEverywhere()
    }
    assert.ok(compactions > 2, `groups were compacted ${compactions} times`)
  }))

test('C6: streams whose pieces begin and end inside pages keep each other’s bytes', () =>
  Stage.tell({ seed, sectors: 8192, oplogSegmentBytes: 8 * MiB }, async (stage) => {
    const pieceSectors = (128 * KiB) / sectorBytes
    const guest = stage.guest('guest')
    for (const [first, moments] of [
      [63, 1_000],
      [65, 12],
      [70, 25],
    ]) {
      await guest.open(stage.cluster.names[0])
      const pieces = Array.from({ length: 20 }, (_, i) => guest.write(first + i * pieceSectors, pieceSectors))
      await stage.passMoments(moments, 3_000)
      const [owner] = stage.owners()
      if (moments === 1_000) {
        for (const piece of pieces) await stage.answer(piece)
        assert.ok(stage.cluster.node(owner)!.controller.statistics().streamWrites > 0, 'it was no stream')
        await stage.answer(stage.drain(owner))
      } else stage.cluster.end(owner, 'power cut')
      await stage.calm()
      await stage.readEverywhere()
    }
    stage.cluster.end(stage.owners()[0], 'kill')
  }))

test('I2: of a large zero the pages at its ends, which it covers in part, are zero too', () =>
  Stage.tell({ seed, sectors: 2048 }, async (stage) => {
    const guest = stage.guest('guest')
    await guest.open(stage.cluster.names[0])
    for (let at = 0; at < 2048; at += 128) await stage.answer(guest.write(at, 128))
    await stage.answer(guest.zero(3, 1_042))
    await stage.readAll(stage.owners()[0])
    await stage.answer(stage.drain(stage.owners()[0]))
  }))

function groupFiles(node: SimNode | undefined, path: string): string[] {
  if (node?.kind === 'file') return [path]
  return [...(node?.names ?? [])].flatMap(([name, inside]) => groupFiles(inside, `${path}/${name}`))
}

test('F9: a page whose good copy is only out of reach is not given up, however old its newest bytes are', () =>
  Stage.tell({ seed }, async (stage) => {
    const guest = stage.guest('guest')
    await guest.open(stage.cluster.names[0])
    await stage.answer(guest.write(0, 8))
    const { owner } = stage.roles()
    await stage.answer(stage.drain(owner))
    const path = `/disks/flash/${groupsFolder}`
    const holders = stage.cluster.names.filter(
      (node) => groupFiles(stage.world.disk(node).find(path), path).length > 0,
    )
    assert.ok(holders.includes(owner), 'the owner has a copy itself')
    const [copy] = groupFiles(stage.world.disk(owner).find(path), path)
    stage.world.disk(owner).flipByte(copy, 100)
    const other = holders.find((node) => node !== owner)!
    stage.cluster.end(other, 'silent power cut')
    // A part of the page: the rest has to come from its base.
    await guest.open(owner)
    await stage.answer(guest.write(3, 1))
    const { drained } = stage.row
    await stage.pass(60_000)
    assert.equal(stage.row.drained, drained, 'it was drained without its base')
    stage.cluster.startNode(other)
    await stage.until('it is drained', () => stage.row.drained > drained)
  }))

for (const seed of [1, 2])
  test(`F12: versions that fences and drains cut short have raised are no damage, seed ${seed}`, () =>
    Stage.tell({ seed }, async (stage) => {
      const guest = stage.guest('guest')
      for (const moments of [2, 4, 6, 8, 10, 12, 15, 20]) {
        await guest.open(stage.cluster.names[moments % 3])
        await stage.answer(guest.write(0, 12))
        const { owner } = stage.roles()
        stage.drain(owner)
        await stage.passMoments(moments, 300)
        stage.cluster.end(owner, 'kill')
        const [next] = stage.cluster.serving()
        const claim = stage.claim(next, 'no-service')
        await stage.until('the claim is over', () => claim.settled)
        await stage.calm()
        await stage.readEverywhere()
      }
    }))
