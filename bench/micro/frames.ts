/** Frames between nodes, written and taken apart: a small answer, and an append of 32 records of 4 KiB in pieces as sockets give them. */
import { assert } from '../../src/base/assert.ts'
import { KiB } from '../../src/base/units.ts'
import { bodyBytesMax, FrameReader, frameTypes, FrameWriter } from '../../src/peer/framing.ts'
import { encodeAppends } from '../../src/stargate/oplog/append-message.ts'
import { anAppend, recordsAtOnce } from './oplog.ts'
import type { Part } from './part.ts'

const framesAtOnce = 32
const pieceBytes = 64 * KiB
const kind = 1

export function frameParts(): Part[] {
  const small = [Buffer.alloc(64, 1)]
  const append = encodeAppends('n2-flash-0/0123456789abcdef', [anAppend()])
  const writer = new FrameWriter('terminal')
  let frames = 0
  const reader = new FrameReader(bodyBytesMax, () => void frames++)
  const writeSmall = (): Uint8Array[] => {
    for (let i = 0; i < framesAtOnce; i++) writer.add(frameTypes.answer, i, kind, small)
    return writer.take()
  }
  const writeAppend = (): Uint8Array[] => {
    writer.add(frameTypes.request, 1, kind, append)
    return writer.take()
  }
  const smallStream = Buffer.concat(writeSmall())
  const appendStream = Buffer.concat(writeAppend())
  const appendPieces = Array.from({ length: Math.ceil(appendStream.length / pieceBytes) }, (_, i) =>
    appendStream.subarray(i * pieceBytes, (i + 1) * pieceBytes),
  )
  const read = (pieces: readonly Buffer[], wanted: number): void => {
    const before = frames
    for (const piece of pieces) reader.push(piece)
    assert(frames - before === wanted, 'a frame was lost on its way')
  }
  return [
    { name: 'small peer frame written', operations: framesAtOnce, run: () => void writeSmall() },
    { name: 'small peer frame read', operations: framesAtOnce, run: () => read([smallStream], framesAtOnce) },
    { name: 'append frame written, each record', operations: recordsAtOnce, run: () => void writeAppend() },
    { name: 'append frame read, each record', operations: recordsAtOnce, run: () => read(appendPieces, 1) },
  ]
}
