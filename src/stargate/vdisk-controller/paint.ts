/** Puts a page's fragments over its base. */
import { assert } from '../../base/assert.ts'
import type { Fragment } from './log-index.ts'

/** `fragments` oldest first. Extent fragments are whole pages and were fetched as the base: they don't come here. */
export function paint(page: Buffer, fragments: readonly Fragment[]): void {
  for (const { from, to, source } of fragments) {
    assert(source.kind !== 'extent', 'a page of an extent is a base, not paint')
    if (source.kind === 'zero') page.fill(0, from, to)
    else source.bytes.copy(page, from, source.at, source.at + to - from)
  }
}
