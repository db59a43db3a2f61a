import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { NodeId } from '../../base/ids.ts'
import { blocksAmong, misplacedAmong } from './misplaced.ts'

const blocks: Record<string, string> = { n1: 'a', n2: 'a', n3: 'b', n4: 'b', n5: 'c' }
const on = (...nodes: string[]) => nodes.map((node) => ({ node: node as NodeId }))
const misplaced = (nodes: string[], there: string[]): string | undefined =>
  misplacedAmong(on(...nodes), (node) => blocks[node], blocksAmong(there.map((block) => ({ block }))))?.node

test('of copies that share a block the last one goes, where there is a block that has none', () => {
  assert.equal(misplaced(['n1', 'n2'], ['a', 'b']), 'n2')
  assert.equal(misplaced(['n1', 'n2', 'n3'], ['a', 'b', 'c']), 'n2')
  assert.equal(misplaced(['n1', 'n3', 'n4'], ['a', 'b', 'c']), 'n4')
})

test('copies that lie in as many blocks as they can stay where they are', () => {
  assert.equal(misplaced(['n1', 'n3'], ['a', 'b', 'c']), undefined)
  assert.equal(misplaced(['n1', 'n2'], ['a']), undefined)
  assert.equal(misplaced(['n1', 'n2', 'n3'], ['a', 'b']), undefined)
  assert.equal(misplaced(['n1'], ['a', 'b']), undefined)
  assert.equal(misplaced(['n1', 'n9'], ['a', 'b']), undefined, 'nobody knows where n9 is')
})
