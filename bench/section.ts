/** What was measured of one peer, ours in turn with it. */
import type { Sample } from './figures.ts'
import type { Resident, TargetName, TargetNotes } from './target.ts'

export interface Section {
  readonly peer: TargetName
  /** Of all whose samples are here. */
  readonly targets: readonly ({ readonly name: TargetName } & TargetNotes)[]
  readonly samples: readonly Sample[]
  readonly memory: readonly (Resident & { readonly of: TargetName })[]
}
