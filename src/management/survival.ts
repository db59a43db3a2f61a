/**
 * What the cluster survives, in words: the first line of `ndfs status`, the same in API and console. Pure.
 *
 *   N GiB unreadable: …           no copy of it is in service
 *   one copy of N GiB left: …     the next loss may be one of data
 *   unknown for N vDisks: …       they could not be surveyed; never taken for well
 *   survives a disk | node | block
 *   survives a node, and the data alone a block: …     the metadata would be lost, or not served
 *   survives no loss, and the data alone a block: …    the same, of one server that is lost now
 *
 * The worst that is known stands first; what is unknown beside it is said behind it.
 */
import Type, { type Static } from 'typebox'
import { formatSize } from '../base/units.ts'
import { type CopyLevel, type CopySurvey, SurveySum } from '../stargate/vdisk-controller/vdisk-controller.ts'

const closed = { additionalProperties: false } as const
const bytes = (description: string) =>
  Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER, description })

const level = Type.Union([
  Type.Literal('unreadable'),
  Type.Literal('one copy'),
  Type.Literal('disk'),
  Type.Literal('node'),
  Type.Literal('block'),
])

export const metadataCopySchema = Type.Object(
  {
    state: Type.Union(
      [
        Type.Literal('none'),
        Type.Literal('being made'),
        Type.Literal('in step'),
        Type.Literal('behind'),
        Type.Literal('broken'),
        Type.Literal('servers down'),
      ],
      {
        description:
          '`in step`: it has all that anybody was told; `none`: there is no second disk for it, or the store can not be asked; `servers down`: some of the servers that hold copies of all rows.',
      },
    ),
    folder: Type.Optional(Type.String({ description: 'Where it lies.' })),
    behindMs: Type.Optional(
      Type.Integer({ minimum: 0, description: 'For how long it has lacked what the store has.' }),
    ),
    reason: Type.Optional(Type.String({ description: 'Why it is not in step.' })),
  },
  { ...closed, description: "The copy of the store's files on a second disk." },
)
export type MetadataCopy = Static<typeof metadataCopySchema>

/** What of the machines that hold the metadata may be lost, and all of it can still be read and changed. */
export interface MetadataLoss {
  readonly survives: 'block' | 'node' | 'disk' | 'nothing'
  /** What stands against more; absent with `block`. */
  readonly limit?: string
}

const metadataLevel = Type.Union(
  [Type.Literal('nothing'), Type.Literal('disk'), Type.Literal('node'), Type.Literal('block')],
  {
    description:
      'What may be lost and the metadata can still be read and changed: `nothing`: one server more is too many. Of the one disk under a store it says nothing: `metadata` does.',
  },
)

const dataLevel = Type.Union([level, Type.Literal('unknown')], {
  description:
    'That of the weakest data: what may be lost and it is still there. `one copy`: nothing; `unreadable`: it is not there now.',
})

export const survivalSchema = Type.Object(
  {
    sentence: Type.String({ description: 'What may be lost without loss of data: for people.' }),
    level: Type.Union([level, Type.Literal('unknown'), Type.Literal('nothing')], {
      description:
        'What may be lost and all data is still there, and served: the lesser of `dataLevel` and `metadataLevel`.',
    }),
    dataLevel,
    metadataLevel,
    missing: Type.Array(Type.String(), { description: 'One sentence each: what is missing for more.' }),
    bytes: Type.Object(
      {
        unreadable: bytes('No copy is in service.'),
        'one copy': bytes('One copy is in service.'),
        disk: bytes('Copies on several disks of one node.'),
        node: bytes('Copies on several nodes of one block.'),
        block: bytes('Copies in several blocks.'),
      },
      { ...closed, description: 'Of data, its copies not counted.' },
    ),
    atMost: Type.Array(level, {
      description: 'Levels of which some sizes were not looked up: their `bytes` are not more than that.',
    }),
    shortBytes: bytes('What has fewer copies in service than its container asks for.'),
    misplacedBytes: bytes('What lies in fewer blocks than it could.'),
    unknown: Type.Array(Type.Object({ vdisk: Type.String(), reason: Type.String() }, closed), {
      description: 'vDisks that could not be surveyed.',
    }),
    metadata: Type.Union([Type.Literal('one disk'), Type.Literal('two disks')], {
      description:
        "On how many disks the rows of Zeus and Medusa are: an embedded cluster's store keeps a copy on a second one, where there is one; engines on several machines, at least.",
    }),
    metadataCopy: metadataCopySchema,
  },
  closed,
)
export type Survival = Static<typeof survivalSchema>

