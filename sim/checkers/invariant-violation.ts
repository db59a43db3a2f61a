/**
 * A promise of DESIGN section 4 was seen broken. The message begins with the invariant's name, and says what was seen,
 * and where; the world's time and seed are added by whoever ends the run.
 */
export type Invariant = 'I1' | 'I2' | 'I3' | 'I4' | 'I5' | 'I6' | 'I7' | 'I8' | 'I9' | 'I10'

export class InvariantViolation extends Error {
  readonly invariant: Invariant

  constructor(invariant: Invariant, what: string, options?: ErrorOptions) {
    super(`${invariant}: ${what}`, options)
    this.invariant = invariant
  }
}
