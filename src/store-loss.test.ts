import assert from 'node:assert/strict'
import { test } from 'node:test'
import { lossOfStore } from './store-loss.ts'

const nodes = (...peers: string[]) => peers.map((peer, i) => ({ id: `n${i + 1}`, peer }))
const apart = nodes('10.0.0.1:9441', '10.0.0.2:9441')

test('a store on a machine of a node is lost with that node, and with its block', () => {
  assert.deepEqual(lossOfStore('10.0.0.2:9460', apart), {
    survives: 'disk',
    limit: 'the metadata is in one store, on the machine of n2',
  })
})

test('a store on a machine of its own is no part of any block, unless a name hides whose machine that is', () => {
  assert.deepEqual(lossOfStore('10.0.0.3:9460', apart), { survives: 'block' })
  assert.deepEqual(lossOfStore('storage:9460', apart), {
    survives: 'disk',
    limit: 'the metadata is in one store, on one machine',
  })
})

test('where all nodes are on one machine their blocks are not machines, and none of them has the store', () => {
  assert.deepEqual(lossOfStore('unix:/run/store.sock', apart), { survives: 'block' })
  assert.deepEqual(lossOfStore('127.0.0.1:9460', nodes('127.0.0.1:1', '127.0.0.1:2')), { survives: 'block' })
})
