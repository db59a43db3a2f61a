/** Power cuts with real parts: file systems of the kernel, on disks that forget what was not flushed (power-cut/). */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { whyNotHere } from './power-cut/inside.ts'
import { figure, tryRun, type Finished } from './support/run.ts'

const skip = whyNotHere('mkfs.ext4') ?? false
const soak = join(import.meta.dirname, 'power-cut/soak.ts')

const cutPower = (...options: string[]): Promise<Finished> =>
  tryRun(process.execPath, [soak, ...options], { seconds: 150 })

test(
  'I1: every acknowledged byte is there after power cuts that make the disks forget what was not flushed',
  { skip, timeout: 180_000 },
  async () => {
    const { code, stdout, stderr } = await cutPower('--cuts', '3', '--seed', '1')
    assert.equal(code, 0, stdout + stderr)
    const [result = '', forgotten = '0'] = /^\d+ cuts: .* synced (\d+) were gone$/m.exec(stdout) ?? []
    figure(result)
    assert(Number(forgotten) > 0, 'the disks forgot nothing')
  },
)

test(
  'I1: a log that is written without a sync loses acknowledged bytes in a power cut',
  { skip, timeout: 180_000 },
  async () => {
    const { code, stdout, stderr } = await cutPower('--cuts', '4', '--seed', '3', '--without-sync')
    assert.equal(code, 1, stdout + stderr)
    const [lost = ''] = /^LOST .*$/m.exec(stdout) ?? []
    assert.notEqual(lost, '', stdout + stderr)
    figure(`with a log that is not synced: ${lost}`)
  },
)
