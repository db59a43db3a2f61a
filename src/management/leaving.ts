/** Nodes and disks that are being left, in order: how far that is, in numbers and in words. Pure. */
import Type, { type Static } from 'typebox'
import { formatSize } from '../base/units.ts'

const closed = { additionalProperties: false } as const
const count = (description: string) => Type.Integer({ minimum: 0, description })

export const modeSchema = Type.Union(
  [Type.Literal('active'), Type.Literal('draining'), Type.Literal('maintenance'), Type.Literal('removed')],
  {
    description:
      '`draining`: everything moves off it; `maintenance`: vDisks and logs do; `removed`: it is no part of the cluster any more, and goes.',
  },
)
export type Mode = Static<typeof modeSchema>

export const leavingSchema = Type.Object(
  {
    sentence: Type.String({ description: 'How far it is: for people.' }),
    node: Type.String(),
    disk: Type.Optional(Type.String({ description: 'Absent where all of the node is meant.' })),
    mode: modeSchema,
    groups: count('Extent groups that have a copy there.'),
    bytes: count('Of those copies, at most.'),
    logs: count('vDisks whose log lies there.'),
    vdisks: count('vDisks that the node owns.'),
    unknown: count('vDisks of which is not known whether they have something there.'),
    done: Type.Boolean({ description: 'Nothing that has to leave is there any more.' }),
    bytesPerSecond: count('Of copies made in the last seconds, in the whole cluster.'),
    waitsFor: Type.Optional(Type.String({ description: 'Why it does not go on, or not with all.' })),
    repairWaitsUntil: Type.Optional(
      Type.Integer({
        description:
          'In maintenance: until when its absence is no reason to repair. Milliseconds since 1970.',
      }),
    ),
  },
  closed,
)
export type Leaving = Static<typeof leavingSchema>

/** What one of them comes to, as `ndfs status` shows it. */
export function leavingSentence(leaving: Omit<Leaving, 'sentence'>): string {
  const { node, disk, mode, groups, bytes, logs, vdisks, unknown, done, waitsFor, bytesPerSecond } = leaving
  const what = disk === undefined ? node : `disk ${disk} of ${node}`
  const command = disk === undefined ? `node remove ${node}` : `disk remove ${disk}`
  const there = [
    ...(groups > 0 ? [`copies of ${counted(groups, 'extent group')} (at most ${formatSize(bytes)})`] : []),
    ...(logs > 0 ? [`logs of ${counted(logs, 'vDisk')}`] : []),
    ...(vdisks > 0 ? [`${counted(vdisks, 'vDisk')} that it owns`] : []),
    ...(unknown > 0 ? [`what ${counted(unknown, 'vDisk')} may have there, which could not be read`] : []),
  ]
  switch (mode) {
    case 'draining':
      if (done)
        return `${what} is drained: nothing is left on it. \`ndfs ${command}\` takes it out of the cluster`
      return [
        `${what} is being drained: ${there.join(', ')} left`,
        ...(bytesPerSecond > 0 && groups > 0 ? [`${formatSize(bytesPerSecond)}/s`] : []),
        ...(waitsFor === undefined ? [] : [`it waits: ${waitsFor}`]),
      ].join('; ')
    case 'maintenance':
      return maintenanceSentence(leaving, what)
    case 'removed':
      return `${what} is being removed: \`ndfs ${command}\` goes on with it`
    case 'active':
      return `${what} is active`
    default:
      return mode satisfies never
  }
}

function maintenanceSentence(
  { logs, vdisks, done, repairWaitsUntil }: Omit<Leaving, 'sentence'>,
  what: string,
): string {
  const until = repairWaitsUntil === undefined ? '' : ` until ${new Date(repairWaitsUntil).toISOString()}`
  return done
    ? `${what} is in maintenance: it may be stopped; what lies on it is not made anew elsewhere${until}`
    : `${what} goes into maintenance: ${counted(vdisks, 'vDisk')} that it owns and logs of ${counted(logs, 'vDisk')} left`
}

const counted = (number: number, what: string): string => `${number} ${what}${number === 1 ? '' : 's'}`
