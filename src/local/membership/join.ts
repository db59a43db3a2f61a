/** `ndfs join TOKEN`: one more machine of a cluster. */
import { hasCode, NdfsError } from '../../base/errors.ts'
import { thisRelease } from '../../base/formats.ts'
import {
  askToJoin,
  decodeJoinToken,
  type JoinAnswer,
  joinPath,
  type JoinRequest,
  type JoinToken,
} from '../../management/join.ts'
import type { Platform } from '../../platform/platform.ts'
import { ApiClient, NoNodeReachable } from '../api-client.ts'
import {
  begin,
  finish,
  type MembershipOptions,
  refuseForeignSecrets,
  takeBack,
  withMembership,
  writeSecrets,
} from './membership.ts'
import { confirmFormat, disksToFormat, formatDisks } from './new-disks.ts'

export interface Joined {
  readonly cluster: string
  readonly node: string
}

export async function joinCluster(
  written: string,
  { file, confirm }: MembershipOptions,
  platform: Platform,
): Promise<Joined> {
  const token = decodeJoinToken(written)
  if (token === undefined)
    throw new NdfsError(
      'REFUSED',
      'Cannot join: that is no join token, or not all of it. `ndfs invite` prints one, in one line.',
    )
  const { cluster } = token
  return withMembership(file, 'join', platform, async (config, begun) => {
    const { files, chance } = platform
    const { node } = config
    const other = [config.cluster.id, begun?.cluster].find((id) => id !== undefined && id !== cluster)
    if (other !== undefined)
      throw new NdfsError(
        'REFUSED',
        `Cannot join: the token is of the cluster ${cluster}, and this machine is of ${other}, as ${file} or what was begun here says.`,
        { cluster: other },
      )
    await refuseForeignSecrets(files, config, begun)
    const blank = await disksToFormat(files, config, begun?.cluster)
    await confirmFormat(blank, confirm)
    const member = await begin(platform, config, 'join', cluster, begun)
    const { request, open } = askToJoin(
      token,
      { node, machine: member.machine, release: thisRelease },
      chance,
    )
    const secrets = open(
      await asked(token, request).catch(async (error: unknown) => {
        if (begun === undefined && hasCode(error, 'UNAUTHORIZED', 'REFUSED', 'IN_USE'))
          await takeBack(platform, config)
        throw error
      }),
    )
    await writeSecrets(files, config, secrets)
    await formatDisks(platform, blank, cluster)
    await finish(platform, file, config, member)
    return { cluster, node }
  })
}

async function asked({ apis }: JoinToken, request: JoinRequest): Promise<JoinAnswer> {
  const api = new ApiClient({ apis, tokenFor: () => Promise.resolve(undefined) })
  try {
    return await api.change<JoinAnswer>('POST', joinPath, request)
  } catch (error) {
    if (!(error instanceof NoNodeReachable)) throw error
    throw new NoNodeReachable(
      `Cannot join: no node answers at ${apis.join(', ')}. Start the one where the token was made, and look at what is between it and this machine.`,
      { apis },
    )
  }
}
