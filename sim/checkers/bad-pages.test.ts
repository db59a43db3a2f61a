import assert from 'node:assert/strict'
import { test } from 'node:test'
import { badPageFault } from './bad-pages.ts'
import {
  formattedWorld,
  groupId,
  groupRow,
  MedusaStory,
  pagesOf,
  putCopy,
  stateWith,
} from './checkers-for-tests.ts'

test('I5: a page is given up only when every copy of it is bad', async () => {
  const { world, copyOn } = await formattedWorld()
  const medusa = new MedusaStory((made, shadow) => badPageFault(made, shadow, (node) => world.disk(node)))
  const id = groupId(1)
  const copies = [copyOn('n1-hdd-0'), copyOn('n2-hdd-0')]
  const paths: string[] = []
  for (const copy of copies) paths.push(await putCopy(world, copy, id, pagesOf('a')))
  medusa.state(stateWith())
  medusa.group(id, groupRow('a', copies))
  const giveUp = (): string | undefined => {
    medusa.map(id)
    return medusa.map('bad')
  }
  assert.match(
    giveUp()!,
    /page 0 of v0000 of vDisk 1 is given up, and group 1-1-1 has a whole copy on n1-hdd-0/,
  )
  world.disk('n1').flipByte(paths[0], 7)
  assert.match(giveUp()!, /a whole copy on n2-hdd-0/)
  world.disk('n2').flipByte(paths[1], 7)
  assert.equal(giveUp(), undefined)
})
