import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hostAndPort, isWithinMachine } from './networks.ts'

test('a client has one host, whichever way it comes', () => {
  assert.deepEqual(hostAndPort('10.0.0.7:800'), { host: '10.0.0.7', port: 800 })
  assert.deepEqual(hostAndPort('[::ffff:10.0.0.7]:800'), { host: '10.0.0.7', port: 800 })
  assert.deepEqual(hostAndPort('[fe80::1]:2049'), { host: 'fe80::1', port: 2049 })
  assert.deepEqual(hostAndPort('unix:'), { host: '', port: 0 })
})

test('what goes by a Unix socket or loopback stays within the machine, and nothing else does', () => {
  for (const address of [
    'unix:',
    'unix:/run/10.0.0.1:1',
    '127.0.0.1:1',
    '[::1]:1',
    '[::ffff:127.0.0.2]:1',
    'localhost:1',
  ])
    assert.ok(isWithinMachine(address), address)
  for (const address of ['10.0.0.1:1', '[fe80::1]:1', '0.0.0.0:1', 'n1.example:1', '127.0.0.1.example:1', ''])
    assert.ok(!isWithinMachine(address), address)
})
