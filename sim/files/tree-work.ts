/**
 * Clients that make, rename and remove files and directories in small trees: a few names, so that they meet, and a new tree after some
 * operations, so that its history can be judged (tree-history.ts).
 */
import type { NodeId } from '../../src/base/ids.ts'
import { InvariantViolation } from '../checkers/invariant-violation.ts'
import type { SeededChance } from '../seeded-chance.ts'
import type { NfsCaller, Sending } from './nfs-caller.ts'
import * as nfs from './nfs-calls.ts'
import { describeOperation, judgeTree, type TreeOperation } from './tree-history.ts'
import type { Doing, Told } from './tree-model.ts'

const names = ['a', 'b', 'c'] as const
/** Of one tree; what hands have under way when they are reached comes on top. */
const operationsOfTree = 36
/** Those that hands use again. */
const knownMax = 3

/** Of a hundred. */
const doings = [
  ['rename', 28],
  ['create', 20],
  ['lookup', 13],
  ['remove', 10],
  ['mkdir', 8],
  ['list', 8],
  ['link', 5],
  ['rmdir', 4],
  ['times', 2],
  ['getattr', 2],
] as const

interface Known {
  readonly id: string
  readonly handle: Buffer
}

interface TreeStory {
  readonly name: string
  readonly root: Known
  readonly directories: Known[]
  readonly files: Known[]
  readonly operations: TreeOperation[]
  left: number
}

export interface TreeWorkOptions {
  readonly name: string
  /** Of the container. */
  readonly root: Buffer
  readonly callers: readonly NfsCaller[]
  readonly now: () => number
  readonly pauseMsMost: () => number
}

export class TreeWork {
  /** Trees whose histories took too long to judge. */
  undecided = 0
  readonly #options: TreeWorkOptions
  readonly #stories: TreeStory[] = []
  #making: Promise<void> | undefined
  #made = 0
  #times = 0
  #stopping = false

  constructor(options: TreeWorkOptions) {
    this.#options = options
  }

