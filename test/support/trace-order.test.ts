import assert from 'node:assert/strict'
import { test } from 'node:test'
import { markOf, orderIn, type Place } from './trace-order.ts'

const hex = (bytes: Buffer): string =>
  [...bytes].map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('')
const record = (request: number): string => hex(Buffer.from(`header${markOf(request)}rest`))
const reply = (...requests: number[]): string =>
  requests
    .map((request) => hex(Buffer.from(`6744669800000000${request.toString(16).padStart(16, '0')}`, 'hex')))
    .join('')

const nodeOf = ({ path }: Place): string | undefined => /^\/(n\d)\//.exec(path)?.[1]
const order = (isSynced: boolean, ...lines: string[]) =>
  orderIn(lines.join('\n'), { nodeOf, isSynced: () => isSynced, copies: 2 })

const here = `17  pwrite64(25<${hex(Buffer.from('/n1/oplog/segment-0'))}>, "${record(1)}", 8192, 4096) = 8192`
const thereBegins = `27  pwritev(9</n2/oplog/segment-0>, [{iov_base="${record(1)}", iov_len=8192}], 1, 0 <unfinished ...>`
const thereEnds = '27  <... pwritev resumed>)          = 8192'
const answer = `12  write(31<socket:[42]>, "${reply(1)}", 16) = 16`

test('a reply that follows the synced writes of both nodes is in order', () => {
  assert.deepEqual(order(true, here, thereBegins, thereEnds, answer), { inOrder: 1, violations: [] })
})

test('a reply that begins before one of the writes has returned is too early', () => {
  const { inOrder, violations } = order(true, here, thereBegins, answer, thereEnds)
  assert.equal(inOrder, 0)
  assert.deepEqual(violations, ['request 1 was answered when it was durable on n1'])
})

test('a write that fails makes nothing durable', () => {
  const failed = '27  <... pwritev resumed>)          = -1 EIO (Input/output error)'
  assert.equal(order(true, here, thereBegins, failed, answer).violations.length, 1)
})

test('a write without O_DSYNC is durable when a sync that began after it has returned', () => {
  const sync = (thread: number, node: string) => `${thread}  fdatasync(9</${node}/oplog/segment-0>) = 0`
  assert.equal(order(false, here, thereBegins, thereEnds, answer).violations.length, 1)
  assert.equal(
    order(false, here, thereBegins, thereEnds, sync(3, 'n1'), sync(3, 'n2'), answer).violations.length,
    0,
  )
  // One that began before says nothing of it.
  const early = ['3  fdatasync(9</n2/oplog/segment-0> <unfinished ...>']
  const late = ['3  <... fdatasync resumed>)          = 0']
  assert.equal(
    order(false, here, sync(4, 'n1'), ...early, thereBegins, thereEnds, ...late, answer).violations.length,
    1,
  )
})

test('several replies in one call are held against what was durable when it began', () => {
  const second = (node: string) =>
    `17  pwrite64(25</${node}/oplog/segment-0>, "${record(2)}", 8192, 4096) = 8192`
  const both = `12  writev(31<socket:[42]>, [{iov_base="${reply(1, 2)}", iov_len=32}], 1) = 32`
  const { inOrder, violations } = order(true, here, thereBegins, thereEnds, second('n1'), both, second('n2'))
  assert.equal(inOrder, 1)
  assert.equal(violations.length, 1)
})
