import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { SeededChance } from '../../sim/seeded-chance.ts'
import { ForgetfulDisk, sectorBytes, shares } from './forgetful-disk.ts'

const sectors = 64

function withDisk(work: (disk: ForgetfulDisk) => void): void {
  const folder = mkdtempSync(join(tmpdir(), 'ndfs-disk-'))
  try {
    writeFileSync(join(folder, 'image'), Buffer.alloc(sectors * sectorBytes))
    const disk = new ForgetfulDisk(join(folder, 'image'), sectors * sectorBytes)
    work(disk)
    disk.close()
  } finally {
    rmSync(folder, { recursive: true })
  }
}

const write = (disk: ForgetfulDisk, sector: number, count: number, value: number): void =>
  disk.write(Buffer.alloc(count * sectorBytes, value), sector * sectorBytes)

/** The one value that fills each sector. */
function values(disk: ForgetfulDisk): number[] {
  const bytes = Buffer.alloc(sectors * sectorBytes)
  disk.read(bytes, 0)
  return Array.from({ length: sectors }, (_, sector) => {
    const own = bytes.subarray(sector * sectorBytes, (sector + 1) * sectorBytes)
    assert(
      own.every((value) => value === own[0]),
      `sector ${sector} is torn`,
    )
    return own[0]
  })
}

test('a forgetful disk reads what was written last, at any place and length', () => {
  withDisk((disk) => {
    write(disk, 2, 4, 1)
    disk.flush()
    write(disk, 4, 4, 2)
    assert.deepEqual(values(disk).slice(0, 9), [0, 0, 1, 1, 2, 2, 2, 2, 0])
    const part = Buffer.alloc(700)
    disk.read(part, 4 * sectorBytes - 100)
    assert(
      part.subarray(0, 100).every((value) => value === 1) && part.subarray(100).every((value) => value === 2),
    )
  })
})

test('a forgetful disk keeps all that was flushed, and of the rest any sectors of any writes', () => {
  const seen = { lost: 0, kept: 0, torn: 0, older: 0 }
  for (let seed = 0; seed < 200; seed++)
    withDisk((disk) => {
      write(disk, 0, 16, 1)
      disk.flush()
      write(disk, 8, 16, 2)
      write(disk, 12, 4, 3)
      const forgotten = disk.cutPower(shares[seed % shares.length], new SeededChance(seed))
      const after = values(disk)
      assert(after.slice(0, 8).every((value) => value === 1))
      assert(after.slice(8, 12).every((value) => [1, 2].includes(value)))
      assert(after.slice(12, 16).every((value) => [1, 2, 3].includes(value)))
      assert(after.slice(16, 24).every((value) => [0, 2].includes(value)))
      assert.equal(forgotten.writes, 2)
      const newest = [...Array<number>(4).fill(2), ...Array<number>(4).fill(3), ...Array<number>(8).fill(2)]
      assert.equal(forgotten.sectorsLost, newest.filter((value, index) => after[8 + index] !== value).length)
      if (forgotten.writesLost === 2) seen.lost++
      if (forgotten.sectorsLost === 0) seen.kept++
      if (forgotten.writesTorn > 0) seen.torn++
      if (after[12] === 2) seen.older++
    })
  for (const [what, count] of Object.entries(seen)) assert(count > 0, `never ${what}`)
})

test('a forgetful disk forgets the same by the same seed', () => {
  const after = (seed: number): number[] => {
    let found: number[] = []
    withDisk((disk) => {
      for (let sector = 0; sector < sectors; sector += 4) write(disk, sector, 4, 1 + sector)
      disk.cutPower(0.5, new SeededChance(seed))
      found = values(disk)
    })
    return found
  }
  assert.deepEqual(after(5), after(5))
  assert(
    Array.from({ length: 20 }, (_, seed) => after(seed).join()).some((found) => found !== after(5).join()),
  )
})
