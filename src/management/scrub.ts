/** How the scrub stands, as API and command line show it: pure sums of what the nodes tell. */
import Type, { type Static } from 'typebox'

const closed = { additionalProperties: false } as const
const count = (description: string) =>
  Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER, description })
const time = (description: string) => Type.Integer({ description: `${description} Milliseconds since 1970.` })
const share = (description: string) => Type.Number({ minimum: 0, maximum: 1, description })
const often = 'Every copy is read and verified once in so many seconds; 0: none is.'
const filesDescription =
  'Damaged files and wrong names in containers, as the last rounds have found them; `ndfs check` says which.'
const everySeconds = count(often)

export const scrubNodeSchema = Type.Object(
  {
    node: Type.String(),
    progress: share('Of the copies on its disks, how many this round has passed.'),
    begunAt: time('When this round began.'),
    lastCompleteAt: Type.Optional(time('When every copy on its disks had been read last.')),
    copies: count('Copies read in this round.'),
    bytes: count('Bytes read in this round.'),
    found: count('Wrong copies that its scrub has found, ever.'),
    repaired: count('Of them, those that were made anew.'),
    waiting: count('Of them, those that are still to be made anew.'),
    damagedFiles: count(filesDescription),
  },
  closed,
)
export type ScrubNode = Static<typeof scrubNodeSchema>

export const scrubInfoSchema = Type.Object(
  {
    everySeconds,
    progress: share('Of the node that is behind the others.'),
    lastCompleteAt: Type.Optional(
      time('By then every node had read every copy on its disks; absent while one never has.'),
    ),
    found: count('Wrong copies that were found, ever.'),
    repaired: count('Of them, those that were made anew.'),
    waiting: count('Of them, those that are still to be made anew.'),
    damagedFiles: count(filesDescription),
    nodes: Type.Array(scrubNodeSchema, { description: 'Those that answer.' }),
  },
  closed,
)
export type ScrubInfo = Static<typeof scrubInfoSchema>

/** Without the nodes, one by one. */
export const scrubSumSchema = Type.Omit(scrubInfoSchema, ['nodes'])
export type ScrubSum = Static<typeof scrubSumSchema>

const yearSeconds = 365 * 24 * 3600
export const scrubChangeSchema = Type.Object(
  {
    everySeconds: Type.Integer({ minimum: 0, maximum: yearSeconds, description: often }),
  },
  closed,
)
export type ScrubChange = Static<typeof scrubChangeSchema>

export function scrubInfoOf(every: number, nodes: readonly ScrubNode[]): ScrubInfo {
  const sum = (of: (node: ScrubNode) => number): number => nodes.reduce((total, node) => total + of(node), 0)
  const complete = nodes.map(({ lastCompleteAt }) => lastCompleteAt)
  const oldest = complete.reduce(
    (a, b) => (a === undefined || b === undefined ? undefined : Math.min(a, b)),
    complete[0],
  )
  return {
    everySeconds: every,
    progress: nodes.length === 0 ? 0 : Math.min(...nodes.map(({ progress }) => progress)),
    ...(oldest === undefined ? {} : { lastCompleteAt: oldest }),
    found: sum(({ found }) => found),
    repaired: sum(({ repaired }) => repaired),
    waiting: sum(({ waiting }) => waiting),
    damagedFiles: sum(({ damagedFiles }) => damagedFiles),
    nodes: [...nodes],
  }
}

/** What is wrong with it, as `ndfs status` shows it. */
export function scrubProblems({ everySeconds: every, waiting, damagedFiles }: ScrubSum): string[] {
  return [
    ...(every === 0
      ? ['copies are not scrubbed: one that rots is found when it is read. `ndfs scrub set --every 14d`']
      : []),
    ...(waiting > 0
      ? [
          `${waiting} wrong ${waiting === 1 ? 'copy that the scrub found is' : 'copies that the scrub found are'} still to be made anew`,
        ]
      : []),
    ...(damagedFiles > 0
      ? [
          `the scrub found ${damagedFiles} damaged ${damagedFiles === 1 ? 'file or wrong name' : 'files or wrong names'}: \`ndfs check\` says which`,
        ]
      : []),
  ]
}
