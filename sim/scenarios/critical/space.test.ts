/** Histories in which disks are filled: what is kept free is for what gives space back. */
import { test } from 'node:test'
import { KiB, MiB } from '../../../src/base/units.ts'
import { sectorBytes } from '../../sector-stamps.ts'
import { Stage } from './support.ts'

const seed = 1

test('I10: streams fill a disk to the reserve, and go elsewhere then', () =>
  Stage.tell({ seed, sectors: 128 * 1024, capacityBytes: { flash: 48 * MiB } }, async (stage) => {
    const pieceSectors = (128 * KiB) / sectorBytes
    const guest = stage.guest('guest')
    await guest.open(stage.cluster.names[0])
    for (let at = 0; at < stage.sectors; at += 32 * pieceSectors) {
      const pieces = Array.from({ length: 32 }, (_, i) => guest.write(at + i * pieceSectors, pieceSectors))
      for (const piece of pieces) await stage.answer(piece)
    }
  }))
