import { test } from 'node:test'
import assert from 'node:assert/strict'
import { MiB } from '../../../base/units.ts'
import { command, commandFlag, emptyRequestHeader, type RequestHeader } from './nbd-protocol.ts'
import { refusalOf } from './refusal.ts'

const sizeBytes = 100 * MiB
const all = { structured: true, allocationContext: true }
const ask = (request: Partial<RequestHeader>, agreement = all) =>
  refusalOf({ ...emptyRequestHeader(), ...request }, sizeBytes, agreement)?.error

test('any range inside the vDisk is fine, whatever its alignment', () => {
  for (const code of [command.read, command.write, command.trim, command.writeZeroes, command.cache]) {
    assert.equal(ask({ command: code, offset: 1, length: 3 }), undefined)
    assert.equal(ask({ command: code, offset: sizeBytes - 1, length: 1 }), undefined)
    assert.equal(ask({ command: code, offset: sizeBytes, length: 0 }), undefined)
  }
})

test('past the end, a write has no space and a read no sense', () => {
  const past = { offset: sizeBytes - 1, length: 2 }
  assert.equal(ask({ command: command.write, ...past }), 'ENOSPC')
  assert.equal(ask({ command: command.writeZeroes, ...past }), 'ENOSPC')
  assert.equal(ask({ command: command.read, ...past }), 'EINVAL')
  assert.equal(ask({ command: command.trim, ...past }), 'EINVAL')
  assert.equal(ask({ command: command.cache, ...past }), 'EINVAL')
  assert.equal(ask({ command: command.blockStatus, ...past }), 'EINVAL')
  assert.equal(ask({ command: command.read, offset: 2 ** 64, length: 2 ** 32 - 1 }), 'EINVAL')
})

test('where data travels 32 MiB is the most; zeroing, trimming and status may go further', () => {
  const length = 32 * MiB
  for (const code of [command.read, command.write, command.cache]) {
    assert.equal(ask({ command: code, length }), undefined)
    assert.equal(ask({ command: code, length: length + 1 }), 'EINVAL')
  }
  for (const code of [command.writeZeroes, command.trim, command.blockStatus])
    assert.equal(ask({ command: code, length: sizeBytes }), undefined)
})

test('a command that is unknown, and a flag that does not belong to it, make no sense', () => {
  assert.equal(ask({ command: 8 }), 'EINVAL')
  assert.equal(ask({ command: 65535 }), 'EINVAL')
  assert.equal(ask({ command: command.read, flags: commandFlag.noHole, length: 1 }), 'EINVAL')
  assert.equal(ask({ command: command.write, flags: commandFlag.df, length: 1 }), 'EINVAL')
  assert.equal(ask({ command: command.trim, flags: commandFlag.fastZero, length: 1 }), 'EINVAL')
  assert.equal(ask({ command: command.read, flags: 1 << 15, length: 1 }), 'EINVAL')
})

test('FUA is fine with every command', () => {
  for (const code of Object.values(command))
    assert.equal(
      ask({ command: code, flags: commandFlag.fua, length: code === command.blockStatus ? 1 : 0 }),
      undefined,
    )
})

test("don't-fragment needs structured replies, and block status needs the context", () => {
  const plain = { structured: false, allocationContext: false }
  assert.equal(ask({ command: command.read, flags: commandFlag.df, length: 1 }), undefined)
  assert.equal(ask({ command: command.read, flags: commandFlag.df, length: 1 }, plain), 'EINVAL')
  assert.equal(ask({ command: command.blockStatus, length: 1 }), undefined)
  assert.equal(ask({ command: command.blockStatus, length: 1 }, plain), 'EINVAL')
  assert.equal(ask({ command: command.blockStatus, length: 0 }), 'EINVAL')
})

test('a flush has no range', () => {
  assert.equal(ask({ command: command.flush }), undefined)
  assert.equal(ask({ command: command.flush, offset: 1 }), 'EINVAL')
  assert.equal(ask({ command: command.flush, length: 1 }), 'EINVAL')
})
