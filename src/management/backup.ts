/** A backup of the metadata, as API and command line show it. */
import Type, { type Static } from 'typebox'

export const metadataBackupSchema = Type.Object(
  {
    takenAt: Type.Integer({ description: 'When it was begun. Milliseconds since 1970.' }),
    bytes: Type.Integer({ minimum: 0 }),
    places: Type.Array(Type.String(), {
      description: 'Where it lies: a file on a disk of each of up to three nodes.',
    }),
  },
  { additionalProperties: false },
)
export type MetadataBackupInfo = Static<typeof metadataBackupSchema>
