import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DiskId, DiskRef, Incarnation, NodeId } from './base/ids.ts'
import { GoneDisks } from './gone-disks.ts'
import type { Clock } from './platform/platform.ts'
import type { NodeValue, SessionValue, SettingValue } from './zeus/zeus.ts'

const disk = (node: string, incarnation = 'first'): DiskRef => ({
  node: node as NodeId,
  disk: `${node}-flash-0` as DiskId,
  incarnation: incarnation as Incarnation,
})

/** n1 looks at n2 and n3. */
class View {
  readonly nodes = new Map<NodeId, NodeValue>()
  readonly sessions = new Map<NodeId, SessionValue>()
  readonly settings = new Map<NodeId, SettingValue>()
  readonly told: boolean[] = []
  readonly own = { ref: disk('n1'), state: 'online' as 'online' | 'failed' }
  readonly gone: GoneDisks
  #now = 0
  #timers: { at: number; run: () => void }[] = []

  constructor() {
    for (const node of ['n1', 'n2', 'n3']) this.nodes.set(node as NodeId, this.#value(node))
    const clock = {
      now: () => this.#now,
      wallTime: () => 1_000_000 + this.#now,
      after: (ms: number, run: () => void) => {
        const timer = { at: this.#now + ms, run }
        this.#timers.push(timer)
        return { cancel: () => (this.#timers = this.#timers.filter((one) => one !== timer)) }
      },
    } as unknown as Clock
    const { nodes, sessions, own, told } = this
    const changed = (losses: boolean): void => void told.push(losses)
    this.gone = new GoneDisks({
      clock,
      node: 'n1' as NodeId,
      disks: [own],
      graceMs: 800,
      nodes,
      sessions,
      settings: this.settings,
      changed,
    })
  }

  pass(ms: number): void {
    this.#now += ms
    for (const timer of this.#timers.filter(({ at }) => at <= this.#now)) {
      this.#timers = this.#timers.filter((one) => one !== timer)
      timer.run()
    }
  }

  session(node: string, incarnation = 'first', state: 'online' | 'failed' = 'online'): void {
    const before = this.sessions.get(node as NodeId)
    const now = { ...this.#value(node, incarnation, state), incarnation: 'p' as Incarnation, startedAt: 0 }
    this.sessions.set(node as NodeId, now)
    this.gone.sessionChanged(node as NodeId, now, before)
  }

  comesWithout(node: string): void {
    const now = { ...this.#value(node), disks: [], incarnation: 'q' as Incarnation, startedAt: 0 }
    this.sessions.set(node as NodeId, now)
    this.gone.sessionChanged(node as NodeId, now, undefined)
  }

  /** The node has one more. */
  isConfigured(node: string, id: string): void {
    const value = this.#value(node)
    this.nodes.set(node as NodeId, { ...value, disks: [...value.disks, { ...value.disks[0], id }] })
  }

  ends(node: string): void {
    const before = this.sessions.get(node as NodeId)
    this.sessions.delete(node as NodeId)
    this.gone.sessionChanged(node as NodeId, undefined, before)
  }

  #value(node: string, incarnation = 'first', state: 'online' | 'failed' = 'online'): NodeValue {
    const disks = [{ id: `${node}-flash-0`, incarnation, tier: 'flash' as const, capacityBytes: 1, state }]
    return { block: node, peer: '', http: '', nbd: { address: '', socket: '' }, disks }
  }
}

test('a node that is started again within the grace loses nothing, one that stays away does', () => {
  const view = new View()
  view.session('n2')
  view.session('n3')
  view.gone.begin()
  view.pass(800)
  view.told.length = 0
  assert.equal(view.gone.isAnyGone(), false)
  view.ends('n2')
  view.pass(799)
  assert.equal(view.gone.isGone(disk('n2')), false)
  view.session('n2')
  view.pass(800)
  assert.deepEqual(view.told, [false], 'it is back, and nothing was lost')
  view.ends('n2')
  view.pass(800)
  assert.deepEqual(view.told, [false, true])
  assert.ok(view.gone.isGone(disk('n2')) && view.gone.isAnyGone())
  view.session('n2')
  assert.deepEqual(view.told, [false, true, false])
  assert.equal(view.gone.isGone(disk('n2')), false)
})

test('a disk that failed, or that is another by now, is gone at once', () => {
  const view = new View()
  view.session('n2')
  view.session('n3')
  view.gone.begin()
  view.pass(800)
  view.told.length = 0
  view.session('n2', 'first', 'failed')
  assert.ok(view.gone.isGone(disk('n2')) && view.gone.mayBeRead(disk('n2')), 'what it holds may be read')
  view.session('n3', 'second')
  assert.ok(view.gone.isGone(disk('n3')) && !view.gone.mayBeRead(disk('n3')))
  assert.equal(view.gone.isGone(disk('n3', 'second')), false)
  assert.deepEqual(view.told, [true, true])
})

test('what has no session since we began is gone after the grace, nobody having seen it die (F11)', () => {
  const view = new View()
  view.gone.begin()
  view.session('n2')
  assert.equal(view.gone.isGone(disk('n3')), false)
  view.told.length = 0
  view.pass(800)
  assert.deepEqual(view.told, [true])
  assert.ok(view.gone.isGone(disk('n3')))
  assert.equal(view.gone.isGone(disk('n2')), false)
})

test('this node’s own disks are judged by themselves', () => {
  const view = new View()
  assert.equal(view.gone.isGone(disk('n1')), false)
  assert.ok(view.gone.isGone(disk('n1', 'another')))
  view.own.state = 'failed'
  view.gone.ownFailed()
  assert.ok(view.gone.isGone(disk('n1')) && view.gone.isAnyGone())
  assert.deepEqual(view.told, [true])
})

test('the disks of a node in maintenance are gone when its time is over, and it is not there', () => {
  const view = new View()
  for (const node of ['n1', 'n2', 'n3']) view.session(node)
  view.gone.begin()
  view.pass(1000)
  const n2 = 'n2' as NodeId
  view.settings.set(n2, { mode: 'maintenance', repairWaitsUntil: 1_000_000 + 61_000 })
  view.gone.settingChanged(n2)
  view.ends('n2')
  view.pass(5_000)
  assert.equal(view.gone.isGone(disk('n2')), false)
  assert.equal(view.gone.isAnyGone(), false)
  view.told.length = 0
  view.pass(60_000)
  assert.deepEqual(view.told, [true])
  assert.ok(view.gone.isGone(disk('n2')) && view.gone.isAnyGone())
  view.settings.set(n2, { mode: 'maintenance', repairWaitsUntil: 1_000_000 + 500_000 })
  view.gone.settingChanged(n2)
  assert.equal(view.gone.isGone(disk('n2')), false, 'it was given more time')
  view.settings.delete(n2)
  view.gone.settingChanged(n2)
  assert.equal(view.gone.isGone(disk('n2')), true, 'it is in maintenance no longer')
})

test('a node that comes back within its grace without a disk that it had has lost it, and so is one of its own', () => {
  const view = new View()
  view.session('n2')
  view.gone.begin()
  view.pass(800)
  view.ends('n2')
  view.told.length = 0
  view.comesWithout('n2')
  assert.deepEqual(view.told, [true])
  assert.equal(view.gone.isGone(disk('n2')), true)
  assert.equal(view.gone.mayBeRead(disk('n2')), false)
  view.session('n2')
  view.session('n3')
  assert.equal(view.gone.isAnyGone(), false)
  view.isConfigured('n1', 'n1-hdd-0')
  assert.equal(view.gone.isAnyGone(), true)
})