  async run(): Promise<void> {
    const { callers, pauseMsMost } = this.#options
    const hand = async (caller: NfsCaller): Promise<void> => {
      while (!this.#stopping) {
        const story = this.#stories.at(-1)
        if (story === undefined || story.left <= 0)
          await (this.#making ??= this.#make(caller).finally(() => (this.#making = undefined)))
        else {
          story.left--
          await this.#act(story, caller)
        }
        await caller.pause(caller.chance.between(0, pauseMsMost()))
      }
    }
    await Promise.all(callers.map(hand))
  }

  stop(): void {
    this.#stopping = true
  }

  /** All trees, as one node shows them. */
  async lookThrough(node: NodeId, caller: NfsCaller): Promise<void> {
    for (const story of this.#stories) {
      const seen = new Set<string>()
      const look = async (directory: Known): Promise<void> => {
        seen.add(directory.id)
        const entries = await this.#list(story, directory, caller, node)
        for (const { id, handle, seen: attributes } of entries)
          if (attributes?.type === 'directory' && handle !== undefined && !seen.has(id))
            await look({ id, handle })
      }
      await look(story.root)
    }
  }

  /** I2, of names. */
  check(): void {
    for (const { name, root, operations } of this.#stories) {
      const judged = judgeTree(root.id, operations)
      if (judged.verdict === 'undecided') this.undecided++
      if (judged.verdict !== 'impossible') continue
      const lines = (some: readonly TreeOperation[]): string => some.map(describeOperation).join('\n')
      throw new InvariantViolation(
        'I2',
        `the tree ${name} of ${this.#options.name}: no order of all that was done to it explains\n${lines(judged.stuck)}\n` +
          `where the order that explains most leaves ${judged.state.key}. All, in the order of calls:\n` +
          lines([...operations].sort((a, b) => a.calledAt - b.calledAt)),
      )
    }
  }

  async #make(caller: NfsCaller): Promise<void> {
    const name = `t${++this.#made}`
    const answer = await caller.ask(() => unrecorded(nfs.mkdir(this.#options.root, name)))
    // A sending without an answer may have made it: then another is made.
    if (answer?.status !== 'OK') return
    const root = knownOf(answer)
    this.#stories.push({ name, root, directories: [], files: [], operations: [], left: operationsOfTree })
  }

  async #act(story: TreeStory, caller: NfsCaller): Promise<void> {
    const { chance } = caller
    const at = this.#directory(story, chance)
    const name = oneOf(chance, names)
    const place = { in: at.id, name }
    const file = story.files.length > 0 ? oneOf(chance, story.files) : undefined
    const kind = drawDoing(chance)
    switch (kind) {
      case 'create': {
        const mode = oneOf(chance, ['unchecked', 'guarded', 'exclusive'] as const)
        const verifier = chance.bytes(8)
        const how = mode === 'exclusive' ? { verifier: verifier.toString('hex') } : mode
        const call = nfs.create(at.handle, name, mode === 'exclusive' ? { verifier } : { mode })
        return this.#do(story, caller, { kind, ...place, how }, call)
      }
      case 'mkdir':
        return this.#do(story, caller, { kind, ...place }, nfs.mkdir(at.handle, name))
      case 'lookup':
        return this.#do(story, caller, { kind, ...place }, nfs.lookup(at.handle, name))
      case 'remove':
        return this.#do(story, caller, { kind, ...place }, nfs.remove(at.handle, name))
      case 'rmdir':
        return this.#do(story, caller, { kind, ...place }, nfs.rmdir(at.handle, name))
      case 'rename': {
        const to = this.#directory(story, chance)
        const as = oneOf(chance, names)
        return this.#do(
          story,
          caller,
          { kind, ...place, to: to.id, as },
          nfs.rename(at.handle, name, to.handle, as),
        )
      }
      case 'link':
        if (file === undefined) return
        return this.#do(
          story,
          caller,
          { kind, id: file.id, ...place },
          nfs.link(file.handle, at.handle, name),
        )
      case 'times': {
        if (file === undefined) return
        const time = ++this.#times
        return this.#do(
          story,
          caller,
          { kind, id: file.id, time },
          nfs.setattr(file.handle, { modifySeconds: time }),
        )
      }
      case 'getattr':
        if (file === undefined) return
        return this.#do(story, caller, { kind, id: file.id }, nfs.getattr(file.handle))
      case 'list':
        await this.#list(story, at, caller)
        return
      default:
        return kind satisfies never
    }
  }

  async #do(story: TreeStory, caller: NfsCaller, doing: Doing, call: nfs.NfsCall): Promise<void> {
    const isLook = doing.kind === 'lookup' || doing.kind === 'getattr'
    const answer = await caller.ask(() => {
      const operation: TreeOperation = { doing, by: caller.name, calledAt: this.#options.now() }
      // A look that was not answered has told nothing.
      if (!isLook) story.operations.push(operation)
      const answered = (told: nfs.Answer): void => {
        if (isLook) story.operations.push(operation)
        operation.answeredAt = this.#options.now()
        operation.told = toldOf(told, doing)
      }
      return { call, answered }
    })
    if (answer?.status !== 'OK' || answer.handle === undefined || answer.seen === undefined) return
    this.#learn(story, answer.seen.type === 'directory', knownOf(answer))
  }

  /** A listing looks each name up at an instant of its own. */
  async #list(
    story: TreeStory,
    { id, handle }: Known,
    caller: NfsCaller,
    through?: NodeId,
  ): Promise<readonly nfs.Entry[]> {
    let calledAt = 0
    const begin = (): Sending => {
      calledAt = this.#options.now()
      return unrecorded(nfs.readdirplus(handle))
    }
    const answer = await caller.ask(begin, through)
    if (answer === undefined) return []
    const { status, entries = [] } = answer
    const answeredAt = this.#options.now()
    if (new Set(entries.map(({ name }) => name)).size < entries.length)
      throw new InvariantViolation(
        'I2',
        `a listing of ${id} has a name twice: ${entries.map(({ name }) => name).join()}`,
      )
    const look = (name: string, told: Told): void =>
      void story.operations.push({
        doing: { kind: 'lookup', in: id, name },
        by: `${caller.name}, listing`,
        calledAt,
        answeredAt,
        told,
      })
    if (status !== 'OK') look(names[0], { status })
    else
      for (const name of names) {
        const entry = entries.find((one) => one.name === name)
        look(
          name,
          entry === undefined ? { status: 'NOENT' } : { status, id: entry.id, ...shownOf(entry.seen) },
        )
      }
    for (const entry of entries)
      if (entry.handle !== undefined)
        this.#learn(story, entry.seen?.type === 'directory', { id: entry.id, handle: entry.handle })
    return entries
  }

  #directory(story: TreeStory, chance: SeededChance): Known {
    return story.directories.length === 0 || chance.happens(0.6)
      ? story.root
      : oneOf(chance, story.directories)
  }

  #learn(story: TreeStory, isDirectory: boolean, known: Known): void {
    const list = isDirectory ? story.directories : story.files
    if (list.some(({ id }) => id === known.id)) return
    list.push(known)
    if (list.length > knownMax) list.shift()
  }
}

const unrecorded = (call: nfs.NfsCall): Sending => ({ call, answered: () => undefined })

const knownOf = ({ handle, seen }: nfs.Answer): Known => ({ id: seen!.id, handle: handle! })

const shownOf = (seen: nfs.Seen | undefined): Omit<Told, 'status'> =>
  seen === undefined ? {} : { isDirectory: seen.type === 'directory', ...timeOf(seen) }

/** Those that clients set are small. */
const timeOf = ({ type, modifySeconds }: nfs.Seen): { time?: number } =>
  type === 'file' ? { time: modifySeconds } : {}

function toldOf({ status, seen }: nfs.Answer, { kind }: Doing): Told {
  if (status !== 'OK' || seen === undefined) return { status }
  const isOfName = kind === 'create' || kind === 'mkdir' || kind === 'lookup' || kind === 'getattr'
  // What a change has answered was seen a moment after it.
  const shown = kind === 'lookup' || kind === 'getattr' ? shownOf(seen) : {}
  return { status, ...(isOfName ? { id: seen.id } : {}), ...shown }
}

function drawDoing(chance: SeededChance): (typeof doings)[number][0] {
  let draw = chance.below(100)
  return doings.find(([, share]) => (draw -= share) < 0)![0]
}

const oneOf = <T>(chance: SeededChance, of: readonly T[]): T => of[chance.below(of.length)]
