/** Whether a disk does what disks do: write, sync, read back; in a file of its own, that is removed, or was never named. */
import { messageOf } from '../base/errors.ts'
import { KiB } from '../base/units.ts'
import type { Clock, Files } from '../platform/platform.ts'

const pieces = 8
const pieceBytes = 64 * KiB

/** Resolves to what is wrong, or to nothing. No operation may take longer than `limitMs`. */
export async function selfTest(
  files: Files,
  clock: Clock,
  path: string,
  limitMs: number,
): Promise<string | undefined> {
  let slowestMs = 0
  const timed = async <T>(operation: Promise<T>): Promise<T> => {
    const startedAt = clock.now()
    const result = await operation
    slowestMs = Math.max(slowestMs, clock.now() - startedAt)
    return result
  }
  try {
    await files.remove(path)
    const file = await files.open(path, { create: true })
    try {
      for (let piece = 0; piece < pieces; piece++) {
        await timed(file.write([pieceOf(piece)], piece * pieceBytes))
        await timed(file.sync())
      }
      for (let piece = 0; piece < pieces; piece++) {
        const target = Buffer.alloc(pieceBytes)
        await timed(file.read(target, piece * pieceBytes))
        if (!target.equals(pieceOf(piece))) return 'other bytes are read from it than were written'
      }
    } finally {
      await file.close()
      await files.remove(path)
    }
  } catch (error) {
    return messageOf(error)
  }
  if (slowestMs <= limitMs) return undefined
  return `an operation took ${Math.round(slowestMs)} ms, and ${Math.round(limitMs)} ms would do`
}

/** Each other bytes, so that one that lands elsewhere is seen. */
const pieceOf = (piece: number): Buffer =>
  Buffer.from(Array.from({ length: pieceBytes }, (_, at) => (at * 7 + piece * 31 + (at >> 8)) & 0xff))
