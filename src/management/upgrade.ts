/** How an upgrade stands, as API and command line show it. */
import Type, { type Static } from 'typebox'

const closed = { additionalProperties: false } as const
const format = (description: string) =>
  Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER, description })

export const releaseSchema = Type.Object(
  {
    version: Type.String({ pattern: '^[\\w.+-]{1,64}$', description: 'Of the program: `0.1.0`.' }),
    oldest: format('The oldest format of a cluster that it can serve.'),
    newest: format('The newest one.'),
  },
  closed,
)

export const upgradeInfoSchema = Type.Object(
  {
    format: format("The cluster's format: how all that is durable is written."),
    nodes: Type.Array(
      Type.Object(
        {
          node: Type.String(),
          state: Type.Union([Type.Literal('up'), Type.Literal('down')]),
          release: Type.Optional(releaseSchema),
        },
        {
          ...closed,
          description: 'Of which release it was when it was last started; absent where it never told.',
        },
      ),
    ),
    finish: Type.Union(
      [
        Type.Object({ to: format('The format that the cluster would have, or has already.') }, closed),
        Type.Object(
          { refusal: Type.String({ description: 'Why not.' }), nodes: Type.Array(Type.String()) },
          { ...closed, description: 'It would be refused because of these nodes.' },
        ),
      ],
      { description: 'What `ndfs upgrade finish` would do.' },
    ),
  },
  closed,
)
export type UpgradeInfo = Static<typeof upgradeInfoSchema>
