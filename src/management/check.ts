/**
 * What a check of the whole cluster found, as API and command line show it; and the sentence that sums it up. Pure.
 *
 *   right        every copy that the rows name was read, and is right; nothing is missing, nothing left over
 *   wrong        something is wrong: `findings` say what. What is in `unfinished` was not looked at besides
 *   unfinished   nothing wrong was found, and not all was looked at: `unfinished` says what, and why
 *   stopped      somebody stopped it
 */
import Type, { type Static } from 'typebox'
import { formatSize } from '../base/units.ts'
import type { FileFindingKind } from '../stargate/namespace/namespace.ts'
import type { FindingKind } from '../stargate/vdisk-controller/vdisk-controller.ts'

const closed = { additionalProperties: false } as const
const count = (description: string) =>
  Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER, description })

const kind = Type.Union(
  [
    Type.Literal('lost pages'),
    Type.Literal('damaged metadata'),
    Type.Literal('damaged file'),
    Type.Literal('dangling pointer'),
    Type.Literal('wrong name'),
    Type.Literal('missing copy'),
    Type.Literal('bad copy'),
    Type.Literal('misplaced copies'),
    Type.Literal('orphan'),
  ],
  {
    description:
      '`bad copy`: its bytes are not what the row says; `missing copy`: a row names it, and it is not there, or its disk is not; ' +
      '`misplaced copies`: on fewer nodes or in fewer blocks than could be; `dangling pointer`: the map names what no row has; ' +
      '`orphan`: nothing names it; `damaged metadata`: a row that must be there is missing or old; `lost pages`: no copy was good; ' +
      '`damaged file`: an inode, or bytes of a small file, are not what was written, or its vDisk is not there; ' +
      '`wrong name`: a directory and what it holds do not name one another.',
  },
)

export const findingSchema = Type.Object(
  {
    kind,
    what: Type.String({ description: 'A sentence.' }),
    vdisk: Type.Optional(Type.Integer({ minimum: 1, description: "The vDisk's id." })),
    inode: Type.Optional(Type.Integer({ minimum: 1, description: 'Of a file or a directory.' })),
    group: Type.Optional(Type.String({ description: 'An extent group.' })),
    node: Type.Optional(Type.String()),
    disk: Type.Optional(Type.String()),
    copy: Type.Optional(Type.Integer({ minimum: 1, description: 'The number of the copy.' })),
  },
  closed,
)
export type CheckFinding = Static<typeof findingSchema>

export const checkInfoSchema = Type.Object(
  {
    id: Type.String(),
    node: Type.String({ description: 'The node that leads it, and that alone knows of it.' }),
    state: Type.Union([
      Type.Literal('running'),
      Type.Literal('right'),
      Type.Literal('wrong'),
      Type.Literal('unfinished'),
      Type.Literal('stopped'),
    ]),
    summary: Type.String({ description: 'One sentence: how far it is, or what came of it.' }),
    repair: Type.Boolean({ description: 'Wrong copies are given to their owners, who make them anew.' }),
    startedAt: Type.Integer({ description: 'Milliseconds since 1970.' }),
    endedAt: Type.Optional(Type.Integer({ description: 'Milliseconds since 1970.' })),
    vdisks: Type.Object({ total: count('To check.'), checked: count('So far.') }, closed),
    groups: Type.Object(
      {
        total: Type.Optional(count('To check, as they were at the beginning; absent until all are counted.')),
        checked: count('So far; more than `total` where new ones came.'),
      },
      { ...closed, description: 'Extent groups.' },
    ),
    percent: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 99,
        description:
          'Of all vDisks and extent groups, while it runs; absent before they are counted, and when it has ended.',
      }),
    ),
    copies: count('Copies of extent groups that were read, each held against its row.'),
    bytes: count('Read for that.'),
    files: Type.Object(
      {
        files: count('Read, with what is no directory either.'),
        directories: count('Read.'),
        bytes: count('Of files that lie in the metadata.'),
      },
      { ...closed, description: 'In containers, so far.' },
    ),
    leftOver: Type.Object(
      {
        entries: count(
          'Of directories, that count for nothing: the next that gives or takes the name clears one away.',
        ),
        vdisks: count('Made for files that do not name them: they are deleted within a day.'),
        told: Type.Array(Type.String(), { description: 'The first of them.' }),
      },
      { ...closed, description: 'By nodes that died at work. It is no damage.' },
    ),
    repaired: count('Of the wrong copies, those that were made anew meanwhile.'),
    counts: Type.Array(Type.Object({ kind, count: count('Of that kind.') }, closed), {
      description: 'All findings by kind, the gravest first.',
    }),
    findings: Type.Array(findingSchema, {
      description: 'The first of them: no more than are worth reading.',
    }),
    unfinished: Type.Array(Type.String(), { description: 'What was not looked at, and why.' }),
  },
  closed,
)
export type CheckInfo = Static<typeof checkInfoSchema>

