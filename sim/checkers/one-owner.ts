/**
 * I4: one owner per vDisk, by epochs that only grow.
 *
 *  1. Every change in Medusa names the epoch and version that the partition has, raises the version by one, and never
 *     lowers the epoch. A vDisk's row is raised only to an epoch that Zeus has granted for it.
 *  2. In a vDisk's row a sealed episode never changes again, an episode that is there keeps its beginning and its replicas,
 *     none that went comes back, and only the last is open. What is deleted stays deleted.
 *  3. Zeus grants each epoch of a vDisk once, each above the last; and no two processes ever serve a vDisk under one epoch.
 */
import type { Epoch, EpisodeId, VDiskId } from '../../src/base/ids.ts'
import type { Episode, VDiskState } from '../../src/stargate/vdisk-controller/rows.ts'
import type { MadeChange } from './metadata-shadow.ts'

export class OneOwner {
  /** The last epoch granted, and to whom each was. */
  readonly #granted = new Map<VDiskId, Map<Epoch, string>>()
  readonly #lastGranted = new Map<VDiskId, Epoch>()
  /** Who has served the vDisk under an epoch. */
  readonly #served = new Map<VDiskId, Map<Epoch, string>>()
  /** Episodes that were named and are no more. */
  readonly #gone = new Map<VDiskId, Set<EpisodeId>>()

  /** Zeus has made the process the owner: what is wrong with that, or undefined. */
  claimed(vdisk: VDiskId, epoch: Epoch, by: string): string | undefined {
    const last = this.#lastGranted.get(vdisk) ?? 0
    this.#lastGranted.set(vdisk, epoch)
    inner(this.#granted, vdisk).set(epoch, by)
    if (epoch <= last) return `Zeus granted epoch ${epoch} of vDisk ${vdisk} to ${by} after epoch ${last}`
    return undefined
  }

  /** The process serves the vDisk now. */
  serves(vdisk: VDiskId, epoch: Epoch, by: string): string | undefined {
    const served = inner(this.#served, vdisk)
    const other = served.get(epoch) ?? by
    served.set(epoch, by)
    if (other !== by) return `${by} and ${other} have both served vDisk ${vdisk} under epoch ${epoch}`
    return undefined
  }

  /** Medusa has made the change. */
  changed(made: MadeChange): string | undefined {
    return this.#staticFault(made) ?? this.#stateFault(made)
  }

  #staticFault({ partition: { table, key }, change, before, after }: MadeChange): string | undefined {
    const where = `${table}/${key}`
    const { epoch, version } = before
    if (change.expected.epoch !== epoch || change.expected.version !== version)
      return (
        `a change of ${where} that expected epoch ${change.expected.epoch}, version ${change.expected.version} ` +
        `was made over epoch ${epoch}, version ${version}`
      )
    if (change.drop === true) return undefined
    if (after.version !== version + 1) return `${where} went from version ${version} to ${after.version}`
    if (after.epoch < epoch) return `the epoch of ${where} went down from ${epoch} to ${after.epoch}`
    const raised = table === 'vdisk' && after.epoch > epoch
    if (raised && this.#granted.get(Number(key) as VDiskId)?.has(after.epoch) !== true)
      return `${where} was raised to epoch ${after.epoch}, which nobody was granted`
    return undefined
  }

  #stateFault({ state }: MadeChange): string | undefined {
    if (state?.before === undefined) return undefined
    const { vdisk, before, after } = state
    if (before.state === 'deleted' && after.state !== 'deleted')
      return `vDisk ${vdisk} was deleted, and is again`
    const gone = inner(this.#gone, vdisk, () => new Set<EpisodeId>())
    const fault = episodesFault(before, after, gone)
    const kept = new Set(after.episodes.map(({ id }) => id))
    for (const { id } of before.episodes) if (!kept.has(id)) gone.add(id)
    return fault === undefined ? undefined : `in the row of vDisk ${vdisk} ${fault}`
  }
}

function episodesFault(
  before: VDiskState,
  after: VDiskState,
  gone: ReadonlySet<EpisodeId>,
): string | undefined {
  const known = new Map(before.episodes.map((episode) => [episode.id, episode]))
  for (const [i, now] of after.episodes.entries()) {
    if (gone.has(now.id)) return `episode ${now.id} is named again`
    if (now.end === undefined && i < after.episodes.length - 1)
      return `episode ${now.id} is open, and is not the last`
    const then = known.get(now.id)
    if (then === undefined) continue
    if (then.end !== undefined && now.end !== then.end)
      return `episode ${now.id} was sealed at ${then.end}, and now ${now.end === undefined ? 'is open' : `ends at ${now.end}`}`
    if (now.first !== then.first) return `episode ${now.id} began at ${then.first}, and now at ${now.first}`
    if (replicasOf(now) !== replicasOf(then))
      return `episode ${now.id} lay on ${replicasOf(then)}, and now on ${replicasOf(now)}`
  }
  return undefined
}

const replicasOf = ({ replicas }: Episode): string =>
  replicas.map(({ disk, incarnation }) => `${disk}/${incarnation}`).join(', ')

function inner<K, T extends object>(of: Map<K, T>, key: K, make: () => T): T
function inner<K, A, B>(of: Map<K, Map<A, B>>, key: K): Map<A, B>
function inner<K>(
  of: Map<K, object>,
  key: K,
  make: () => object = () => new Map<unknown, unknown>(),
): object {
  let found = of.get(key)
  if (found === undefined) of.set(key, (found = make()))
  return found
}
