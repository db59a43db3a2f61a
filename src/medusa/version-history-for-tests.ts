/**
 * What clients saw of one partition, and whether there is an order that explains it: a moment for each version at which it came to be, in between its
 * change's beginning and end, and such that whoever saw a version saw it while it stood. A change of unknown outcome may be made at any
 * time after it was sent, or never.
 */
import type { Static } from './medusa.ts'

export interface Span {
  readonly began: number
  readonly ended: number
}

export interface ChangeSeen extends Span {
  readonly id: string
  readonly expected: number
  readonly outcome: 'applied' | 'conflict' | 'unknown'
}

export interface VersionSeen extends Span {
  readonly static: Pick<Static, 'version' | 'changeId'>
}

/**
 * @param chain The id of the change that made each version, from version 1, as rows tell in the end.
 * @returns What is wrong, in sentences.
 */
export function wrongIn(
  chain: readonly string[],
  changes: readonly ChangeSeen[],
  seen: readonly VersionSeen[],
): readonly string[] {
  const byId = new Map(changes.map((change) => [change.id, change]))
  const wrong: string[] = []
  // When each version can have come to be, earliest and latest.
  const earliest: number[] = []
  const latest: number[] = []
  for (const [at, id] of chain.entries()) {
    const change = byId.get(id)
    if (change === undefined || change.expected !== at)
      wrong.push(`version ${at + 1} is of ${id}, which nobody asked to make it`)
    if (change?.outcome === 'conflict') wrong.push(`${id} was refused, and made version ${at + 1}`)
    earliest.push(change?.began ?? -Infinity)
    latest.push(change?.outcome === 'applied' ? change.ended : Infinity)
  }
  if (new Set(chain).size < chain.length) wrong.push('a change was made twice')
  for (const { id, expected, outcome } of changes)
    if (outcome === 'applied' && chain[expected] !== id)
      wrong.push(`${id} was acknowledged as version ${expected + 1}, and isn't`)
  for (const { static: present, began, ended } of seen) {
    const { version, changeId } = present
    if (changeId !== (chain[version - 1] ?? ''))
      wrong.push(
        `version ${version} was seen with ${changeId || 'no change'}, and is of ${chain[version - 1] ?? 'none'}`,
      )
    if (version > 0) latest[version - 1] = Math.min(latest[version - 1], ended)
    if (version < chain.length) earliest[version] = Math.max(earliest[version], began)
  }
  for (let at = 0, after = -Infinity; at < chain.length; at++) {
    after = Math.max(after, earliest[at])
    if (after > latest[at])
      wrong.push(
        `version ${at + 1} was seen, or acknowledged, before one that it follows stood for the last time`,
      )
  }
  return wrong
}
