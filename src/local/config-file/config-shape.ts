/**
 * Shapes of a YAML file that a person writes: reading one finds every mistake at once, each with its place.
 *
 * All scalars are read as the text that stands there (YAML's "failsafe" schema), and only the shape says what it means: else an id of
 * sixteen digits would be a number, and `no` a boolean.
 */
import { isAlias, isMap, isScalar, isSeq, type ParsedNode, type YAMLMap } from 'yaml'

/** Keys and places in lists, from the file's top. */
export type Path = readonly (string | number)[]

/** Says what is wrong with what stands at a node; `undefined`: the node is empty, and what is above it is meant. */
export type Report = (node: ParsedNode | null | undefined, message: string) => void

/** What may stand in one place. `hint` completes "it should be …". */
export interface Shape<T> {
  readonly hint: string
  /** `undefined` where it reported that nothing can be made of it. A section or list with wrong parts lacks those alone. */
  readonly read: (node: ParsedNode | null, path: Path, report: Report) => T | undefined
}

export interface Field<T, Needed extends boolean> {
  readonly shape: Shape<T>
  readonly isNeeded: Needed
}
type Fields = Readonly<Record<string, Field<unknown, boolean>>>
type Section<F extends Fields> = {
  readonly [K in keyof F]: F[K] extends Field<infer T, infer N> ? (N extends true ? T : T | undefined) : never
}
export type Read<S> = S extends Shape<infer T> ? T : never

/** As far as it could be read. */
export type Draft<T> = T extends string | number | undefined
  ? T | undefined
  : T extends readonly (infer Item)[]
    ? readonly Draft<Item>[] | undefined
    : { readonly [K in keyof T]?: Draft<T[K]> } | undefined

export const needed = <T>(shape: Shape<T>): Field<T, true> => ({ shape, isNeeded: true })
export const optional = <T>(shape: Shape<T>): Field<T, false> => ({ shape, isNeeded: false })

/** Of the keys that are there: a sentence that follows the section's name and a colon, where they don't go together. */
export type Rule = (has: (key: string) => boolean) => string | undefined

export const exactlyOneOf =
  (...keys: readonly string[]): Rule =>
  (has) => {
    const there = keys.filter(has)
    if (there.length === 1) return undefined
    return `exactly one of ${keys.join(' and ')} should be there, and ${there.length === 0 ? 'none is' : `it has ${there.join(' and ')}`}`
  }

export const bothOrNeither =
  (one: string, other: string): Rule =>
  (has) => {
    if (has(one) === has(other)) return undefined
    return has(one) ? `${one} is there without ${other}` : `${other} is there without ${one}`
  }

/** `parse`: `undefined` for what does not fit the hint. */
export const text = <T>(hint: string, parse: (text: string) => T | undefined): Shape<T> => ({
  hint,
  read(node, path, report) {
    if (!isScalar<string>(node) || node.value === '') {
      report(node, `${nameOf(path)} ${standing(node)}: it should be ${hint}`)
      return undefined
    }
    const value = parse(node.value)
    if (value === undefined)
      report(node, `${nameOf(path)} is ${JSON.stringify(node.value)}: it should be ${hint}`)
    return value
  },
})

export const list = <T>(item: Shape<T>, most: number, hint: string): Shape<readonly T[]> => ({
  hint,
  read(node, path, report) {
    if (!isSeq<ParsedNode>(node) || node.items.length === 0 || node.items.length > most) {
      const found = isSeq(node) ? `has ${node.items.length} entries` : standing(node)
      report(node, `${nameOf(path)} ${found}: it should be ${hint}`)
      if (!isSeq(node)) return undefined
    }
    // What can't be read keeps its place.
    return node.items
      .slice(0, most)
      .map(
        (one, at) => item.read(one, [...path, at], (place, message) => report(place ?? node, message)) as T,
      )
  },
})

export const section = <F extends Fields>(fields: F, ...rules: readonly Rule[]): Shape<Section<F>> => ({
  hint: `keys and values: ${Object.keys(fields).join(', ')}`,
  read(node, path, report) {
    if (!isMap<ParsedNode, ParsedNode | null>(node)) {
      report(node, `${nameOf(path)} ${standing(node)}: it should be ${this.hint}`)
      return undefined
    }
    reportUnknown(node, fields, path, report)
    const read: Record<string, unknown> = {}
    for (const [key, { shape, isNeeded }] of Object.entries(fields)) {
      const pair = node.items.find((one) => keyOf(one.key) === key)
      const below = [...path, key]
      if (pair !== undefined)
        read[key] = shape.read(pair.value, below, (at, message) => report(at ?? pair.key, message))
      else if (isNeeded) report(node, `${nameOf(below)} is missing: it should be ${shape.hint}`)
    }
    const has = (key: string): boolean => node.items.some((one) => keyOf(one.key) === key)
    for (const rule of rules) {
      const broken = rule(has)
      if (broken !== undefined) report(node, `${nameOf(path)}: ${broken}`)
    }
    return read as Section<F>
  },
})

const keyOf = (key: unknown): string | undefined =>
  isScalar(key) && typeof key.value === 'string' ? key.value : undefined

/** As a person finds it: `disks[0].path`. */
function nameOf(path: Path): string {
  const name = path.map((part) => (typeof part === 'number' ? `[${part}]` : `.${part}`)).join('')
  return name === '' ? 'the file' : name.replace(/^\./, '')
}

function standing(node: ParsedNode | null): string {
  if (isMap(node)) return 'is a section'
  if (isSeq(node)) return 'is a list'
  if (isAlias(node)) return 'is a reference (*), which is not read here'
  return isScalar(node) && node.value !== '' ? 'is one value' : 'is empty'
}

function reportUnknown(
  node: YAMLMap<ParsedNode, ParsedNode | null>,
  fields: Fields,
  path: Path,
  report: Report,
): void {
  const known = Object.keys(fields)
  for (const { key } of node.items) {
    const name = keyOf(key)
    if (name !== undefined && known.includes(name)) continue
    const near = name === undefined ? undefined : nearest(name, known)
    const where = path.length === 0 ? 'here' : `in ${nameOf(path)}`
    const advice = near === undefined ? `there are ${known.join(', ')}` : `do you mean ${near}?`
    report(
      key,
      `${name === undefined ? 'such a key' : JSON.stringify(name)} is not known ${where}: ${advice}`,
    )
  }
}

/** Names that long are nobody's slip of the finger. */
const comparedMax = 40

function nearest(name: string, known: readonly string[]): string | undefined {
  if (name.length > comparedMax) return undefined
  const [best] = known
    .map((one) => ({ one, changes: changesBetween(name.toLowerCase(), one.toLowerCase()) }))
    .sort((a, b) => a.changes - b.changes)
  return best.changes <= Math.max(1, best.one.length / 3) ? best.one : undefined
}

/** Letters to be added, taken away or changed (Levenshtein's distance). */
function changesBetween(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, at) => at)
  for (const [at, letter] of [...from].entries()) {
    const next = [at + 1]
    for (let column = 1; column <= to.length; column++)
      next.push(
        Math.min(
          row[column] + 1,
          next[column - 1] + 1,
          row[column - 1] + (letter === to[column - 1] ? 0 : 1),
        ),
      )
    row = next
  }
  return row[to.length]
}
