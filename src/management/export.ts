/** Who may use a container by NFS and NBD, and as whom: as operators set it, and as they are shown it. */
import Type, { type Static } from 'typebox'

const closed = { additionalProperties: false } as const

/** As many as a person still reads: each call is looked up in them. */
const networksMax = 64
/** `ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255/128` has 49. */
const networkLengthMax = 49
/** 2³² − 1 means *leave as it is* to those who set owners. */
const idMax = 2 ** 32 - 2

const networks = Type.Array(Type.String({ maxLength: networkLengthMax }), {
  maxItems: networksMax,
  description: 'Addresses, or networks as `10.0.0.0/8` and `fd00::/8`; who is in none of them is refused.',
})
const readOnly = Type.Boolean({ description: 'Nothing in it is changed by NFS.' })
const squash = Type.Union([Type.Literal('none'), Type.Literal('root'), Type.Literal('all')], {
  description: "Whose calls are taken for the anonymous user's.",
})
const anonymousId = Type.Integer({ minimum: 0, maximum: idMax })
const privilegedPorts = Type.Boolean({ description: 'Only ports below 1024 may call.' })

export const exportRulesSchema = Type.Object(
  { networks, readOnly, squash, anonymousUid: anonymousId, anonymousGid: anonymousId, privilegedPorts },
  { ...closed, description: 'Who may use it by NFS, and as whom.' },
)
export type ExportRulesInfo = Static<typeof exportRulesSchema>

export const exportChangeSchema = Type.Object(
  {
    networks: Type.Optional(
      Type.Union([networks, Type.Null()], {
        description: 'All that may, in place of those that might; null: the loopback addresses, as usual.',
      }),
    ),
    readOnly: Type.Optional(readOnly),
    squash: Type.Optional(squash),
    anonymousUid: Type.Optional(anonymousId),
    anonymousGid: Type.Optional(anonymousId),
    privilegedPorts: Type.Optional(privilegedPorts),
  },
  { ...closed, minProperties: 1, description: 'What is not named stays as it is.' },
)
export type ExportChange = Static<typeof exportChangeSchema>

export const nbdRulesSchema = Type.Object(
  { networks: { ...networks, description: 'Whose hosts may have its vDisks by NBD without TLS.' } },
  { ...closed, description: 'Who may use it by NBD, beside this machine and those who speak TLS.' },
)
export type NbdRulesInfo = Static<typeof nbdRulesSchema>
