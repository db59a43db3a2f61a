/**
 * Small JSON files that carry the version of their own shape. One of an unknown version, with an unknown key or a wrong
 * value is refused with a sentence that names the file and the key: guessing would be worse than stopping.
 */
import type { Static, TSchema } from 'typebox'
import Value from 'typebox/value'
import { NdfsError, messageOf } from '../base/errors.ts'
import type { Files } from '../platform/platform.ts'

/** `undefined` where there is no such file. */
export async function readVersioned<S extends TSchema>(
  files: Files,
  path: string,
  schema: S,
  version: number,
): Promise<Static<S> | undefined> {
  const bytes = await files.readWhole(path)
  return bytes && parseVersioned(path, bytes.toString(), schema, version)
}

export function parseVersioned<S extends TSchema>(
  path: string,
  text: string,
  schema: S,
  version: number,
): Static<S> {
  const value = parse(path, text)
  const found = (value as { version?: unknown } | null)?.version
  if (found !== version)
    throw new NdfsError(
      'REFUSED',
      `Cannot use ${path}: ${found === undefined ? 'it has no version' : `its version is ${JSON.stringify(found)}`}, ` +
        `and this ndfs knows version ${version}. Use the ndfs that wrote it, or another directory.`,
      { path, found, known: version },
    )
  const [error] = Value.Errors(schema, value)
  if (error === undefined) return value as Static<S>
  const key = error.instancePath.slice(1).replaceAll('/', '.') || 'the file as a whole'
  const problem = error.keyword === 'boolean' ? 'is not a key that is known here' : error.message
  throw new NdfsError('REFUSED', `Cannot use ${path}: ${key} ${problem}. Correct it and start again.`, {
    path,
    key,
  })
}

function parse(path: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new NdfsError('REFUSED', `Cannot use ${path}: it is not JSON: ${messageOf(error)}.`, { path })
  }
}

export async function replaceJson(files: Files, path: string, value: unknown, mode?: number): Promise<void> {
  await files.replaceWhole(path, Buffer.from(`${JSON.stringify(value, undefined, 2)}\n`), mode)
}
