/**
 * What a small tree of files and directories is to its clients: a state, and the states and answers that may follow from it.
 *
 *  1. What was done is told strictly: an answer of OK belongs to one instant at which all of it was so.
 *  2. An error tells of one thing at one instant: that a name is missing, or taken, or that of another kind. Not that nothing else was wrong.
 *  3. What a rename has replaced may be met by its handle for a while: if the renaming node dies at that, until somebody else meets the name
 *     (docs/nfs.md, "What a crash leaves"). So for what was replaced OK is as right as STALE where only the handle is asked, and a directory
 *     that was replaced may look empty.
 *
 * States are values: what changes one makes another.
 */
import type { Nfs3Status } from '../../src/stargate/front-end-adapter/nfs/nfs3-types.ts'

/** A file id; or `?N`, of what a call without an answer may have made: it is known when it is seen. */
export type Id = string

export type Doing =
  | {
      readonly kind: 'create'
      readonly in: Id
      readonly name: string
      readonly how: 'unchecked' | 'guarded' | { readonly verifier: string }
    }
  | { readonly kind: 'mkdir' | 'remove' | 'rmdir' | 'lookup'; readonly in: Id; readonly name: string }
  | {
      readonly kind: 'rename'
      readonly in: Id
      readonly name: string
      readonly to: Id
      readonly as: string
    }
  | { readonly kind: 'link'; readonly id: Id; readonly in: Id; readonly name: string }
  | { readonly kind: 'times'; readonly id: Id; readonly time: number }
  | { readonly kind: 'getattr'; readonly id: Id }

export interface Told {
  readonly status: Nfs3Status
  readonly id?: Id
  readonly isDirectory?: boolean
  readonly time?: number
}

type Names = ReadonlyMap<string, Id>

export class Tree {
  readonly directories: ReadonlyMap<Id, Names>
  readonly gone: ReadonlyMap<Id, 'removed' | 'replaced'>
  /** Of exclusive creations, until attributes are set. */
  readonly verifiers: ReadonlyMap<Id, string>
  /** As clients have set them. */
  readonly times: ReadonlyMap<Id, number>
  #key: string | undefined

  constructor({
    directories,
    gone = new Map(),
    verifiers = new Map(),
    times = new Map(),
  }: Partial<Tree> & Pick<Tree, 'directories'>) {
    this.directories = directories
    this.gone = gone
    this.verifiers = verifiers
    this.times = times
  }

  static empty(root: Id): Tree {
    return new Tree({ directories: new Map([[root, new Map()]]) })
  }

  /** The same for equal states. */
  get key(): string {
    const listed = <T>(map: ReadonlyMap<string, T>, text: (value: T) => string): string =>
      [...map]
        .map(([name, value]) => `${name}:${text(value)}`)
        .sort()
        .join()
    this.#key ??= [
      listed(this.directories, (names) => `{${listed(names, String)}}`),
      listed(this.gone, String),
      listed(this.verifiers, String),
      listed(this.times, String),
    ].join('|')
    return this.#key
  }

  at(directory: Id, name: string): Id | undefined {
    return this.directories.get(directory)?.get(name)
  }

  isDirectory(id: Id): boolean {
    return this.directories.has(id)
  }

  /** It has a name, or is a directory that has one. */
  isThere(id: Id): boolean {
    if (this.isDirectory(id)) return true
    for (const names of this.directories.values())
      for (const each of names.values()) if (each === id) return true
    return false
  }

  isKnown(id: Id): boolean {
    return this.gone.has(id) || this.isThere(id)
  }

  with(change: Partial<Tree>): Tree {
    const { directories, gone, verifiers, times } = this
    return new Tree({ directories, gone, verifiers, times, ...change })
  }

  put(directory: Id, name: string, id: Id): Tree {
    return this.with({ directories: this.#withName(directory, name, id) })
  }

  /** Without the name; a file that has no other is gone, and a directory. */
  take(directory: Id, name: string, as: 'removed' | 'replaced'): Tree {
    const id = this.at(directory, name)!
    const directories = this.#withName(directory, name, undefined)
    directories.delete(id)
    const left = this.with({ directories })
    return left.isThere(id) ? left : left.with({ gone: new Map(this.gone).set(id, as) })
  }

  /** Now it is seen under which id a call without an answer has made something. */
  named(unknown: Id, id: Id): Tree {
    const swap = (each: Id): Id => (each === unknown ? id : each)
    const swapKeys = <T>(map: ReadonlyMap<Id, T>): Map<Id, T> =>
      new Map([...map].map(([each, value]) => [swap(each), value]))
    const directories = [...swapKeys(this.directories)].map(
      ([each, names]) => [each, new Map([...names].map(([name, one]) => [name, swap(one)]))] as const,
    )
    return new Tree({
      directories: new Map(directories),
      gone: swapKeys(this.gone),
      verifiers: swapKeys(this.verifiers),
      times: swapKeys(this.times),
    })
  }

  /** The directory itself, or it holds that one. */
  holds(directory: Id, inside: Id): boolean {
    if (directory === inside) return true
    const names = this.directories.get(directory)
    return (
      names !== undefined &&
      [...names.values()].some((each) => this.isDirectory(each) && this.holds(each, inside))
    )
  }

  #withName(directory: Id, name: string, id: Id | undefined): Map<Id, Names> {
    const names = new Map(this.directories.get(directory))
    if (id === undefined) names.delete(name)
    else names.set(name, id)
    return new Map(this.directories).set(directory, names)
  }
}

