/** Where figures are kept: one JSON file for each run. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const folder = 'bench-results'

/** The file's path. */
export function keepResults(kind: string, results: object): string {
  const at = new Date().toISOString()
  mkdirSync(folder, { recursive: true })
  const file = join(folder, `${kind}-${at.replaceAll(':', '-')}.json`)
  writeFileSync(file, `${JSON.stringify({ at, ...results }, undefined, 2)}\n`)
  return file
}
