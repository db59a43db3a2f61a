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
const operationsOfTree = 40
/** Within a tree, between two operations of one hand, at the most: they are to meet. Between trees hands rest. */
const burstPauseMs = 1.5
/** Those that hands use again. */
const knownMax = 3
/** Of what hands do, that which is about the name of something else that was begun last. */
const nearShare = 0.5
/** Of what they do, that which is done with something else of the same name at the very same time: one hand has two callers for it. */
const duelShare = 0.15

type Drawn = Doing['kind'] | 'list'

/** Of a hundred; trees are about files, or about directories. */
const doings: readonly (readonly (readonly [Drawn, number])[])[] = [
  [
    ['rename', 30],
    ['create', 17],
    ['lookup', 16],
    ['remove', 11],
    ['mkdir', 4],
    ['list', 6],
    ['link', 8],
    ['rmdir', 2],
    ['times', 3],
    ['getattr', 3],
  ],
  [
    ['rename', 26],
    ['mkdir', 22],
    ['create', 18],
    ['rmdir', 12],
    ['lookup', 8],
    ['list', 6],
    ['remove', 8],
  ],
]

interface Known {
  readonly id: string
  readonly handle: Buffer
}

interface Place {
  readonly in: string
  readonly name: string
}

interface TreeStory {
  readonly name: string
  readonly root: Known
  readonly directories: Known[]
  readonly files: Known[]
  /** Where directories were seen. */
  readonly placeOf: Map<string, Place>
  readonly operations: TreeOperation[]
  readonly names: readonly string[]
  readonly doings: readonly (readonly [Drawn, number])[]
  left: number
}

