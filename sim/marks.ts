/**
 * Named marks count how often rare branches of the source are hit in this process: a simulator that never meets a branch says
 * nothing of it. Nothing in `src/` knows of them, and in production they are not there.
 *
 * `installMarks` comes before anything of `src/` is imported; what it returns tells the counts at any time, zeros included.
 * Counting draws no chance and makes no event, so a run's hash is the same with and without.
 */
import { installPatches, type SourcePatch } from './patches/source-patch.ts'
import { dataMarks } from './marks/data-marks.ts'
import { type Mark, patchOf } from './marks/mark.ts'
import { oplogMarks } from './marks/oplog-marks.ts'
import { ownerMarks } from './marks/owner-marks.ts'

export const allMarks: readonly Mark[] = [...oplogMarks, ...ownerMarks, ...dataMarks]

const counter = '__ndfsMark'

/** What puts the marks in; each calls a counter with the mark's number. */
export const markPatches: readonly SourcePatch[] = allMarks.map((mark, i) =>
  patchOf(mark, `${counter}(${i})`),
)

export function installMarks(): () => ReadonlyMap<string, number> {
  const counts = new Float64Array(allMarks.length)
  // True, so that it may stand in a condition.
  const hit = (mark: number): boolean => {
    counts[mark]++
    return true
  }
  Object.defineProperty(globalThis, counter, { value: hit })
  installPatches(markPatches)
  return () => new Map(allMarks.map(({ name }, i) => [name, counts[i]]))
}
