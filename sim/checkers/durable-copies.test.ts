import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sectorBytes, stampSectors, type SectorWrite } from '../sector-history.ts'
import { World } from '../world.ts'
import { DurableCopies } from './durable-copies.ts'

const write: SectorWrite = { stamp: 7, first: 3, count: 2, by: 'a client', calledAt: 0 }
const never = (): boolean => false
let isWhole = false

function payloadOf({ stamp, first, count }: SectorWrite): Buffer {
  const payload = Buffer.alloc(count * sectorBytes)
  stampSectors(payload, stamp, first)
  return payload
}

/** Three nodes, each with a file; what `act` does with them, and the checker's verdict on two copies. */
async function verdictOf(
  act: (given: {
    world: World
    put: (node: string, bytes: Buffer, options?: { sync?: boolean; at?: number }) => Promise<void>
    checker: DurableCopies
  }) => Promise<void>,
  overlapped: () => boolean = never,
  seed = 1,
): Promise<string | undefined> {
  const world = new World({ seed })
  const checker = new DurableCopies()
  await world.play(async () => {
    for (const node of ['n1', 'n2', 'n3']) {
      world.disk(node).observer = {
        durable: (content, position, bytes) => checker.landed(node, content, position, bytes),
      }
      await world.platform(node).files.open('/file', { create: true })
    }
    checker.sent(write)
    await act({
      world,
      checker,
      put: async (node, bytes, { sync = true, at = 0 } = {}) => {
        const file = await world.platform(node).files.open('/file', { writable: true })
        await file.write([bytes], at)
        if (sync) await file.sync()
      },
    })
  })
  return checker.acknowledged(write, 2, overlapped)
}

/** As a record of a log holds it: somewhere between other bytes. */
const inRecord = (): Buffer => Buffer.concat([Buffer.alloc(83, 1), payloadOf(write), Buffer.alloc(9, 2)])

test('I1: a write that is durable on two nodes may be acknowledged', async () => {
  const verdict = await verdictOf(async ({ put }) => {
    await put('n1', inRecord())
    await put('n2', payloadOf(write), { at: 4096 })
  })
  assert.equal(verdict, undefined)
})

test('I1: a copy that was not synced does not count', async () => {
  const verdict = await verdictOf(async ({ put }) => {
    await put('n1', inRecord())
    await put('n2', inRecord(), { sync: false })
  })
  assert.match(verdict!, /write 7 of sectors 3\+2 .* 1 durable copies of 2 \(on n1;/)
})

test('I1: two copies on one node are one', async () => {
  const verdict = await verdictOf(async ({ put }) => {
    await put('n1', inRecord())
    await put('n1', inRecord(), { at: 8192 })
  })
  assert.match(verdict!, /1 durable copies of 2/)
})

test('I1: half a write is none', async () => {
  const verdict = await verdictOf(async ({ put }) => {
    await put('n1', inRecord())
    await put('n2', inRecord().subarray(0, 83 + sectorBytes))
  })
  assert.match(verdict!, /1 durable copies of 2/)
})

test('I1: the ends of a write may lie on different nodes, each on as many (sim seed 6000075)', async () => {
  const bytes = payloadOf(write)
  const verdict = await verdictOf(async ({ put }) => {
    await put('n1', bytes)
    await put('n2', bytes.subarray(0, sectorBytes))
    await put('n3', bytes.subarray(sectorBytes))
  })
  assert.equal(verdict, undefined)
})

test('I1: what was written over before it was acknowledged counts only where another write overlapped it', async () => {
  const overwritten = (overlapped: () => boolean) =>
    verdictOf(async ({ put }) => {
      await put('n1', inRecord())
      await put('n2', inRecord())
      await put('n2', Buffer.alloc(4096))
    }, overlapped)
  assert.match((await overwritten(never))!, /1 durable copies of 2 .* at some time on n1, n2/)
  assert.equal(await overwritten(() => true), undefined)
})

test('I1: what a power cut left on the platters counts, and nothing else', async () => {
  const verdicts = new Set<boolean>()
  for (let seed = 1; seed <= 40; seed++) {
    const verdict = await verdictOf(
      async ({ put, world }) => {
        await put('n1', inRecord())
        await put('n2', inRecord(), { sync: false })
        await world.platform('n2').files.syncDirectory('/')
        world.crash('n2')
        const survived = world.disk('n2').findFile('/file').content
        const bytes = Buffer.alloc(survived.size)
        survived.readDurable(bytes, 0)
        isWhole = bytes.includes(payloadOf(write))
      },
      never,
      seed,
    )
    assert.equal(verdict === undefined, isWhole)
    verdicts.add(isWhole)
  }
  assert.equal(verdicts.size, 2)
})

test('I1: rot and a lie of the disk take no copy away', async () => {
  const verdict = await verdictOf(async ({ put, world }) => {
    await put('n1', inRecord())
    world.disk('n1').flipByte('/file', 90)
    world.disk('n2').onOperation = ({ kind }) => (kind === 'write' ? { lost: true } : undefined)
    await put('n2', inRecord())
  })
  assert.equal(verdict, undefined)
})

test('I1: writes side by side are told apart', async () => {
  const verdict = await verdictOf(async ({ put, checker }) => {
    const other = { ...write, stamp: 8 }
    checker.sent(other)
    checker.gaveUp(other)
    await put('n1', Buffer.concat([payloadOf(other), inRecord()]))
    await put('n2', Buffer.concat([inRecord(), payloadOf(other)]))
  })
  assert.equal(verdict, undefined)
})
