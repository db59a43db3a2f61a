/**
 * A mark is a place in a rare branch of the source, by name. `at` is text that occurs once in the file, with a `¶` where the
 * count is put: `¶, ` before an expression, `¶; ` before a statement, ` && ¶` behind a condition, `{ ¶; STATEMENT }` where a
 * statement stands alone, `[¶ where CONDITION]; ` where only some passes count.
 */
import type { SourcePatch } from '../patches/source-patch.ts'

export interface Mark {
  readonly name: string
  /** Below `src/`. */
  readonly file: string
  readonly at: string
}

/** What is put in is gone again: the text as the source has it. */
export const findOf = (at: string): string =>
  at
    .replace(/\[¶ where [^\]]*\]; |; \[¶ where [^\]]*\]/g, '')
    .replace(/\{ ¶; ([^}]*) \}/g, '$1')
    .replace(/ && ¶|¶[,;] |; ¶/g, '')

export const patchOf = ({ file, at }: Mark, hit: string): SourcePatch => ({
  file: `src/${file}`,
  find: findOf(at),
  // `void` keeps the line before from taking the bracket for a call.
  replace: at.replace(/\[¶ where ([^\]]*)\]/g, `void (($1) && ${hit})`).replaceAll('¶', hit),
})
