/**
 * Where the ndfs command finds a cluster when nobody says, and the token that goes with it.
 *
 * In this order: `--api`, NDFS_API, the cluster in `--dir`, the one in `.ndfs` of the working directory, the APIs for
 * which the user has a token, the node that /etc/ndfs/ndfs.yaml configures, and the usual address. Only of a cluster's own file are all nodes known.
 */
import { resolve } from 'node:path'
import { NdfsError } from '../base/errors.ts'
import type { Files } from '../platform/platform.ts'
import type { ApiPlace } from './api-client.ts'
import { readClusterFile } from './cluster-file.ts'
import { layoutOf } from './layout.ts'
import { firstPorts, loopback } from './ports.ts'
import { readToken, userApis, userToken } from './token.ts'

export const usualDir = '.ndfs'
/** Of a node of many machines. */
export const usualConfigFile = '/etc/ndfs/ndfs.yaml'

export interface ApiWishes {
  readonly api?: string
  readonly dir?: string
}

export async function findApi(
  files: Files,
  { api = process.env.NDFS_API, dir }: ApiWishes,
): Promise<ApiPlace> {
  if (api !== undefined && api !== '') return placeOf(files, [hostAndPort(api)], dir)
  const cluster = await readClusterFile(files, resolve(dir ?? usualDir))
  if (cluster) {
    const running = cluster.nodes.filter(({ pid }) => pid !== null)
    const nodes = running.length > 0 ? running : cluster.nodes
    return placeOf(
      files,
      nodes.map(({ http }) => http),
      dir ?? usualDir,
    )
  }
  if (dir !== undefined)
    throw new NdfsError(
      'NOT_FOUND',
      `Cannot find a running cluster in ${dir}: there is no cluster.json. Start it with \`ndfs up --dir ${dir}\`.`,
      { dir },
    )
  const known = await userApis(files)
  if (known.length === 0) {
    const own = await apiOfThisNode(files)
    if (own !== undefined) return own
  }
  return placeOf(files, known.length > 0 ? known : [`${loopback}:${firstPorts.http}`], dir)
}

/** `undefined` where no node of many machines is configured here, or this user may not know. */
async function apiOfThisNode(files: Files): Promise<ApiPlace | undefined> {
  const written = await files.readWhole(usualConfigFile).catch(() => undefined)
  if (written === undefined) return undefined
  const { parseConfigFile, tokenFileOf } = await import('./config-file/config-file.ts')
  const parsed = parseConfigFile(written.toString())
  if (!('config' in parsed)) return undefined
  const { config } = parsed
  return {
    apis: [config.listen.http],
    tokenFor: async () =>
      process.env.NDFS_TOKEN ?? (await readToken(files, tokenFileOf(config)).catch(() => undefined)),
  }
}

function placeOf(files: Files, apis: readonly string[], dir: string | undefined): ApiPlace {
  return {
    apis,
    tokenFor: async (api) =>
      process.env.NDFS_TOKEN ??
      (dir === undefined ? undefined : await readToken(files, layoutOf(resolve(dir)).token)) ??
      (await userToken(files, api)),
  }
}

/** Takes `http://host:port/` too: what people copy. */
export function hostAndPort(api: string): string {
  const match = /^(?:http:\/\/)?((?:\[[0-9a-f:.]+\]|[^/:@\s]+):\d{1,5})\/?$/i.exec(api)
  if (!match)
    throw new NdfsError(
      'REFUSED',
      `Cannot use ${api} as the address of an API: write HOST:PORT, such as 127.0.0.1:9440.`,
    )
  return match[1]
}
