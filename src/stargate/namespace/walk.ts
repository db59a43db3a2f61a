/**
 * A walk through the directories of a container, from the root, each before those in it. It holds one page of subdirectories for each
 * directory on the way from the root to where it is.
 *
 * What changes meanwhile is seen as it was or as it is; a directory that goes elsewhere may be passed by, or met twice.
 */
import { entriesBegin, entriesEnd } from './cookies.ts'
import { type InodeId, isDirectoryId } from './namespace.ts'
import { findRow, type Parts, soundly } from './parts.ts'
import { decodeEntry, lists, partitionOf } from './rows.ts'

/** A directory where it was met. */
export interface Walked {
  readonly id: InodeId
  /** Of the root: none. */
  readonly at?: { readonly parent: Walked; readonly name: Buffer }
}

const pageRows = 64
/** Deeper ones are told, not entered: nobody's paths are so long. */
export const depthMax = 4096

interface Frame {
  readonly here: Walked
  /** Behind which entry the next page begins; undefined: there is none. */
  after: string | undefined
  page: Walked[]
}

/** `tooDeep`: told of the directories that it does not enter. */
export async function* walkDirectories(
  parts: Pick<Parts, 'medusa' | 'root'>,
  tooDeep: (directory: Walked) => void,
): AsyncGenerator<Walked> {
  const frameOf = (here: Walked): Frame => ({ here, after: entriesBegin, page: [] })
  const root: Walked = { id: parts.root }
  yield root
  for (const way = [frameOf(root)]; way.length > 0;) {
    const last = way[way.length - 1]
    const next = last.page.shift()
    if (next === undefined) {
      if (last.after === undefined) way.pop()
      else await turnPage(parts, last)
    } else if (await isThere(parts, next)) {
      if (way.length < depthMax) {
        yield next
        way.push(frameOf(next))
      } else tooDeep(next)
    }
  }
}

/** Still where it was met: else it is gone, or is met elsewhere. */
async function isThere(parts: Pick<Parts, 'medusa'>, { id, at }: Walked): Promise<boolean> {
  const found = await findRow(parts, id)
  return found.state === 'found' && lists(found.row, at!.parent.id, at!.name)
}

async function turnPage(parts: Pick<Parts, 'medusa'>, frame: Frame): Promise<void> {
  const { here: parent } = frame
  const { rows } = await parts.medusa.scan(partitionOf(parent.id), {
    after: frame.after,
    before: entriesEnd,
    limit: pageRows,
  })
  frame.after = rows.length < pageRows ? undefined : rows[rows.length - 1].key
  for (const { value } of rows) {
    const read = soundly(() => decodeEntry(value))
    if ('why' in read) continue
    const { name, candidates } = read.value
    for (const id of candidates.filter(isDirectoryId)) frame.page.push({ id, at: { parent, name } })
  }
}

/** `/container/directory/name`, with what is no printable text written in hexadecimal. */
export function pathOf({ container }: Parts, directory: Walked, name?: Buffer): string {
  const names = name === undefined ? [] : [printable(name)]
  for (let { at } = directory; at !== undefined; { at } = at.parent) names.unshift(printable(at.name))
  return ['', container, ...names].join('/')
}

export function printable(name: Buffer): string {
  const text = name.toString()
  const isText = Buffer.from(text).equals(name)
  return isText
    ? text.replace(/[\p{C}\\]/gu, (one) => `\\u{${one.codePointAt(0)!.toString(16)}}`)
    : name
        .toString('latin1')
        .replace(/[^ -[\]-~]/g, (one) => `\\x${one.charCodeAt(0).toString(16).padStart(2, '0')}`)
}
