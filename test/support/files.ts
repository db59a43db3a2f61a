/** Files with content that can be known again. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { randomFillSync } from 'node:crypto'

const MiB = 1024 * 1024

/** A disk image as guests have them: random data, runs of zeroes, and holes. */
export async function writeImage(path: string, mebibytes: number): Promise<void> {
  const file = await open(path, 'w')
  try {
    const data = Buffer.allocUnsafe(MiB)
    const zeroes = Buffer.alloc(MiB)
    for (let at = 0; at < mebibytes; at++) {
      if (at % 4 === 3) continue // a hole
      await file.write(at % 4 === 2 ? zeroes : randomFillSync(data), 0, MiB, at * MiB)
    }
    await file.truncate(mebibytes * MiB)
  } finally {
    await file.close()
  }
}

export async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const piece of createReadStream(path, { highWaterMark: MiB })) hash.update(piece as Buffer)
  return hash.digest('hex')
}
