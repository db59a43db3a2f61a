import assert from 'node:assert/strict'
import { test } from 'node:test'
import { NdfsError } from '../../base/errors.ts'
import { overwriteWhatIsGivenBack, takeLarge } from '../../base/large-buffers.ts'
import { MiB, pageBytes } from '../../base/units.ts'
import { quietLog } from './fixtures.test.ts'
import { StreamWriter, type StreamWriterContext } from './stream-writer.ts'

overwriteWhatIsGivenBack()

interface GroupWrite {
  readonly pages: readonly Buffer[]
  readonly bytes: number
  readonly settle: (error?: Error) => void
}

/** A writer whose groups end when the test says so. */
function writerOf(): { writer: StreamWriter; groups: GroupWrite[]; records: [string, number, number][] } {
  const groups: GroupWrite[] = []
  const records: [string, number, number][] = []
  const context = {
    log: quietLog,
    row: { vdisk: 1, epoch: 1 },
    ledger: { unpin: () => undefined },
    groups: { hold: () => undefined, release: () => undefined },
    index: { register: (placements: unknown[]) => Promise.resolve(placements.map(() => ({ copies: [] }))) },
    place: () => ({ disks: [] }),
    suspect: () => undefined,
    extents: {
      write: (_access: unknown, _at: unknown, pages: readonly Buffer[]) =>
        new Promise<Uint32Array>((resolve, reject) => {
          const bytes = pages.reduce((sum, page) => sum + page.length, 0)
          const settle = (error?: Error): void =>
            error === undefined ? resolve(new Uint32Array(bytes / pageBytes)) : reject(error)
          groups.push({ pages, bytes, settle })
        }),
    },
    append: (kind: string, offset: number, length: number) => {
      records.push([kind, offset, length])
      return Promise.resolve()
    },
  }
  return { writer: new StreamWriter(context as unknown as StreamWriterContext), groups, records }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
const payloadOf = (bytes: number): Buffer => takeLarge(bytes).fill('p')
const wanted = (): void => undefined
const sizes = (groups: readonly GroupWrite[]): number[] => groups.map(({ bytes }) => bytes / MiB)

test('writes of a stream are gathered while groups are on their way: the others begin when they are full (R20)', async () => {
  const { writer, groups } = writerOf()
  const done = Promise.all([0, 1, 2, 3, 4, 5, 6, 7].map((i) => writer.write(i * MiB, payloadOf(MiB), wanted)))
  await turn()
  assert.deepEqual(sizes(groups), [1, 4])
  groups[0].settle()
  await turn()
  assert.deepEqual(sizes(groups), [1, 4], 'three that wait are not worth a group beside another')
  groups[1].settle()
  await turn()
  assert.deepEqual(sizes(groups), [1, 4, 3], 'with nothing under way nobody waits')
  groups[2].settle()
  await done
})

test('a group is full where the next write does not fit, whatever the size of writes', async () => {
  const { writer, groups } = writerOf()
  const bytes = 1.25 * MiB
  const done = Promise.all(
    [0, 1, 2, 3, 4, 5, 6, 7, 8].map((i) => writer.write(i * bytes, payloadOf(bytes), wanted)),
  )
  await turn()
  assert.deepEqual(sizes(groups), [1.25, 3.75, 3.75])
  for (let i = 0; i < 4; i++) {
    await turn()
    groups[i].settle()
  }
  await turn()
  await done
  assert.deepEqual(sizes(groups), [1.25, 3.75, 3.75, 2.5])
})

test('a payload may be used again once its record is acknowledged, and not before', async () => {
  const { writer, groups, records } = writerOf()
  const payload = payloadOf(2 * MiB)
  const done = writer.write(0, payload, wanted)
  await turn()
  assert.equal(payload[0], 'p'.charCodeAt(0))
  groups[0].settle()
  await done
  assert.deepEqual(records, [['extent', 0, 2 * MiB]])
  assert.notEqual(payload[0], 'p'.charCodeAt(0), 'it was given back')
})

test('a payload of which an attempt was given up is left alone: that may still send it', async () => {
  const { writer, groups, records } = writerOf()
  const payload = payloadOf(2 * MiB)
  const done = writer.write(0, payload, wanted)
  await turn()
  groups[0].settle(new NdfsError('PEER_UNREACHABLE', 'No answer'))
  await turn()
  groups[1].settle()
  await done
  assert.deepEqual(records, [['extent', 0, 2 * MiB]])
  assert.equal(payload[0], 'p'.charCodeAt(0))
})

test('a payload that goes through the log is the log’s', async () => {
  const { writer, groups, records } = writerOf()
  const payload = payloadOf(2 * MiB)
  const done = writer.write(0, payload, wanted)
  for (let attempt = 0; attempt < 2; attempt++) {
    await turn()
    groups[attempt].settle(new NdfsError('OUT_OF_SPACE', 'No room'))
  }
  await done
  assert.deepEqual(records, [['data', 0, 2 * MiB]])
  assert.equal(payload[0], 'p'.charCodeAt(0))
})
