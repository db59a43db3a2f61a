/** What the surveys of all vDisks come to: for status in words, for metrics in numbers. */
import { NdfsError } from './base/errors.ts'
import type { VDiskId } from './base/ids.ts'
import { type ClusterPicture, type ClusterSurvey, isUnknown, type Surveyed } from './cluster-survey.ts'
import type { ClusterView } from './cluster-view.ts'
import type { Sample } from './management/management.ts'
import { isOutlived, type MetadataLoss, survivalOf, type Survival } from './management/survival.ts'
import type { Stores } from './open-stores.ts'
import { copyLevels, standings, SurveySum } from './stargate/vdisk-controller/vdisk-controller.ts'
import type { ContainerValue, NodeValue, Versioned, VDiskNameValue, Zeus } from './zeus/zeus.ts'

/** As of now, of every vDisk that Zeus names. */
export async function survivalOfCluster(
  survey: ClusterSurvey,
  zeus: Zeus,
  metadata: Pick<Stores, 'copy' | 'loss'>,
): Promise<Survival> {
  const [metadataCopy, picture, names, nodes, containers] = await Promise.all([
    metadata.copy(),
    survey.picture(),
    zeus.list('vdisk/'),
    zeus.list('node/'),
    zeus.list('container/'),
  ])
  const ids = names.map(({ value }) => (value as VDiskNameValue).id)
  const surveyed = await survey.survey(picture, ids)
  const named = names.map(({ key }, i) => ({
    vdisk: key.slice('vdisk/'.length),
    found: surveyed.get(ids[i])!,
  }))
  return survivalOf({
    surveys: named.flatMap(({ vdisk, found }) => (isUnknown(found) ? [] : [{ vdisk, survey: found }])),
    unknown: named.flatMap(({ vdisk, found }) =>
      isUnknown(found) ? [{ vdisk, reason: found.unknown }] : [],
    ),
    reach: standings(picture)(picture.live).level,
    nodesDown: nodes
      .map(({ key }) => key.slice('node/'.length))
      .filter((node) => !picture.nodes.some((one) => one === node)),
    failedDisks: picture.failed.map(({ disk }) => disk),
    blocks: [...new Set(picture.live.map(({ block }) => block))].sort(),
    logNodes: picture.flashNodes.length,
    copiesMax: Math.max(0, ...copiesAskedFor(containers, names)),
    metadataCopy,
    metadataLoss: metadata.loss(nodes.map(peerOf)),
  })
}

const peerOf = ({ key, value }: Versioned) => ({
  id: key.slice('node/'.length),
  peer: (value as NodeValue).peer,
})

export const copiesAskedFor = (containers: readonly Versioned[], names: readonly Versioned[]): number[] =>
  containers.flatMap(({ key, value }) =>
    names.some((name) => name.key.startsWith(`vdisk/${key.slice('container/'.length)}/`))
      ? [(value as ContainerValue).copies]
      : [],
  )

/**
 * Of the vDisks that this node surveys for everybody: the least of all nodes is the cluster's, their sum its bytes. What can't be
 * surveyed survives nothing.
 */
export async function survivalSamples(
  survey: ClusterSurvey,
  view: ClusterView,
  zeus: Zeus,
  metadata: Pick<Stores, 'loss'>,
): Promise<readonly Sample[]> {
  const all = [...view.vdisks.values()].map(({ id }) => id)
  const sum = new SurveySum()
  let unknown = 0
  for (const surveyed of (await partOf(survey, all)).values())
    if (isUnknown(surveyed)) unknown++
    else sum.addSurvey(surveyed)
  const { weakest, bytes, shortBytes, misplacedBytes } = sum.survey
  const reached = weakest === undefined ? copyLevels.length : copyLevels.indexOf(weakest)
  const metadataLoss = await lossNow(zeus, metadata)
  const survives = (loss: 'disk' | 'node' | 'block'): Sample => ({
    name: 'survives',
    help: '1 where all data that this node surveys is still there after the loss of one, and served; 0 also where that is not known.',
    kind: 'gauge',
    labels: { loss },
    value:
      unknown === 0 && reached >= copyLevels.indexOf(loss) && isOutlived(loss, metadataLoss.survives) ? 1 : 0,
  })
  const gauge = (name: string, help: string, value: number, labels?: Sample['labels']): Sample => ({
    name,
    help,
    kind: 'gauge',
    value,
    ...(labels === undefined ? {} : { labels }),
  })
  return [
    survives('disk'),
    survives('node'),
    survives('block'),
    ...copyLevels.map((level) =>
      gauge(
        'data_bytes',
        'Data by what it survives, of vDisks that this node surveys, at most; copies not counted.',
        bytes[level],
        { level },
      ),
    ),
    gauge('data_short_bytes', 'Of it, what has fewer copies in service than asked for.', shortBytes),
    gauge('data_misplaced_bytes', 'Of it, what lies in fewer blocks than it could.', misplacedBytes),
    gauge('vdisks_unknown', 'vDisks that this node should have surveyed, and could not.', unknown),
  ]
}

async function lossNow(zeus: Zeus, metadata: Pick<Stores, 'loss'>): Promise<MetadataLoss> {
  try {
    return metadata.loss((await zeus.list('node/')).map(peerOf))
  } catch (error) {
    if (!(error instanceof NdfsError)) throw error
    return { survives: 'nothing' }
  }
}

async function partOf(
  survey: ClusterSurvey,
  all: readonly VDiskId[],
): Promise<ReadonlyMap<VDiskId, Surveyed>> {
  let picture: ClusterPicture
  try {
    picture = await survey.picture()
  } catch (error) {
    if (!(error instanceof NdfsError)) throw error
    return new Map(all.map((vdisk) => [vdisk, { unknown: error.message }]))
  }
  return survey.surveyOwnPart(picture, all)
}
