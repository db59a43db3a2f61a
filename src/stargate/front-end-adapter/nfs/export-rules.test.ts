import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hasCode } from '../../../base/errors.ts'
import { defaultExportRules, differencesOf, Export, type ExportRules, rulesOf } from './export-rules.ts'

const exportWith = (rules: Partial<ExportRules> = {}): Export =>
  new Export({ ...defaultExportRules, ...rules })
const from = (host: string, port = 50_000) => ({ host, port })
const sys = (uid: number, gid: number, gids: readonly number[] = []) =>
  ({ credentials: { flavour: 'sys', uid, gid, gids, machine: 'client' } }) as Parameters<Export['userOf']>[0]
const none = { credentials: { flavour: 'none' } } as const

test('unless an operator says otherwise only this machine may, as whoever it says, from any port', () => {
  const own = exportWith()
  for (const host of ['127.0.0.1', '127.9.9.9', '::1', '::ffff:127.0.0.1', ''])
    assert.ok(own.allows(from(host)), host)
  for (const host of ['10.0.0.1', '::2', '::ffff:10.0.0.1', 'fe80::1%eth0', 'nonsense'])
    assert.ok(!own.allows(from(host)), host)
  assert.deepEqual(own.userOf(sys(0, 0, [4])), { uid: 0, gid: 0, gids: [4] })
  assert.deepEqual(own.userOf(none), { uid: 65534, gid: 65534, gids: [] })
})

test('networks and addresses are allowed, and nothing beside them', () => {
  const some = exportWith({ networks: ['10.0.0.0/8', '192.168.1.7', 'fd00::/8'] })
  for (const host of ['10.255.0.1', '192.168.1.7', 'fd12::1', '::ffff:10.1.1.1'])
    assert.ok(some.allows(from(host)), host)
  for (const host of ['11.0.0.1', '192.168.1.8', 'fe00::1', '127.0.0.1'])
    assert.ok(!some.allows(from(host)), host)
  assert.ok(exportWith({ networks: ['0.0.0.0/0'] }).allows(from('8.8.8.8')))
})

test('what is no network is refused', () => {
  for (const network of [
    '',
    'vms',
    '10.0.0.0/33',
    '10.0.0/8',
    '10.0.0.0/8/8',
    'fd00::/129',
    '10.0.0.0/-1',
    '10.0.0.0/',
  ])
    assert.throws(
      () => exportWith({ networks: [network] }),
      (error) => hasCode(error, 'REFUSED'),
      network,
    )
})

test('with privileged ports only those may call', () => {
  const some = exportWith({ privilegedPorts: true })
  assert.ok(some.allows(from('127.0.0.1', 1023)))
  assert.ok(!some.allows(from('127.0.0.1', 1024)))
})

test('root, or everybody, is taken for the anonymous user', () => {
  const ids = { anonymousUid: 99, anonymousGid: 98 }
  const root = exportWith({ squash: 'root', ...ids })
  assert.deepEqual(root.userOf(sys(0, 0, [0])), { uid: 99, gid: 98, gids: [] })
  assert.deepEqual(root.userOf(sys(7, 0, [0, 8])), { uid: 7, gid: 98, gids: [98, 8] })
  assert.deepEqual(exportWith({ squash: 'all', ...ids }).userOf(sys(7, 7)), { uid: 99, gid: 98, gids: [] })
})

test('where no network is allowed nobody is', () => {
  const none = exportWith({ networks: [] })
  for (const host of ['127.0.0.1', '::1', '10.0.0.1']) assert.ok(!none.allows(from(host)), host)
})

test('of rules only what is not usual is kept', () => {
  assert.deepEqual(rulesOf(), defaultExportRules)
  assert.equal(differencesOf({ ...defaultExportRules, networks: ['127.0.0.0/8', '::1/128'] }), undefined)
  const some = { networks: [], readOnly: true }
  assert.deepEqual(differencesOf(rulesOf(some)), some)
  assert.deepEqual(rulesOf(differencesOf(rulesOf(some))), { ...defaultExportRules, ...some })
})