/**
 * The state after something was done at one instant, with that answer; the very same one where nothing was changed. Undefined: it can't have
 * been so. Without an answer: as it goes well; under `made` where it makes something.
 */
export function after(tree: Tree, doing: Doing, told: Told | undefined, made: Id): Tree | undefined {
  if (told === undefined) return afterDone(tree, doing, { status: 'OK' }, made)
  if (told.status === 'OK') return afterDone(tree, doing, told, told.id ?? made)
  return mayBeRefused(tree, doing, told.status) ? tree : undefined
}

function afterDone(tree: Tree, doing: Doing, told: Told, made: Id): Tree | undefined {
  switch (doing.kind) {
    case 'create': {
      const there = tree.at(doing.in, doing.name)
      if (there === undefined) return madeAnew(tree, doing, made)
      if (tree.isDirectory(there) || !takes(tree, there, doing.how)) return undefined
      return seen(tree, there, told)
    }
    case 'mkdir':
      return tree.at(doing.in, doing.name) === undefined ? madeAnew(tree, doing, made) : undefined
    case 'lookup': {
      const there = tree.at(doing.in, doing.name)
      return there === undefined ? undefined : seen(tree, there, told)
    }
    case 'remove': {
      const there = tree.at(doing.in, doing.name)
      if (there === undefined || tree.isDirectory(there)) return undefined
      return tree.take(doing.in, doing.name, 'removed')
    }
    case 'rmdir': {
      const there = tree.at(doing.in, doing.name)
      if (there === undefined || tree.directories.get(there)?.size !== 0) return undefined
      return tree.take(doing.in, doing.name, 'removed')
    }
    case 'rename':
      return renamed(tree, doing)
    case 'link': {
      if (!tree.directories.has(doing.in) || tree.at(doing.in, doing.name) !== undefined) return undefined
      if (!isMet(tree, doing.id)) return undefined
      const gone = new Map(tree.gone)
      gone.delete(doing.id)
      return tree.with({ gone }).put(doing.in, doing.name, doing.id)
    }
    case 'times': {
      if (!tree.isThere(doing.id)) return isMet(tree, doing.id) ? tree : undefined
      const verifiers = new Map(tree.verifiers)
      verifiers.delete(doing.id)
      return tree.with({ verifiers, times: new Map(tree.times).set(doing.id, doing.time) })
    }
    case 'getattr': {
      if (!tree.isThere(doing.id)) return isMet(tree, doing.id) ? tree : undefined
      return seen(tree, doing.id, told)
    }
    default:
      return doing satisfies never
  }
}

