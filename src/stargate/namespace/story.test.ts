/**
 * Random stories: some nodes do some operations at once, with messages that take a random while. Their answers and the tree that is there
 * afterwards must be those of a plain model in at least one order of the operations.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { noise, pick, type Roll } from '../../base/dice-for-tests.ts'
import { hasCode } from '../../base/errors.ts'
import { aDirectory, aFile, bytesOf, checked, newWorld, root, type World } from './fixtures.test.ts'
import { lineOf, Model, type Operation } from './model-for-tests.ts'
import { FileError, type InodeId, type Namespace } from './namespace.ts'

interface Answer {
  readonly text: string
  readonly made?: InodeId
}

/** It was made, or not. */
const unknown = 'unknown'
const names = ['a', 'b', 'c', 'd']

async function run(namespace: Namespace, operation: Operation): Promise<Answer> {
  try {
    return await answerOf(namespace, operation)
  } catch (error) {
    if (error instanceof FileError) return { text: error.code }
    if (hasCode(error, 'UNAVAILABLE')) return { text: unknown }
    throw error
  }
}

async function answerOf(namespace: Namespace, operation: Operation): Promise<Answer> {
  const name = 'name' in operation ? bytesOf(operation.name) : bytesOf('')
  switch (operation.kind) {
    case 'create': {
      const wanted = operation.directory ? { ...aDirectory, mode: 0o644 } : aFile
      const { inode, existed } = await namespace.create(operation.in, name, wanted)
      return existed ? { text: `existed ${inode.id}` } : { text: `created ${inode.id}`, made: inode.id }
    }
    case 'lookup':
      return { text: String((await namespace.lookup(operation.in, name)).id) }
    case 'remove': {
      const { inode, gone } = await namespace.remove(operation.in, name)
      return { text: `${gone ? 'ended' : 'took'} ${inode.id}` }
    }
    case 'rmdir':
      await namespace.removeDirectory(operation.in, name)
      return { text: 'removed' }
    case 'rename': {
      const { replaced, gone } = await namespace.rename(
        operation.in,
        name,
        operation.to,
        bytesOf(operation.as),
      )
      return { text: replaced ? `renamed, ${gone ? 'ended' : 'took'} ${replaced.id}` : 'renamed' }
    }
    case 'link':
      return { text: `links ${(await namespace.link(operation.id, operation.in, name)).inode.links}` }
    case 'write':
      await namespace.write(operation.id, operation.at, operation.bytes)
      return { text: 'written' }
    case 'cut':
      await namespace.setAttributes(operation.id, { sizeBytes: operation.size })
      return { text: 'cut' }
    case 'mode':
      await namespace.setAttributes(operation.id, { mode: operation.mode })
      return { text: 'set' }
    default:
      return operation satisfies never
  }
}

function draw(roll: Roll, directories: readonly InodeId[], all: readonly InodeId[]): Operation {
  const where = () => ({ in: pick(roll, directories), name: pick(roll, names) })
  const id = pick(roll, all)
  switch (roll(13)) {
    case 0:
    case 1:
    case 2:
      return { kind: 'create', ...where(), directory: roll(2) === 0 }
    case 3:
      return { kind: 'remove', ...where() }
    case 4:
      return { kind: 'rmdir', ...where() }
    case 5:
      return { kind: 'lookup', ...where() }
    case 6:
      return { kind: 'link', id, ...where() }
    case 7:
      return { kind: 'write', id, at: roll(3) * 32_760, bytes: noise((below) => 65 + roll(below % 26), 10) }
    case 8:
      return { kind: 'cut', id, size: roll(3) * 32_765 }
    case 9:
      return { kind: 'mode', id, mode: roll(0o1000) }
    default:
      return { kind: 'rename', ...where(), to: pick(roll, directories), as: pick(roll, names) }
  }
}

/** A rename that is refused looks at two names one after the other, and they may never have been so at once. */
const refusals = new Set(['NOENT', 'STALE', 'ISDIR', 'NOTDIR', 'NOTEMPTY', 'INVAL'])

function explains(model: Model, operation: Operation, answer: Answer, alone: boolean): boolean {
  if (!alone && operation.kind === 'rename' && refusals.has(answer.text)) return true
  const text = model.apply(operation, answer.made)
  return text === answer.text || answer.text === unknown
}

