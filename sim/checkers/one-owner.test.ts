import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Epoch } from '../../src/base/ids.ts'
import type { Episode } from '../../src/stargate/vdisk-controller/rows.ts'
import { episode, MedusaStory, stateWith, vdisk } from './checkers-for-tests.ts'
import { OneOwner } from './one-owner.ts'

const epoch = (number: number) => number as Epoch

/** A row that goes from state to state; each change says what the checker thinks of it. */
class Story {
  readonly checker = new OneOwner()
  readonly #medusa = new MedusaStory((made) => this.checker.changed(made))

  change(
    episodes: readonly Episode[],
    odd: { epoch?: number; expected?: number; version?: number; deleted?: boolean } = {},
  ): string | undefined {
    return this.#medusa.state(stateWith({ episodes, state: odd.deleted === true ? 'deleted' : 'live' }), odd)
  }
}

test('I4: a row that its owners change one after the other is right', () => {
  const story = new Story()
  assert.equal(story.change([]), undefined)
  assert.equal(story.checker.claimed(vdisk, epoch(1), 'n1'), undefined)
  assert.equal(story.change([episode(1, 1)], { epoch: 1 }), undefined)
  assert.equal(story.checker.claimed(vdisk, epoch(2), 'n2'), undefined)
  assert.equal(story.change([episode(1, 1, 9), episode(2, 10)], { epoch: 2 }), undefined)
  assert.equal(story.change([episode(2, 10)]), undefined)
  assert.equal(story.change([episode(2, 10, 12)], { deleted: true }), undefined)
})

test('I4: a change over another version than it expected, or that does not raise the version, is found', () => {
  const story = new Story()
  assert.equal(story.change([]), undefined)
  assert.match(story.change([], { expected: 0 })!, /expected epoch 0, version 0 was made over .* version 1/)
  assert.match(story.change([], { version: 2 })!, /from version 2 to 2/)
})

test('I4: an epoch that goes down, or that nobody was granted, is found', () => {
  const story = new Story()
  story.checker.claimed(vdisk, epoch(3), 'n1')
  assert.match(story.change([], { epoch: 2 })!, /epoch 2, which nobody was granted/)
  assert.equal(story.change([], { epoch: 3 }), undefined)
  assert.match(story.change([], { epoch: 2 })!, /went down from 3 to 2/)
})

test('I4: an episode that is sealed stays as it is', () => {
  const sealed = (after: readonly Episode[]): string | undefined => {
    const story = new Story()
    story.change([episode(1, 1, 9), episode(2, 10)])
    return story.change(after)
  }
  assert.match(sealed([episode(1, 1, 10), episode(2, 10)])!, /sealed at 9, and now ends at 10/)
  assert.match(sealed([episode(1, 1)])!, /sealed at 9, and now is open/)
  assert.match(sealed([episode(1, 2, 9), episode(2, 10)])!, /began at 1, and now at 2/)
  assert.match(
    sealed([episode(1, 1, 9, ['a', 'c']), episode(2, 10)])!,
    /lay on a\/0, b\/0, and now on a\/0, c\/0/,
  )
  assert.match(sealed([episode(1, 1, 9), episode(2, 10), episode(3, 12)])!, /open, and is not the last/)
})

test('I4: neither an episode nor a vDisk comes back', () => {
  const story = new Story()
  story.change([episode(1, 1, 9), episode(2, 10)])
  story.change([episode(2, 10)])
  assert.match(story.change([episode(1, 1, 9), episode(2, 10)])!, /episode 1 is named again/)
  story.change([], { deleted: true })
  assert.match(story.change([])!, /was deleted, and is again/)
})

test('I4: Zeus grants each epoch once, and nobody else serves under it', () => {
  const checker = new OneOwner()
  assert.equal(checker.claimed(vdisk, epoch(2), 'n1'), undefined)
  assert.match(checker.claimed(vdisk, epoch(2), 'n2')!, /granted epoch 2 of vDisk 1 to n2 after epoch 2/)
  assert.equal(checker.serves(vdisk, epoch(2), 'n1'), undefined)
  assert.equal(checker.serves(vdisk, epoch(2), 'n1'), undefined)
  assert.equal(checker.serves(vdisk, epoch(3), 'n2'), undefined)
  assert.match(checker.serves(vdisk, epoch(2), 'n2')!, /n2 and n1 have both served vDisk 1 under epoch 2/)
})
