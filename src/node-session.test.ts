import assert from 'node:assert/strict'
import { test } from 'node:test'
import { NdfsError } from './base/errors.ts'
import type { Incarnation, NodeId } from './base/ids.ts'
import { NodeSession } from './node-session.ts'
import type { Clock, Log } from './platform/platform.ts'
import type { Session, SessionValue } from './zeus/zeus.ts'

const silent = { info() {}, warn() {}, error() {}, debug() {} } as unknown as Log
const unreachable = (): NdfsError => new NdfsError('PEER_UNREACHABLE', 'Cannot get an answer from store')
/** Time passes as soon as it is waited for. */
const quick = { sleep: () => new Promise<void>((resolve) => setImmediate(resolve)) } as unknown as Clock
const settled = async (): Promise<void> => {
  for (let turns = 0; turns < 20; turns++) await new Promise((resolve) => setImmediate(resolve))
}

/** A Zeus that shows what it last heard, and is out of reach while a test wants it to be. */
class FewSessions {
  shown: unknown
  opened = 0
  reachable = true
  whileOpening: () => void = () => undefined
  session: Session | undefined

  async openSession(_node: NodeId, _incarnation: Incarnation, value: unknown): Promise<Session> {
    if (!this.reachable) throw unreachable()
    this.whileOpening()
    this.opened++
    this.shown = value
    const session = {
      alive: true,
      onLost: () => undefined,
      update: async (next: unknown): Promise<void> => {
        if (!this.reachable) throw unreachable()
        if (session === this.session) this.shown = next
      },
      end: async () => undefined,
    }
    this.session = session
    return session
  }

  lose(): void {
    const { session } = this
    assert.ok(session !== undefined)
    Object.assign(session, { alive: false })
    session.onLost('it was lost')
  }
}

function stage() {
  const zeus = new FewSessions()
  const node = { disks: 'online', removed: false, refusals: 0 }
  const session = new NodeSession({
    clock: quick,
    log: silent,
    zeus,
    node: 'n1' as NodeId,
    incarnation: 'i' as Incarnation,
    value: () => node.disks as unknown as SessionValue,
    prepare: async () => {
      if (node.removed) throw new NdfsError('REFUSED', 'n1 was removed', { removed: true })
    },
    refused: () => void node.refusals++,
  })
  return { zeus, node, session }
}

/** The session is open, and Zeus out of reach since before a disk failed. */
async function withNewsUnheard() {
  const staged = stage()
  const { zeus, node, session } = staged
  await session.open()
  zeus.reachable = false
  node.disks = 'one failed'
  session.changed()
  await settled()
  return staged
}

test('a change that Zeus did not hear is told again, until it has', async () => {
  const { zeus, node, session } = await withNewsUnheard()
  assert.equal(zeus.shown, 'online')
  node.disks = 'two failed'
  session.changed()
  await settled()
  zeus.reachable = true
  await settled()
  assert.equal(zeus.shown, 'two failed')
  assert.equal(zeus.opened, 1)
})

test('a change that comes while the session is being opened is told after that', async () => {
  const { zeus, node, session } = stage()
  zeus.whileOpening = () => {
    node.disks = 'one failed'
    session.changed()
    zeus.whileOpening = () => undefined
  }
  await session.open()
  await settled()
  assert.equal(zeus.shown, 'one failed')
})

test('a session that was lost is opened again, and shows how things are by then', async () => {
  const { zeus } = await withNewsUnheard()
  zeus.lose()
  await settled()
  assert.equal(zeus.opened, 1)
  zeus.reachable = true
  await settled()
  assert.deepEqual([zeus.opened, zeus.shown], [2, 'one failed'])
})

test('a node that was removed opens none: at its start that is an error, later it is told', async () => {
  const first = stage()
  first.node.removed = true
  await assert.rejects(first.session.open(), /n1 was removed/)
  const later = stage()
  await later.session.open()
  later.node.removed = true
  later.zeus.lose()
  await settled()
  assert.deepEqual([later.node.refusals, later.zeus.opened], [1, 1])
})

test('what has ended is not opened again', async () => {
  const { zeus, session } = stage()
  await session.open()
  await session.end()
  zeus.lose()
  await settled()
  assert.equal(zeus.opened, 1)
})
