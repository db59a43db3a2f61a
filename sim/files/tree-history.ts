/**
 * Judges what several clients did to one tree: is there an order of all that, each thing at one instant between its call and its answer, in
 * which every answer is right (tree-model.ts)? What has no answer may have been done at any instant from its call on, or never.
 *
 * The search is Wing and Gong's ("Testing and Verifying Concurrent Objects", 1993) with states seen before left out (Lowe, "Testing for
 * Linearizability", 2017): a look that may come next comes next, for it harms none of the others. Trees are few operations long, so that it
 * ends; where it does not within `visitsMax` states, nothing is said.
 */
import { after, type Doing, type Id, type Told, Tree } from './tree-model.ts'

export interface TreeOperation {
  readonly doing: Doing
  readonly by: string
  readonly calledAt: number
  answeredAt?: number
  told?: Told
}

export type Judgement =
  | { readonly verdict: 'possible' | 'undecided' }
  /** `stuck`: what no order gets beyond, of the one that gets furthest. */
  | { readonly verdict: 'impossible'; readonly stuck: readonly TreeOperation[]; readonly state: Tree }

const visitsMax = 50_000

export function judgeTree(root: Id, history: readonly TreeOperation[]): Judgement {
  return new Search(history).judge(Tree.empty(root))
}

class Search {
  /** By their calls. */
  readonly #operations: readonly TreeOperation[]
  readonly #seen = new Set<string>()
  #furthest = { left: Infinity, stuck: [] as readonly TreeOperation[], state: Tree.empty('') }

  constructor(history: readonly TreeOperation[]) {
    this.#operations = [...history].sort((a, b) => a.calledAt - b.calledAt)
  }

  judge(empty: Tree): Judgement {
    const all = this.#operations.map((_, i) => i)
    if (this.#isPossible(all, empty)) return { verdict: 'possible' }
    if (this.#seen.size >= visitsMax) return { verdict: 'undecided' }
    const { stuck, state } = this.#furthest
    return { verdict: 'impossible', stuck, state }
  }

  /** `left`: what has no place in the order yet. */
  #isPossible(left: readonly number[], tree: Tree): boolean {
    const rest = this.#withoutLooks(left, tree)
    const firstAnswer = this.#firstAnswer(rest)
    if (firstAnswer === Infinity) return true
    const key = `${rest.join()} ${tree.key}`
    if (this.#seen.has(key) || this.#seen.size >= visitsMax) return false
    this.#seen.add(key)
    const next = rest.filter((i) => this.#operations[i].calledAt <= firstAnswer)
    const answered = rest.filter((i) => this.#operations[i].answeredAt !== undefined).length
    if (answered < this.#furthest.left)
      this.#furthest = { left: answered, stuck: next.map((i) => this.#operations[i]), state: tree }
    // What has an answer first: what has none mostly was not done.
    next.sort((a, b) => this.#answerOf(a) - this.#answerOf(b))
    for (const i of next) {
      const then = this.#after(i, tree)
      if (then === undefined || (then === tree && this.#answerOf(i) === Infinity)) continue
      if (
        this.#isPossible(
          rest.filter((each) => each !== i),
          then,
        )
      )
        return true
    }
    return false
  }

  #withoutLooks(left: readonly number[], tree: Tree): readonly number[] {
    for (;;) {
      const firstAnswer = this.#firstAnswer(left)
      const rest = left.filter((i) => {
        const operation = this.#operations[i]
        return operation.calledAt > firstAnswer || !isLook(operation) || this.#after(i, tree) !== tree
      })
      if (rest.length === left.length) return rest
      left = rest
    }
  }

  #after(i: number, tree: Tree): Tree | undefined {
    const { doing, told } = this.#operations[i]
    return after(tree, doing, told, `?${i}`)
  }

  #answerOf(i: number): number {
    return this.#operations[i].answeredAt ?? Infinity
  }

  #firstAnswer(left: readonly number[]): number {
    let first = Infinity
    for (const i of left) first = Math.min(first, this.#answerOf(i))
    return first
  }
}

/** It changes nothing, whenever it was. A rename may be one between two names of one file, and a change a moment later. */
const isLook = ({ doing, told }: TreeOperation): boolean =>
  told !== undefined && (told.status !== 'OK' || doing.kind === 'lookup' || doing.kind === 'getattr')

export function describeOperation({ doing, by, calledAt, answeredAt, told }: TreeOperation): string {
  const { kind, ...what } = doing
  const values: readonly (string | number | { readonly verifier: string })[] = Object.values(what)
  const said = values.map((each) => (typeof each === 'object' ? each.verifier : each)).join(' ')
  const answer = told === undefined ? 'no answer' : Object.values(told).join(' ')
  return `  ${calledAt.toFixed(4)} to ${answeredAt?.toFixed(4) ?? '–'} ${by}: ${kind} ${said}: ${answer}`
}
