/** Other releases than this one: copies of the program under test that say another version, and another range of formats. */
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, dirname, extname, join } from 'node:path'
import { ndfsProgram } from './cluster.ts'

const project = join(import.meta.dirname, '../..')

/** Resolves to its program, in a new folder below `folder`. */
export function makeRelease(folder: string, version: string, oldest: number, newest: number): string {
  const here = dirname(dirname(ndfsProgram))
  const root = join(folder, `ndfs-${version}`)
  mkdirSync(root)
  for (const part of ['src', 'cli']) cpSync(join(here, part), join(root, part), { recursive: true })
  symlinkSync(join(project, 'node_modules'), join(root, 'node_modules'))
  const description = JSON.parse(readFileSync(join(project, 'package.json'), 'utf8')) as object
  writeFileSync(join(root, 'package.json'), JSON.stringify({ ...description, version }))
  const base = (name: string): string => join(root, 'src/base', `${name}${extname(ndfsProgram)}`)
  change(base('version'), /version = '[^']+'/, `version = '${version}'`)
  change(base('formats'), /oldest: \d+, newest: \d+/, `oldest: ${oldest}, newest: ${newest}`)
  return join(root, 'cli', basename(ndfsProgram))
}

function change(file: string, what: RegExp, to: string): void {
  const before = readFileSync(file, 'utf8')
  assert.equal(before.match(new RegExp(what, 'g'))?.length, 1, `${file} does not say once ${what}`)
  writeFileSync(file, before.replace(what, to))
}
