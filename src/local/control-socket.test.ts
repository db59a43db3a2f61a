import assert from 'node:assert/strict'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { hasCode, NdfsError } from '../base/errors.ts'
import { nodePlatform } from '../platform/node-platform.ts'
import { askControl, serveControl } from './control-socket.ts'

const platform = nodePlatform({ level: 'silent' })

test('up is asked over its socket, answers with what it did or could not do, and survives garbage', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'ndfs-control-'))
  const path = join(folder, 'up.sock')
  assert.equal(await askControl(path, platform.sockets, { start: 'n1' }), undefined)
  const listener = await serveControl(path, platform, async ({ start }) => {
    if (start === 'n9') throw new NdfsError('NOT_FOUND', 'Cannot find the node n9.', { node: start })
    return { started: start === 'n1' }
  })
  t.after(async () => {
    await listener.close()
    await rm(folder, { recursive: true })
  })
  assert.equal((await stat(path)).mode & 0o777, 0o600)
  assert.deepEqual(await askControl(path, platform.sockets, { start: 'n1' }), { started: true })
  await assert.rejects(
    askControl(path, platform.sockets, { start: 'n9' }),
    (error) => hasCode(error, 'NOT_FOUND') && error.facts.node === 'n9',
  )
  const garbage = await new Promise<string>((resolve) => {
    let text = ''
    const socket = connect(path, () => socket.write('garbage\n'))
    socket.on('data', (bytes) => (text += bytes.toString()))
    socket.on('close', () => resolve(text))
  })
  assert.match(garbage, /"error"/)
  assert.deepEqual(await askControl(path, platform.sockets, { start: 'n2' }), { started: false })
})
