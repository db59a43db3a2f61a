/**
 * `ndfs init`, `ndfs join` and `ndfs invite`: how machines become the members of one cluster.
 *
 *   init     the first machine: makes the cluster's id and key, formats its disks, writes the cluster into Zeus; invites the others
 *   join     each other machine: shows a token, is given the key, formats its disks
 *   invite   any member: a new token
 *
 * `DIR/member.json`, in the node's own folder, says how far it is:
 *
 *   (none)    → beginning   written before anything else is changed   [begin]
 *   beginning → member      all is there, durably                     [finish]
 *
 *  1. What was begun and interrupted is ended by giving the same command again; until then no node starts here, as the configuration
 *     names its cluster last.
 *  2. A folder that holds anything is never formatted; nor is a key, of whatever cluster, ever overwritten.
 *  3. A machine is a member of one cluster, for good.
 */
import { mkdir, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import Type, { type Static } from 'typebox'
import { NdfsError } from '../../base/errors.ts'
import type { Chance, Files, Platform } from '../../platform/platform.ts'
import { type ConfigFile, readConfigFile, tokenFileOf, withClusterId } from '../config-file/config-file.ts'
import { syncFoldersAbove } from '../layout.ts'
import { readToken, writeToken } from '../token.ts'
import { readVersioned, replaceJson } from '../versioned-file.ts'

const memberVersion = 1
const memberSchema = Type.Object(
  {
    version: Type.Literal(memberVersion),
    state: Type.Union([Type.Literal('beginning'), Type.Literal('member')]),
    by: Type.Union([Type.Literal('init'), Type.Literal('join')]),
    cluster: Type.String({ pattern: '^[0-9a-f]{16}$' }),
    /** Chosen at random, so that whoever lets this machine in knows it again. */
    machine: Type.String({ pattern: '^[0-9a-f]{32}$' }),
  },
  { additionalProperties: false },
)
export type Member = Static<typeof memberSchema>

/** What the commands do on this machine; a person has agreed to it when `confirm` resolves to true. */
export interface MembershipOptions {
  /** The configuration. */
  readonly file: string
  readonly confirm: (question: string) => Promise<boolean>
}

const memberFile = (dir: string): string => join(dir, 'member.json')
const writtenMode = 0o777

/** The configuration, and what was begun here by this command; holds the node's folder until `work` has ended. */
export async function withMembership<T>(
  file: string,
  by: Member['by'],
  { files }: Platform,
  work: (config: ConfigFile, begun: Member | undefined) => Promise<T>,
): Promise<T> {
  const config = await readConfigFile(files, file)
  const { dir, node } = config
  await mkdir(dir, { recursive: true })
  await refuseOtherUser(dir)
  const lockFile = join(dir, 'process.lock')
  await writeFile(lockFile, '', { flag: 'a' })
  const lock = await files.lock(lockFile)
  if (lock === undefined)
    throw new NdfsError('IN_USE', `Cannot begin in ${dir}: a node, or another command, runs there.`, { dir })
  try {
    const member = await readVersioned(files, memberFile(dir), memberSchema, memberVersion)
    if (member?.state === 'member')
      throw new NdfsError(
        'REFUSED',
        `Cannot ${by}: this machine is ${node} of the cluster ${member.cluster} already. Start it, or let others join with \`ndfs invite\`.`,
        { cluster: member.cluster },
      )
    if (member !== undefined && member.by !== by)
      throw new NdfsError(
        'REFUSED',
        `Cannot ${by}: an \`ndfs ${member.by}\` was begun here and not ended. Give that again, or take away ` +
          `${memberFile(dir)}, the files that cluster.keyFile and cluster.tokenFile name, and what is in the folders of the disks.`,
        { dir },
      )
    return await work(config, member)
  } finally {
    await lock.release()
  }
}

/** Files that root makes here the service could not read. */
async function refuseOtherUser(dir: string): Promise<void> {
  const { uid } = await stat(dir)
  if (uid === process.getuid?.()) return
  throw new NdfsError(
    'REFUSED',
    `Cannot begin in ${dir}: it belongs to another user. Give the command as that user, with the package \`sudo -u ndfs ndfs …\`.`,
    { dir },
  )
}

export async function begin(
  { files, chance }: Platform,
  { dir }: ConfigFile,
  by: Member['by'],
  cluster: string,
  begun: Member | undefined,
): Promise<Member> {
  if (begun !== undefined) return begun
  const machine = chance.bytes(16).toString('hex')
  const member: Member = { version: memberVersion, state: 'beginning', by, cluster, machine }
  await replaceJson(files, memberFile(dir), member)
  await syncFoldersAbove(files, dir)
  return member
}

/** The cluster has refused this machine, before it was told anything. */
export const takeBack = ({ files }: Platform, { dir }: ConfigFile): Promise<void> =>
  files.remove(memberFile(dir))

/** The last step: from now on a node can start here. */
export async function finish(
  { files }: Platform,
  file: string,
  config: ConfigFile,
  member: Member,
): Promise<void> {
  if (config.cluster.id === undefined) {
    const written = await files.readWhole(file)
    const { mode } = await stat(file)
    const changed = withClusterId(String(written), member.cluster)
    await files.replaceWhole(file, Buffer.from(changed), mode & writtenMode)
  }
  await replaceJson(files, memberFile(config.dir), { ...member, state: 'member' })
}

/** Before anything is changed: what is there already is another cluster's, unless this machine has begun. */
export async function refuseForeignSecrets(
  files: Files,
  config: ConfigFile,
  begun: Member | undefined,
): Promise<void> {
  if (begun !== undefined) return
  for (const path of [config.cluster.keyFile, tokenFileOf(config)])
    if ((await files.readWhole(path)) !== undefined)
      throw new NdfsError(
        'REFUSED',
        `Cannot begin: ${path} is there already, and may be another cluster's. Move it away, or name another file in the configuration.`,
        { path },
      )
}

/** Durable when it resolves. Those that are there from an interrupted attempt stay. */
export async function writeSecrets(
  files: Files,
  config: ConfigFile,
  secrets: { readonly key: string; readonly token: string },
): Promise<void> {
  const { keyFile } = config.cluster
  const tokenFile = tokenFileOf(config)
  for (const folder of new Set([dirname(keyFile), dirname(tokenFile)]))
    await mkdir(folder, { recursive: true })
  if ((await files.readWhole(keyFile)) === undefined)
    await files.replaceWhole(keyFile, Buffer.from(`${secrets.key}\n`), 0o600)
  if ((await readToken(files, tokenFile)) === undefined) await writeToken(files, tokenFile, secrets.token)
  for (const file of [keyFile, tokenFile]) await syncFoldersAbove(files, dirname(file))
}

export const newClusterId = (chance: Chance): string => chance.bytes(8).toString('hex')