export interface TreeWorkOptions {
  readonly name: string
  /** Of the container. */
  readonly root: Buffer
  readonly callers: readonly NfsCaller[]
  /** As many. */
  readonly twins: readonly NfsCaller[]
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
    const { callers, twins, pauseMsMost } = this.#options
    const hand = async (caller: NfsCaller, number: number): Promise<void> => {
      while (!this.#stopping) {
        const story = this.#stories.at(-1)
        if (story === undefined || story.left <= 0) {
          await caller.pause(caller.chance.between(0, (pauseMsMost() * operationsOfTree) / callers.length))
          if (story !== this.#stories.at(-1)) continue
          await (this.#making ??= this.#make(caller).finally(() => (this.#making = undefined)))
        } else {
          story.left--
          await this.#act(story, caller, twins[number])
          await caller.pause(caller.chance.between(0, burstPauseMs))
        }
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
    this.#stories.push({
      ...{
        name,
        root,
        directories: [],
        files: [],
        placeOf: new Map<string, Place>(),
        operations: [],
        left: operationsOfTree,
      },
      names: names.slice(0, 2 + caller.chance.below(2)),
      doings: oneOf(caller.chance, doings),
    })
  }

  async #act(story: TreeStory, caller: NfsCaller, twin: NfsCaller): Promise<void> {
    const { chance } = caller
    const near = chance.happens(nearShare) ? nearOf(story.operations.at(-1)?.doing) : undefined
    const drawn = this.#draw(story, chance, near)
    if (drawn === undefined) return
    if (drawn === 'list') {
      await this.#list(story, this.#directory(story, chance), caller)
      return
    }
    const both = [this.#do(story, caller, drawn)]
    if (chance.happens(duelShare)) {
      const [near, kind] = duelWith(story, drawn.doing, chance)
      const other = this.#draw(story, chance, near, kind)
      if (typeof other === 'object') both.push(this.#do(story, twin, other))
    }
    await Promise.all(both)
  }

  /** Undefined: there is nothing to do it with. */
  #draw(
    story: TreeStory,
    chance: SeededChance,
    near: Near | undefined,
    kind = drawDoing(chance, story.doings),
  ): { readonly doing: Doing; readonly call: nfs.NfsCall } | 'list' | undefined {
    const at = (near && knownAs(story, near.in)) ?? this.#directory(story, chance)
    const name = near?.name ?? oneOf(chance, story.names)
    const place = { in: at.id, name }
    const file = story.files.length > 0 ? oneOf(chance, story.files) : undefined
    switch (kind) {
      case 'create': {
        const mode = oneOf(chance, ['unchecked', 'guarded', 'exclusive'] as const)
        const verifier = chance.bytes(8)
        const how = mode === 'exclusive' ? { verifier: verifier.toString('hex') } : mode
        const call = nfs.create(at.handle, name, mode === 'exclusive' ? { verifier } : { mode })
        return { doing: { kind, ...place, how }, call }
      }
      case 'mkdir':
      case 'lookup':
      case 'remove':
        return { doing: { kind, ...place }, call: nfs[kind](at.handle, name) }
      case 'rmdir': {
        const seen = [...story.placeOf.values()].at(-1)
        const where = seen === undefined ? undefined : knownAs(story, seen.in)
        if (seen === undefined || where === undefined || chance.happens(0.3))
          return { doing: { kind, ...place }, call: nfs.rmdir(at.handle, name) }
        return { doing: { kind, ...seen }, call: nfs.rmdir(where.handle, seen.name) }
      }
      case 'rename': {
        const to = (near?.back && knownAs(story, near.back.in)) ?? this.#directory(story, chance)
        const as = near?.back?.name ?? oneOf(chance, story.names)
        return { doing: { kind, ...place, to: to.id, as }, call: nfs.rename(at.handle, name, to.handle, as) }
      }
      case 'link':
        if (file === undefined) return undefined
        return { doing: { kind, id: file.id, ...place }, call: nfs.link(file.handle, at.handle, name) }
      case 'times': {
        if (file === undefined) return undefined
        const time = ++this.#times
        return { doing: { kind, id: file.id, time }, call: nfs.setattr(file.handle, { modifySeconds: time }) }
      }
      case 'getattr':
        if (file === undefined) return undefined
        return { doing: { kind, id: file.id }, call: nfs.getattr(file.handle) }
      case 'list':
        return kind
      default:
        return kind satisfies never
    }
  }

  async #do(
    story: TreeStory,
    caller: NfsCaller,
    { doing, call }: { readonly doing: Doing; readonly call: nfs.NfsCall },
  ): Promise<void> {
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
    const isDirectory = answer.seen.type === 'directory'
    if (isDirectory && 'name' in doing) see(story, answer.seen.id, { in: doing.in, name: doing.name })
    this.#learn(story, isDirectory, knownOf(answer))
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
    if (status !== 'OK') look(story.names[0], { status })
    else
      for (const name of story.names) {
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

function drawDoing(chance: SeededChance, from: TreeStory['doings']): Drawn {
  let draw = chance.below(100)
  return from.find(([, share]) => (draw -= share) < 0)![0]
}

interface Near extends Place {
  /** For a rename the other way round. */
  readonly back?: Place
}

/** The newest last. */
function see({ placeOf }: TreeStory, id: string, place: Place): void {
  placeOf.delete(id)
  placeOf.set(id, place)
}

/** What is done at the very same time: the other way round, a look, or something in the directory that is taken away. */
function duelWith(
  { placeOf, names: of }: TreeStory,
  doing: Doing,
  chance: SeededChance,
): [Near | undefined, Drawn | undefined] {
  const near = nearOf(doing)
  const draw = chance.below(10)
  if (doing.kind === 'rename' && draw < 8) return [near, draw < 5 ? 'rename' : 'lookup']
  const inside = [...placeOf].find(([, { in: at, name }]) => at === near?.in && name === near.name)?.[0]
  if (doing.kind === 'rmdir' && inside !== undefined && draw < 8)
    return [{ in: inside, name: oneOf(chance, of) }, draw < 4 ? 'create' : 'mkdir']
  return [near, undefined]
}

/** The name that something is about: of a rename, the new one. */
function nearOf(doing: Doing | undefined): Near | undefined {
  if (doing === undefined || !('in' in doing)) return undefined
  if (doing.kind !== 'rename') return doing
  return { in: doing.to, name: doing.as, back: doing }
}

const knownAs = ({ root, directories }: TreeStory, id: string): Known | undefined =>
  [root, ...directories].find((each) => each.id === id)

const oneOf = <T>(chance: SeededChance, of: readonly T[]): T => of[chance.below(of.length)]