function madeAnew(
  tree: Tree,
  doing: Extract<Doing, { kind: 'create' | 'mkdir' | 'remove' | 'rmdir' | 'lookup' }>,
  id: Id,
): Tree | undefined {
  if (!tree.directories.has(doing.in) || tree.isKnown(id)) return undefined
  const next = tree.put(doing.in, doing.name, id)
  if (doing.kind !== 'create') return next.with({ directories: new Map(next.directories).set(id, new Map()) })
  if (typeof doing.how !== 'object') return next
  return next.with({ verifiers: new Map(next.verifiers).set(id, doing.how.verifier) })
}

/** Whether a creation takes the file that is there. */
function takes(tree: Tree, there: Id, how: Extract<Doing, { kind: 'create' }>['how']): boolean {
  if (typeof how === 'object') return tree.verifiers.get(there) === how.verifier
  return how === 'unchecked'
}

/** What has the name, or the handle, is told as this. */
function seen(tree: Tree, there: Id, { id = there, isDirectory, time }: Told): Tree | undefined {
  if (isDirectory !== undefined && isDirectory !== tree.isDirectory(there)) return undefined
  const set = tree.times.get(there)
  if (time !== undefined && set !== undefined && time !== set) return undefined
  if (id === there) return tree
  return there.startsWith('?') && !tree.isKnown(id) ? tree.named(there, id) : undefined
}

function renamed(
  tree: Tree,
  { in: from, name, to, as }: Extract<Doing, { kind: 'rename' }>,
): Tree | undefined {
  const source = tree.at(from, name)
  if (source === undefined || !tree.directories.has(to)) return undefined
  const target = tree.at(to, as)
  if (target === source) return tree
  if (tree.isDirectory(source) && tree.holds(source, to)) return undefined
  const without = new Map(tree.directories)
  without.set(from, new Map([...without.get(from)!].filter(([each]) => each !== name)))
  if (target === undefined) return tree.with({ directories: without }).put(to, as, source)
  if (tree.isDirectory(source) !== tree.isDirectory(target)) return undefined
  if ((tree.directories.get(target)?.size ?? 0) > 0) return undefined
  return tree.with({ directories: without }).take(to, as, 'replaced').put(to, as, source)
}

/** By its handle. */
const isMet = (tree: Tree, id: Id): boolean => tree.isThere(id) || tree.gone.get(id) === 'replaced'

function mayBeRefused(tree: Tree, doing: Doing, status: Nfs3Status): boolean {
  const into = doing.kind === 'rename' ? doing.to : 'in' in doing ? doing.in : undefined
  const target =
    doing.kind === 'rename'
      ? tree.at(doing.to, doing.as)
      : 'in' in doing
        ? tree.at(doing.in, doing.name)
        : undefined
  switch (status) {
    case 'STALE':
      return (
        ('in' in doing && tree.gone.has(doing.in)) ||
        (into !== undefined && tree.gone.has(into)) ||
        ('id' in doing && tree.gone.has(doing.id))
      )
    case 'NOENT': {
      if (!('in' in doing) || !['lookup', 'remove', 'rmdir', 'rename'].includes(doing.kind)) return false
      const names = tree.directories.get(doing.in)
      return names === undefined ? tree.gone.get(doing.in) === 'replaced' : !names.has(doing.name)
    }
    case 'EXIST':
      if (target === undefined) return false
      if (doing.kind === 'create') return tree.isDirectory(target) || !takes(tree, target, doing.how)
      return doing.kind === 'mkdir' || doing.kind === 'link'
    case 'NOTDIR':
      return (
        (doing.kind === 'rmdir' || doing.kind === 'rename') &&
        target !== undefined &&
        !tree.isDirectory(target)
      )
    case 'ISDIR':
      return (
        (doing.kind === 'remove' || doing.kind === 'rename') &&
        target !== undefined &&
        tree.isDirectory(target)
      )
    case 'NOTEMPTY':
      return (
        (doing.kind === 'rmdir' || doing.kind === 'rename') &&
        target !== undefined &&
        (tree.directories.get(target)?.size ?? 0) > 0
      )
    case 'INVAL': {
      const source = doing.kind === 'rename' ? tree.at(doing.in, doing.name) : undefined
      return doing.kind === 'rename' && source !== undefined && tree.holds(source, doing.to)
    }
    default:
      return false
  }
}
