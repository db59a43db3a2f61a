/**
 * The node's side of `ndfs join` (management/join.ts has the exchange): who shows a token that was made for it is given the cluster's key.
 *
 *   invitation/NUMBER   which machines a token has let in, of how many, and until when
 *   member/NODE         which machine bears the name; never deleted, as no name is used twice
 *
 *  1. A token lets in as many machines as it was made for, until it expires. A machine that asks again is counted once.
 *  2. A name is one machine's: two that join as the same node at once are told apart by Zeus.
 */
import { hasCode, NdfsError } from './base/errors.ts'
import { otherFormat, servesFormat } from './base/formats.ts'
import { readFormat } from './cluster-format.ts'
import {
  answerToJoin,
  isProven,
  type JoinAnswer,
  type JoinRequest,
  type MemberSecrets,
  tokenSecret,
} from './management/join.ts'
import type { Platform } from './platform/platform.ts'
import type { InvitationValue, MemberValue, Zeus } from './zeus/zeus.ts'

export interface JoiningOptions {
  readonly platform: Pick<Platform, 'clock' | 'chance' | 'log'>
  readonly zeus: Zeus
  readonly clusterId: string
  readonly secrets: MemberSecrets
}

/** UNAUTHORIZED: no token of this cluster. REFUSED: one that was used up or has expired, or a release that can't serve the cluster's format. IN_USE: the name is another machine's. */
export async function admitMember(options: JoiningOptions, request: JoinRequest): Promise<JoinAnswer> {
  const { platform, zeus, clusterId, secrets } = options
  const { cluster, token, node, machine } = request
  const secret = tokenSecret(Buffer.from(secrets.key, 'hex'), token)
  if (cluster !== clusterId || !isProven(secret, request))
    throw new NdfsError(
      'UNAUTHORIZED',
      `Cannot let ${node} join: its token is not of this cluster, ${clusterId}. \`ndfs invite\` makes one.`,
      { cluster: clusterId },
    )
  const { format } = await readFormat(zeus)
  if (!servesFormat(request.release, format)) throw otherFormat(`let ${node} join`, request.release, format)
  await refuseTaken(zeus, node, machine)
  await useInvitation(options, token, machine)
  await takeName(zeus, node, machine, platform.clock.wallTime())
  platform.log.info('A machine joins.', { node, machine })
  try {
    return answerToJoin(secret, request, secrets, platform.chance)
  } catch (error) {
    throw new NdfsError(
      'REFUSED',
      `Cannot let ${node} join: the public key that it sent is none.`,
      {},
      { cause: error },
    )
  }
}

async function useInvitation(
  { zeus, platform }: JoiningOptions,
  number: string,
  machine: string,
): Promise<void> {
  const key = `invitation/${number}`
  for (;;) {
    const found = await zeus.get(key)
    const invitation = found?.value as InvitationValue | undefined
    if (found === undefined || invitation === undefined || invitation.expiresAt <= platform.clock.wallTime())
      throw new NdfsError(
        'REFUSED',
        'Cannot join with this token: it has expired. Make another with `ndfs invite`.',
      )
    if (invitation.machines.includes(machine)) return
    if (invitation.machines.length >= invitation.uses)
      throw new NdfsError(
        'REFUSED',
        `Cannot join with this token: it was made for ${invitation.uses}, and is used up. Make another with \`ndfs invite\`.`,
      )
    try {
      await zeus.set(key, { ...invitation, machines: [...invitation.machines, machine] }, found.version)
      return
    } catch (error) {
      if (!hasCode(error, 'CONFLICT')) throw error
    }
  }
}

/** Resolves when the name is this machine's for good. */
export async function takeName(zeus: Zeus, node: string, machine: string, joinedAt: number): Promise<void> {
  const value: MemberValue = { machine, joinedAt }
  await zeus.set(`member/${node}`, value, 0).catch(async (error: unknown) => {
    if (!hasCode(error, 'CONFLICT')) throw error
    await refuseTaken(zeus, node, machine)
  })
}

async function refuseTaken(zeus: Zeus, node: string, machine: string): Promise<void> {
  const member = (await zeus.get(`member/${node}`))?.value as MemberValue | undefined
  const isTaken =
    member === undefined ? (await zeus.get(`node/${node}`)) !== undefined : member.machine !== machine
  if (isTaken)
    throw new NdfsError(
      'IN_USE',
      `Cannot join as ${node}: the name is another machine's, or was, and no name is used twice. Choose another in the configuration.`,
      { node },
    )
}
