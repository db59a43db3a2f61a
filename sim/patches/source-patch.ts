/**
 * A source patch changes a few words of one file of `src/` while its module loads, in this process alone. Nothing in `src/`
 * knows of it: the bugs that the simulator must find (planted/) and the counters of rare branches (marks/) are made this way.
 *
 *  1. `find` occurs exactly once in the file as it is; a patch that no longer applies is an error that says so.
 *  2. A patch keeps the number of lines, so that stack traces stay right.
 *  3. It must be installed before the module is loaded; `applied` throws where it never was.
 *
 * The text is changed before types are stripped, so a patch may be written as the source is.
 */
import { readFileSync } from 'node:fs'
import { registerHooks } from 'node:module'

export interface SourcePatch {
  /** From the root of the project: `src/…`. */
  readonly file: string
  readonly find: string
  readonly replace: string
}

const root = new URL('../../', import.meta.url)

/** The file's text with all of these patches; throws where one does not apply. Patches of other files are passed over. */
export function patchedSource(file: string, source: string, patches: readonly SourcePatch[]): string {
  const found = patches
    .filter((patch) => patch.file === file)
    .map((patch) => ({ patch, at: placeOf(patch, source) }))
    .sort((a, b) => a.at - b.at)
  let text = ''
  let end = 0
  for (const { patch, at } of found) {
    if (at < end)
      throw new Error(`Two patches of ${file} change the same words: ${JSON.stringify(patch.find)}`)
    text += source.slice(end, at) + patch.replace
    end = at + patch.find.length
  }
  return text + source.slice(end)
}

function placeOf({ file, find, replace }: SourcePatch, source: string): number {
  const at = source.indexOf(find)
  if (find === '' || at < 0)
    throw new Error(`A patch of ${file} does not apply: it has no ${JSON.stringify(find)}`)
  if (source.indexOf(find, at + 1) >= 0)
    throw new Error(`A patch of ${file} is not clear: ${JSON.stringify(find)} is there more than once`)
  if (linesIn(find) !== linesIn(replace))
    throw new Error(`A patch of ${file} changes the number of lines: ${JSON.stringify(find)}`)
  return at
}

const linesIn = (text: string): number => text.split('\n').length

/** What is wrong with these patches against the source as it is, one line each. */
export function findPatchFaults(patches: readonly SourcePatch[]): string[] {
  const faults: string[] = []
  const sources = new Map<string, string>()
  for (const patch of patches)
    try {
      let source = sources.get(patch.file)
      if (source === undefined)
        sources.set(patch.file, (source = readFileSync(new URL(patch.file, root), 'utf8')))
      placeOf(patch, source)
    } catch (error) {
      faults.push(error instanceof Error ? error.message : String(error))
    }
  return faults
}

/** Patches every module that is loaded from now on. Call `applied` when all are loaded. */
export function installPatches(patches: readonly SourcePatch[]): { applied(): void } {
  if (typeof registerHooks !== 'function')
    throw new Error('Source patches need a Node.js with module.registerHooks: 22.15 or newer')
  const byUrl = new Map(patches.map(({ file }) => [new URL(file, root).href, file]))
  const missing = new Set(byUrl.values())
  registerHooks({
    load(url, context, nextLoad) {
      const loaded = nextLoad(url, context)
      const file = byUrl.get(url)
      if (file === undefined) return loaded
      missing.delete(file)
      const { source } = loaded
      if (source === undefined || source === null) throw new Error(`The source of ${file} can not be patched`)
      const text = typeof source === 'string' ? source : Buffer.from(source as Uint8Array).toString()
      return { ...loaded, source: patchedSource(file, text, patches) }
    },
  })
  return {
    applied() {
      if (missing.size > 0)
        throw new Error(
          `Patched files were never loaded, or before they could be: ${[...missing].join(', ')}`,
        )
    },
  }
}
