/** `ndfs invite`: a token by which other machines join, made by any member. */
import type { Incarnation, NodeId } from '../../base/ids.ts'
import { encodeJoinToken, newTokenNumber, tokenSecret } from '../../management/join.ts'
import { openStores, type Stores } from '../../open-stores.ts'
import { PeerNetwork } from '../../peer/peer-network.ts'
import type { Platform } from '../../platform/platform.ts'
import type { InvitationValue, Zeus } from '../../zeus/zeus.ts'
import { nodeConfigOf, readConfigFile } from '../config-file/config-file.ts'
import { type NodeConfig, readClusterKey } from '../node-config.ts'

export interface Invitation {
  /** How many machines may use the token. */
  readonly uses: number
  readonly expiresMs: number
}
export const usualInvitation: Invitation = { uses: 1, expiresMs: 3_600_000 }

/** Resolves to the token. The node that the configuration is of must run when others join. */
export async function invite(file: string, wish: Invitation, platform: Platform): Promise<string> {
  const config = nodeConfigOf(file, await readConfigFile(platform.files, file))
  const key = await readClusterKey(platform.files, config.cluster.keyFile)
  return withStores(config.stores, config.cluster.id, key, platform, ({ zeus }) =>
    newInvitation(zeus, { ...wish, cluster: config.cluster.id, key, api: config.listen.http }, platform),
  )
}

export async function newInvitation(
  zeus: Zeus,
  wish: Invitation & { readonly cluster: string; readonly key: Buffer; readonly api: string },
  { clock, chance }: Platform,
): Promise<string> {
  const { cluster, key, api, uses, expiresMs } = wish
  const now = clock.wallTime()
  // Those of old times are of no use to anybody.
  for (const { key: old, value, version } of await zeus.list('invitation/'))
    if ((value as InvitationValue).expiresAt <= now) await zeus.delete(old, version)
  const number = newTokenNumber(chance)
  const invitation: InvitationValue = { expiresAt: Math.round(now + expiresMs), uses, machines: [] }
  await zeus.set(`invitation/${number}`, invitation, 0)
  return encodeJoinToken({ apis: [api], cluster, number, secret: tokenSecret(key, number) })
}

/** Zeus and Medusa for as long as `work` takes, for a command that is no node. `isNew`: the cluster is being made. */
export async function withStores<T>(
  stores: NodeConfig['stores'],
  clusterId: string,
  key: Buffer,
  platform: Platform,
  work: (stores: Stores) => Promise<T>,
  isNew = false,
): Promise<T> {
  const number = platform.chance.bytes(8).toString('hex')
  const peers = new PeerNetwork({
    ...{ platform, clusterId, key, node: `operator-${number}` as NodeId, incarnation: number as Incarnation },
  })
  try {
    const opened = await openStores(stores, platform, peers, isNew ? undefined : clusterId)
    try {
      return await work(opened)
    } finally {
      await opened.zeus.close()
      await opened.medusa.close()
    }
  } finally {
    await peers.close()
  }
}
