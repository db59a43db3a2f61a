/** What the disk does by itself: `cp` of files of 4 MiB from one folder to another, and `sync`. */
import { execFileSync } from 'node:child_process'
import { randomFillSync } from 'node:crypto'
import { closeSync, fsyncSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { dropCaches } from './drop-caches.ts'

const fileBytes = 4 * 1024 ** 2

/** Bytes in a second. What was copied is durable when the second ends, not before. */
export function copyReference(folder: string, bytes: number): number {
  const [from, to] = ['cp-from', 'cp-to'].map((name) => join(folder, name))
  const count = Math.max(1, Math.round(bytes / fileBytes))
  mkdirSync(from)
  const content = randomFillSync(Buffer.allocUnsafe(fileBytes))
  for (let i = 0; i < count; i++) {
    content.writeUInt32LE(i)
    const fd = openSync(join(from, String(i)), 'w')
    writeSync(fd, content)
    fsyncSync(fd)
    closeSync(fd)
  }
  dropCaches()
  const began = performance.now()
  execFileSync('cp', ['-r', from, to])
  execFileSync('sync', ['-f', to])
  const seconds = (performance.now() - began) / 1000
  for (const path of [from, to]) rmSync(path, { recursive: true })
  return (count * fileBytes) / seconds
}
