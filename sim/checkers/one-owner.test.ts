import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DiskRef, EpisodeId, Epoch, LayerId, Sequence, VDiskId } from '../../src/base/ids.ts'
import type { Change } from '../../src/medusa/medusa.ts'
import {
  encodeVDiskState,
  type Episode,
  stateRowKey,
  type VDiskState,
} from '../../src/stargate/vdisk-controller/rows.ts'
import { MetadataShadow } from './metadata-shadow.ts'
import { OneOwner } from './one-owner.ts'

const vdisk = 1 as VDiskId
const epoch = (number: number) => number as Epoch
const partition = { table: 'vdisk', key: '1' } as const

function episode(id: number, first: number, end?: number, disks = ['a', 'b']): Episode {
  const replicas = disks.map((disk) => ({ node: `n-${disk}`, disk, incarnation: '0' }) as unknown as DiskRef)
  const sealed = end === undefined ? {} : { end: end as Sequence }
  return { id: id as EpisodeId, first: first as Sequence, ...sealed, replicas }
}

const stateWith = (episodes: readonly Episode[], state: VDiskState['state'] = 'live'): VDiskState => ({
  name: 'c/v',
  state,
  copies: 2,
  sizeBytes: 4096,
  layer: 1 as LayerId,
  drained: 0 as Sequence,
  episodes,
  clients: {},
})

/** A row that goes from state to state; each change says what the checker thinks of it. */
class Story {
  readonly checker = new OneOwner()
  readonly #shadow = new MetadataShadow()
  #changes = 0

  change(
    state: VDiskState,
    {
      at = this.#shadow.static(partition).epoch,
      ...odd
    }: Partial<Record<'at' | 'expected' | 'version', number>> = {},
  ): string | undefined {
    const before = this.#shadow.static(partition)
    const change: Change = {
      id: String(++this.#changes),
      expected: { epoch: before.epoch, version: odd.expected ?? before.version },
      epoch: epoch(at),
      put: [{ key: stateRowKey, value: encodeVDiskState(state) }],
    }
    const after = { epoch: epoch(at), version: odd.version ?? before.version + 1, changeId: change.id }
    const made = this.#shadow.read(partition, change, after)
    const fault = this.checker.changed(made)
    this.#shadow.apply(made)
    return fault
  }
}

test('I4: a row that its owners change one after the other is right', () => {
  const story = new Story()
  assert.equal(story.change(stateWith([])), undefined)
  assert.equal(story.checker.claimed(vdisk, epoch(1), 'n1'), undefined)
  assert.equal(story.change(stateWith([episode(1, 1)]), { at: 1 }), undefined)
  assert.equal(story.checker.claimed(vdisk, epoch(2), 'n2'), undefined)
  assert.equal(story.change(stateWith([episode(1, 1, 9), episode(2, 10)]), { at: 2 }), undefined)
  assert.equal(story.change(stateWith([episode(2, 10)])), undefined)
  assert.equal(story.change(stateWith([episode(2, 10, 12)], 'deleted')), undefined)
})

test('I4: a change over another version than it expected, or that does not raise the version, is found', () => {
  const story = new Story()
  assert.equal(story.change(stateWith([])), undefined)
  assert.match(
    story.change(stateWith([]), { expected: 0 })!,
    /expected epoch 0, version 0 was made over .* version 1/,
  )
  assert.match(story.change(stateWith([]), { version: 2 })!, /from version 2 to 2/)
})

test('I4: an epoch that goes down, or that nobody was granted, is found', () => {
  const story = new Story()
  story.checker.claimed(vdisk, epoch(3), 'n1')
  assert.match(story.change(stateWith([]), { at: 2 })!, /epoch 2, which nobody was granted/)
  assert.equal(story.change(stateWith([]), { at: 3 }), undefined)
  assert.match(story.change(stateWith([]), { at: 2 })!, /went down from 3 to 2/)
})

test('I4: an episode that is sealed stays as it is', () => {
  const sealed = (after: readonly Episode[]): string | undefined => {
    const story = new Story()
    story.change(stateWith([episode(1, 1, 9), episode(2, 10)]))
    return story.change(stateWith(after))
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
  story.change(stateWith([episode(1, 1, 9), episode(2, 10)]))
  story.change(stateWith([episode(2, 10)]))
  assert.match(story.change(stateWith([episode(1, 1, 9), episode(2, 10)]))!, /episode 1 is named again/)
  story.change(stateWith([], 'deleted'))
  assert.match(story.change(stateWith([]))!, /was deleted, and is again/)
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