export interface SurvivalFacts {
  readonly surveys: readonly { readonly vdisk: string; readonly survey: CopySurvey }[]
  readonly unknown: readonly { readonly vdisk: string; readonly reason: string }[]
  /** What copies on all disks in service would survive: where nothing is stored yet, what can be said. */
  readonly reach: CopyLevel
  readonly nodesDown: readonly string[]
  readonly failedDisks: readonly string[]
  /** Of nodes that live. */
  readonly blocks: readonly string[]
  /** Nodes that live and have a flash disk in service: without one there is no log. */
  readonly logNodes: number
  /** The most that a container with vDisks asks for. */
  readonly copiesMax: number
  readonly metadataCopy: MetadataCopy
  readonly metadataLoss: MetadataLoss
}

const namesShown = 3

export function survivalOf(facts: SurvivalFacts): Survival {
  const sum = new SurveySum()
  for (const { survey } of facts.surveys) sum.addSurvey(survey)
  const { survey } = sum
  const dataLevel = levelOf(survey.weakest, facts)
  const { survives } = facts.metadataLoss
  return {
    sentence: sentenceOf(dataLevel, survey, facts),
    level: isWell(dataLevel) ? lesser(dataLevel, survives) : dataLevel,
    dataLevel,
    metadataLevel: survives,
    missing: missingOf(survey, facts),
    bytes: survey.bytes,
    atMost: [...survey.atMost],
    shortBytes: survey.shortBytes,
    misplacedBytes: survey.misplacedBytes,
    unknown: [...facts.unknown],
    metadata: isCopied(facts) ? 'two disks' : 'one disk',
    metadataCopy: facts.metadataCopy,
  }
}

const isCopied = ({ metadataCopy: { state } }: SurvivalFacts): boolean =>
  state === 'in step' || state === 'servers down'

const losses = ['nothing', 'disk', 'node', 'block'] as const
/** Whoever outlives the loss of a block outlives that of a node, and so on. */
export const isOutlived = (loss: MetadataLoss['survives'], survives: MetadataLoss['survives']): boolean =>
  losses.indexOf(loss) <= losses.indexOf(survives)

type Loss = 'disk' | 'node' | 'block'
const isWell = (level: Survival['dataLevel'] | undefined): level is Loss =>
  level === 'disk' || level === 'node' || level === 'block'
const lesser = (data: Loss, metadata: MetadataLoss['survives']): MetadataLoss['survives'] =>
  isOutlived(data, metadata) ? data : metadata

/** What is known to be in danger is said before what is unknown; what is unknown before what is well. */
function levelOf(weakest: CopyLevel | undefined, { unknown, reach }: SurvivalFacts): Survival['dataLevel'] {
  if (weakest === 'unreadable' || weakest === 'one copy') return weakest
  return unknown.length > 0 ? 'unknown' : (weakest ?? reach)
}

function sentenceOf(level: Survival['dataLevel'], survey: CopySurvey, facts: SurvivalFacts): string {
  const { unknown } = facts
  const isEmpty = survey.weakest === undefined
  const unknownFor = `unknown for ${count(unknown.length, 'vDisk')}: ${someOf(unknown.map(({ vdisk }) => vdisk))}`
  switch (level) {
    case 'unreadable':
    case 'one copy': {
      const amount = amountOf(level, survey)
      const begin = level === 'unreadable' ? `${amount} unreadable` : `one copy of ${amount} left`
      if (isEmpty) return `${begin}: nothing is stored yet`
      const parts = [`${begin}: ${someOf(weakestOf(level, facts))}`, ...causesOf(survey, facts)]
      return [...parts, ...(unknown.length > 0 ? [unknownFor] : [])].join('; ')
    }
    case 'unknown': {
      const rest = isWell(survey.weakest) ? [`the rest ${promised(survey.weakest, facts)}`] : []
      return [`${unknownFor}: ${unknown[0].reason}`, ...rest].join('; ')
    }
    case 'disk':
    case 'node':
    case 'block':
      return (
        promised(level, facts, isCopied(facts) ? '' : ", but not the loss of the metadata's disk") +
        (isEmpty ? '; nothing is stored yet' : '')
      )
    default:
      return level satisfies never
  }
}

function promised(level: Loss, { metadataLoss: { survives, limit } }: SurvivalFacts, but = ''): string {
  const both = lesser(level, survives)
  const what = both === 'nothing' ? 'survives no loss' : `survives a ${both}`
  return what + but + (both === level ? '' : `, and the data alone a ${level}: ${limit}`)
}