function* orders<T>(items: readonly T[]): Generator<readonly T[]> {
  if (items.length === 0) yield []
  for (const [i, first] of items.entries())
    for (const rest of orders(items.filter((_, at) => at !== i))) yield [first, ...rest]
}

async function tree(namespace: Namespace, directory: InodeId = root, path = ''): Promise<string[]> {
  const lines: string[] = []
  const { entries } = await namespace.list(directory, 0n, 100)
  for (const { name, inode } of entries) {
    const at = `${path}/${name.toString()}`
    const bytes = inode.type === 'file' ? (await namespace.read(inode.id, 0, 1e6)).bytes : undefined
    lines.push(lineOf(at, inode.id, inode.links, inode.mode, bytes))
    if (inode.type === 'directory') lines.push(...(await tree(namespace, inode.id, at)))
  }
  return lines.sort()
}

async function tell(
  world: World,
  rounds: number,
  atOnce: number,
  delayMs: number,
  lossOf: number,
): Promise<void> {
  const { roll } = world
  const faults = () => ({
    onChange: () =>
      lossOf > 0 && roll(lossOf) === 0
        ? roll(2) === 0
          ? ('made, unknown' as const)
          : ('not made, unknown' as const)
        : undefined,
  })
  const nodes = [world.node(faults()), world.node(faults()), world.node(faults())]
  world.delayMs = delayMs
  const checking = new Checking(world)
  let model = new Model(root)
  const known: InodeId[] = [root]
  for (let round = 0; round < rounds; round++) {
    const some = known.slice(-14)
    const directories = [root, root, ...some.filter((id) => id % 2 === 1)]
    const operations = Array.from({ length: atOnce }, () => draw(roll, directories, some))
    const done = await Promise.all(
      operations.map(async (operation) => ({ operation, answer: await run(pick(roll, nodes), operation) })),
    )
    const now = (await tree(pick(roll, nodes))).join('\n')
    const told = done
      .map(({ operation, answer }) => `${JSON.stringify(operation)} → ${answer.text}`)
      .join('\n')
    const fitting = firstFitting(model, done, now)
    assert.ok(
      fitting,
      `round ${round}: no order explains\n${told}\nbefore:\n${model.tree().join('\n')}\nnow:\n${now}`,
    )
    model = fitting
    for (const { answer } of done) if (answer.made !== undefined) known.push(answer.made)
  }
  await checking.end()
}

/** Checks one after the other, from another node, while the story goes on: whatever it does, nothing is wrong. */
class Checking {
  readonly #world: World
  readonly #done: Promise<void>
  #over = false

  constructor(world: World) {
    this.#world = world
    this.#done = this.#check()
  }

  async #check(): Promise<void> {
    const node = this.#world.node()
    let checks = 0
    for (; !this.#over; checks++) {
      const { found, unfinished } = await checked(node)
      assert.deepEqual([...found, ...unfinished], [], `check ${checks}`)
      await this.#world.clock.sleep(10 * this.#world.delayMs)
    }
    assert.ok(checks > 3, `${checks} checks`)
  }

  end(): Promise<void> {
    this.#over = true
    return this.#done
  }
}

function firstFitting(
  model: Model,
  done: readonly { readonly operation: Operation; readonly answer: Answer }[],
  now: string,
): Model | undefined {
  const at = done.findIndex(({ answer }) => answer.text === unknown)
  if (at >= 0) {
    const without = firstFitting(model, done.toSpliced(at, 1), now)
    if (without) return without
  }
  for (const order of orders(done)) {
    const copy = model.copy()
    const fits = order.every(({ operation, answer }) => explains(copy, operation, answer, done.length === 1))
    if (fits && copy.tree().join('\n') === now) return copy
  }
  return undefined
}

for (const [what, rounds, atOnce, delayMs, lossOf] of [
  ['one after the other', 700, 1, 0, 0],
  ['three at once', 500, 3, 6, 0],
  // So slow that one loses patience with the other.
  ['four at once, slowly', 300, 4, 120, 0],
  ['four at once, with lost answers', 200, 4, 6, 30],
] as const)
  test(`namespace agrees with a plain model: operations of three nodes, ${what}`, async () => {
    const seed = Number(process.env.SEED ?? 20_261_122)
    console.log(`seed ${seed}`)
    const world = await newWorld(seed)
    await tell(world, rounds, atOnce, delayMs, lossOf)
    world.close()
  })
