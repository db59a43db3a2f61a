/**
 * The operator's token: whoever can read it may change the cluster. `DIR/token`, and a copy in the user's NDFS
 * configuration folder under the address of each API, where the ndfs command looks. Both are for their owner's eyes only.
 */
import { chmod, mkdir } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { Chance, Files } from '../platform/platform.ts'

const ownersEyesOnly = 0o600
const ownersFolder = 0o700

/** `$XDG_CONFIG_HOME/ndfs`, or `~/.config/ndfs`. */
export function userFolder(): string {
  const given = process.env.XDG_CONFIG_HOME
  return join(given !== undefined && given.startsWith('/') ? given : join(homedir(), '.config'), 'ndfs')
}

const tokensFolder = (): string => join(userFolder(), 'tokens')
const userTokenFile = (api: string): string => join(tokensFolder(), api.replaceAll('/', '_'))

export const newToken = (chance: Chance): string => chance.bytes(32).toString('base64url')

export async function writeToken(files: Files, path: string, token: string): Promise<void> {
  await files.replaceWhole(path, Buffer.from(`${token}\n`), ownersEyesOnly)
}

export async function readToken(files: Files, path: string): Promise<string | undefined> {
  return (await files.readWhole(path))?.toString().trim()
}

/** `api`: `host:port`. */
export async function giveTokenToUser(files: Files, api: string, token: string): Promise<void> {
  await mkdir(tokensFolder(), { recursive: true, mode: ownersFolder })
  await chmod(tokensFolder(), ownersFolder)
  await writeToken(files, userTokenFile(api), token)
}

/** Takes it back at the end, unless another cluster has put its own there since. */
export async function takeTokenFromUser(files: Files, api: string, token: string): Promise<void> {
  if ((await userToken(files, api)) === token) await files.remove(userTokenFile(api))
}

export const userToken = (files: Files, api: string): Promise<string | undefined> =>
  readToken(files, userTokenFile(api))

/** Addresses of APIs for which the user has a token. */
export async function userApis(files: Files): Promise<string[]> {
  return (await files.list(tokensFolder())) ?? []
}