export const newCheckSchema = Type.Object(
  {
    repair: Type.Optional(
      Type.Boolean({
        description: 'Whether wrong copies are made anew. Left out: nothing is changed.',
      }),
    ),
  },
  closed,
)
export type NewCheck = Static<typeof newCheckSchema>

export type WrongKind = FindingKind | FileFindingKind

export type CheckSoFar = Omit<CheckInfo, 'summary' | 'state' | 'counts' | 'percent'> & {
  readonly counts: Readonly<Partial<Record<WrongKind, number>>>
  readonly stopped: boolean
}

/** Findings that are kept and shown. */
export const findingsMax = 1000
/** Sentences of what is left over. */
export const leftOverToldMax = 20
/** The gravest first. */
const plural: Record<WrongKind, string> = {
  'lost pages': 'vDisks with lost pages',
  'damaged metadata': 'damaged rows',
  'damaged file': 'damaged files',
  'dangling pointer': 'dangling pointers',
  'wrong name': 'wrong names',
  'missing copy': 'missing copies',
  'bad copy': 'bad copies',
  'misplaced copies': 'groups with misplaced copies',
  orphan: 'orphans',
}
const singular: Record<WrongKind, string> = {
  'lost pages': 'vDisk with lost pages',
  'damaged metadata': 'damaged row',
  'damaged file': 'damaged file',
  'dangling pointer': 'dangling pointer',
  'wrong name': 'wrong name',
  'missing copy': 'missing copy',
  'bad copy': 'bad copy',
  'misplaced copies': 'group with misplaced copies',
  orphan: 'orphan',
}

export function checkInfoOf({ stopped, ...check }: CheckSoFar): CheckInfo {
  const counts = (Object.keys(plural) as WrongKind[]).flatMap((kind) => {
    const found = check.counts[kind] ?? 0
    return found === 0 ? [] : [{ kind, count: found }]
  })
  const state =
    check.endedAt === undefined
      ? 'running'
      : counts.length > 0
        ? 'wrong'
        : stopped
          ? 'stopped'
          : check.unfinished.length > 0
            ? 'unfinished'
            : 'right'
  const percent = state === 'running' ? percentOf(check) : undefined
  const info = { ...check, counts, state, ...(percent === undefined ? {} : { percent }) } as const
  return { ...info, summary: summaryOf(info) }
}

/** Never all of it while it runs: what seemed left over is looked at once more at the end. */
function percentOf({ vdisks, groups }: Pick<CheckSoFar, 'vdisks' | 'groups'>): number | undefined {
  if (groups.total === undefined || groups.total + vdisks.total === 0) return undefined
  const done = Math.min(groups.checked, groups.total) + vdisks.checked
  return Math.min(99, Math.floor((100 * done) / (groups.total + vdisks.total)))
}

function summaryOf({
  state,
  percent,
  vdisks,
  groups,
  copies,
  bytes,
  files,
  leftOver,
  counts,
  unfinished,
  repaired,
}: Omit<CheckInfo, 'summary'>): string {
  const read = `${copies} ${copies === 1 ? 'copy' : 'copies'} of extent groups (${formatSize(bytes)})`
  const found = counts
    .map(({ kind, count: times }) => `${times} ${times === 1 ? singular[kind] : plural[kind]}`)
    .join(', ')
  const things = [
    countOf(vdisks.total, 'vDisk'),
    ...(files.files > 0 ? [countOf(files.files, 'file')] : []),
  ].join(' and ')
  const leftBehind = [
    ...(leftOver.entries > 0 ? [`${leftOver.entries} ${leftOver.entries === 1 ? 'entry' : 'entries'}`] : []),
    ...(leftOver.vdisks > 0 ? [countOf(leftOver.vdisks, 'vDisk')] : []),
  ].join(' and ')
  const over = leftBehind === '' ? '' : `; left over, and no damage: ${leftBehind}`
  const share = percent === undefined ? '' : `${percent} %: `
  const checked = [
    `${vdisks.checked} of ${countOf(vdisks.total, 'vDisk')}`,
    ...(groups.total === undefined ? [] : [`${groups.checked} of ${countOf(groups.total, 'extent group')}`]),
  ].join(' and ')
  const made = repaired > 0 ? `, ${repaired} made anew` : ''
  const left = unfinished.length > 0 ? `; not finished: ${unfinished[0]}` : ''
  switch (state) {
    case 'running':
      return `${share}${checked} checked, ${read} read${found === '' ? '' : `; wrong so far: ${found}${made}`}`
    case 'right':
      return `all is right: ${read} read, of ${things}${over}`
    case 'wrong':
      return `wrong: ${found}${made}; ${read} read, of ${things}${over}${left}`
    case 'unfinished':
      return `not finished: ${unfinished[0]}${unfinished.length > 1 ? `, and ${unfinished.length - 1} more` : ''}; nothing wrong in ${read}`
    case 'stopped':
      return `stopped: nothing wrong in ${read}`
    default:
      return state satisfies never
  }
}

const countOf = (number: number, what: string): string => `${number} ${what}${number === 1 ? '' : 's'}`