const sizeOf = (bytes: number, atMost: boolean): string => `${atMost ? 'at most ' : ''}${formatSize(bytes)}`
const amountOf = (level: CopyLevel, { bytes, atMost }: CopySurvey): string =>
  sizeOf(bytes[level], atMost.includes(level))

const weakestOf = (level: CopyLevel, { surveys }: SurvivalFacts): string[] =>
  surveys.filter(({ survey }) => survey.weakest === level).map(({ vdisk }) => vdisk)

function causesOf({ shortBytes, bytes }: CopySurvey, { nodesDown, failedDisks }: SurvivalFacts): string[] {
  // Where one copy is all that was asked for, nobody's death is the cause.
  if (shortBytes === 0 && bytes.unreadable === 0) return ['more was not asked for']
  return [
    ...(nodesDown.length > 0 ? [`${listed(nodesDown)} ${nodesDown.length > 1 ? 'are' : 'is'} down`] : []),
    ...failedDisks.map((disk) => `disk ${disk} has failed`),
  ]
}

function missingOf(survey: CopySurvey, facts: SurvivalFacts): string[] {
  const { nodesDown, failedDisks, blocks, logNodes, copiesMax, surveys, unknown } = facts
  const missing: string[] = []
  const isAtMost = survey.atMost.length > 0
  if (survey.bytes.unreadable > 0 && survey.bytes['one copy'] > 0)
    missing.push(
      `besides, one copy of ${amountOf('one copy', survey)} is left: ${someOf(weakestOf('one copy', facts))}`,
    )
  if (survey.shortBytes > 0) {
    const gone = [...nodesDown, ...failedDisks.map((disk) => `disk ${disk}`)]
    const cause = gone.length > 0 ? `: ${listed(gone)} ${gone.length > 1 ? 'are' : 'is'} gone` : ''
    missing.push(`copies of ${sizeOf(survey.shortBytes, isAtMost)}, which has fewer than asked for${cause}`)
  }
  if (blocks.length === 1)
    missing.push(
      `a second block: all nodes that are up are in ${blocks[0]}; where that is not so, \`ndfs node set NODE --block NAME\``,
    )
  if (survey.misplacedBytes > 0) {
    const misplaced = surveys.filter(({ survey: one }) => one.misplacedBytes > 0).map(({ vdisk }) => vdisk)
    const size = sizeOf(survey.misplacedBytes, isAtMost)
    missing.push(
      `placement of ${size}, misplaced in fewer of the ${blocks.length} blocks than it could be: ${someOf(misplaced)}`,
    )
  }
  if (logNodes <= copiesMax)
    missing.push(
      logNodes < copiesMax
        ? `nodes: writes wait where ${copiesMax} copies are asked for, as ${count(logNodes, 'node')} with a flash disk ${logNodes === 1 ? 'is' : 'are'} up`
        : `a node: while one more is down writes wait where ${copiesMax} copies are asked for`,
    )
  for (const { vdisk, reason } of unknown) missing.push(`knowledge of ${vdisk}: ${reason}`)
  // While servers are down that comes first, and is said below.
  if (facts.metadataLoss.limit !== undefined && facts.metadataCopy.state !== 'servers down')
    missing.push(`servers of the metadata in more places: ${facts.metadataLoss.limit}`)
  if (facts.metadataCopy.state !== 'in step') missing.push(missingCopy(facts.metadataCopy))
  return missing
}

function missingCopy({ state, folder = 'a folder of its own', behindMs = 0, reason }: MetadataCopy): string {
  const why = reason === undefined ? '' : `: ${reason}`
  const seconds = Math.ceil(behindMs / 1000)
  switch (state) {
    case 'none':
    case 'in step':
      return 'a copy of the metadata: the store has its files on one disk; `ndfs up --store-copy DIR` keeps a copy on another'
    case 'being made':
      return `a copy of the metadata: it is being made in ${folder}`
    case 'behind':
      return `a fresh copy of the metadata: the one in ${folder} is ${seconds} s behind${why}`
    case 'broken':
      return `a copy of the metadata: the one in ${folder} failed ${seconds} s ago and is tried again${why}`
    case 'servers down':
      return `servers of the metadata${why}`
    default:
      return state satisfies never
  }
}

const count = (number: number, what: string): string => `${number} ${what}${number === 1 ? '' : 's'}`
const listed = (names: readonly string[]): string =>
  names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`
const someOf = (names: readonly string[]): string =>
  names.length <= namesShown + 1
    ? names.join(', ')
    : `${names.slice(0, namesShown).join(', ')} and ${names.length - namesShown} more`
