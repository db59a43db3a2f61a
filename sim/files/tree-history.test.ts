import assert from 'node:assert/strict'
import { test } from 'node:test'
import { judgeTree, type TreeOperation } from './tree-history.ts'
import type { Doing, Told } from './tree-model.ts'

const root = '1'

/** From when to when; no answer where nothing is told. */
const did = (
  doing: Doing,
  calledAt: number,
  answeredAt: number,
  told?: Told | Told['status'],
): TreeOperation => ({
  doing,
  by: 'a hand',
  calledAt,
  ...(told === undefined ? {} : { answeredAt, told: typeof told === 'string' ? { status: told } : told }),
})
const create = (name: string): Doing => ({ kind: 'create', in: root, name, how: 'guarded' })
const lookup = (name: string): Doing => ({ kind: 'lookup', in: root, name })
const remove = (name: string): Doing => ({ kind: 'remove', in: root, name })
const rename = (name: string, as: string): Doing => ({ kind: 'rename', in: root, name, to: root, as })
const link = (id: string, name: string): Doing => ({ kind: 'link', id, in: root, name })
const ok = (id: string): Told => ({ status: 'OK', id })

const verdictOf = (...history: TreeOperation[]): string => judgeTree(root, history).verdict

test('what was done one after the other is possible, and what was lost is not', () => {
  const made = [did(create('a'), 1, 2, ok('2')), did(rename('a', 'b'), 3, 4, 'OK')]
  assert.equal(
    verdictOf(...made, did(lookup('b'), 5, 6, ok('2')), did(lookup('a'), 7, 8, 'NOENT')),
    'possible',
  )
  assert.equal(verdictOf(...made, did(lookup('b'), 5, 6, 'NOENT')), 'impossible')
  assert.equal(verdictOf(...made, did(lookup('a'), 5, 6, ok('2'))), 'impossible')
  assert.equal(verdictOf(did(create('a'), 1, 2, ok('2')), did(create('b'), 3, 4, ok('2'))), 'impossible')
})

test('what is under way at once has any order, and all see the same one', () => {
  const two = [did(create('a'), 1, 5, ok('2')), did(create('a'), 1, 5, 'EXIST')]
  assert.equal(verdictOf(...two), 'possible')
  const made = did(create('a'), 1, 2, ok('2'))
  const both = [did(remove('a'), 3, 9, 'OK'), did(rename('a', 'b'), 3, 9, 'OK')]
  assert.equal(verdictOf(made, ...both), 'impossible', 'only one of the two takes the name')
  const seen = did(remove('a'), 3, 9, 'OK')
  assert.equal(
    verdictOf(made, seen, did(lookup('a'), 4, 5, 'NOENT'), did(lookup('a'), 6, 7, ok('2'))),
    'impossible',
  )
})

test('what has no answer may be done late, or never, once, and is known when it is seen', () => {
  const pending = did(create('a'), 1, 0)
  assert.equal(verdictOf(pending, did(lookup('a'), 5, 6, 'NOENT')), 'possible')
  assert.equal(
    verdictOf(pending, did(lookup('a'), 5, 6, 'NOENT'), did(lookup('a'), 7, 8, ok('4'))),
    'possible',
  )
  const seen = [did(lookup('a'), 5, 6, ok('4')), did(remove('a'), 7, 8, 'OK')]
  assert.equal(verdictOf(pending, ...seen, did(lookup('a'), 9, 10, ok('4'))), 'impossible')
  assert.equal(verdictOf(pending, ...seen, did(lookup('a'), 9, 10, ok('6'))), 'impossible')
})

test('a file with two names stays as it is when one is renamed to the other, and moves when that was removed before', () => {
  const made = [did(create('a'), 1, 2, ok('2')), did(link('2', 'b'), 3, 4, 'OK')]
  const stays = did(rename('a', 'b'), 5, 6, 'OK')
  assert.equal(verdictOf(...made, stays, did(lookup('a'), 7, 8, ok('2'))), 'possible')
  assert.equal(verdictOf(...made, stays, did(lookup('a'), 7, 8, 'NOENT')), 'impossible')
  const removed = did(remove('b'), 5, 7, 'OK')
  assert.equal(
    verdictOf(...made, removed, did(rename('a', 'b'), 6, 9, 'OK'), did(lookup('b'), 10, 11, ok('2'))),
    'possible',
  )
})

test('a file that was removed is gone by its handle; one that was replaced may be met for a while', () => {
  const made = [did(create('a'), 1, 2, ok('2')), did(create('b'), 3, 4, ok('4'))]
  const look = did({ kind: 'getattr', id: '4' }, 7, 8, 'OK')
  assert.equal(verdictOf(...made, did(remove('b'), 5, 6, 'OK'), look), 'impossible')
  assert.equal(verdictOf(...made, did(rename('a', 'b'), 5, 6, 'OK'), look), 'possible')
})

test('directories are removed and replaced when they are empty, and do not go into themselves', () => {
  const made = [
    did({ kind: 'mkdir', in: root, name: 'a' }, 1, 2, ok('3')),
    did({ kind: 'mkdir', in: root, name: 'b' }, 3, 4, ok('5')),
    did({ kind: 'create', in: '3', name: 'c', how: 'guarded' }, 5, 6, ok('6')),
  ]
  assert.equal(verdictOf(...made, did({ kind: 'rmdir', in: root, name: 'a' }, 7, 8, 'OK')), 'impossible')
  assert.equal(verdictOf(...made, did({ kind: 'rmdir', in: root, name: 'a' }, 7, 8, 'NOTEMPTY')), 'possible')
  assert.equal(verdictOf(...made, did(rename('b', 'a'), 7, 8, 'OK')), 'impossible')
  const over = did(rename('a', 'b'), 7, 8, 'OK')
  assert.equal(
    verdictOf(...made, over, did({ kind: 'lookup', in: '3', name: 'c' }, 9, 10, ok('6'))),
    'possible',
  )
  assert.equal(
    verdictOf(...made, over, did({ kind: 'create', in: '5', name: 'd', how: 'guarded' }, 9, 10, ok('8'))),
    'impossible',
  )
  const into: Doing = { kind: 'rename', in: root, name: 'a', to: '3', as: 'a' }
  assert.equal(verdictOf(...made, did(into, 7, 8, 'OK')), 'impossible')
  assert.equal(verdictOf(...made, did(into, 7, 8, 'INVAL')), 'possible')
})
