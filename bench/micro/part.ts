/** A hot part, small enough to be run alone: no disk, no socket, no other process. */
export interface Part {
  readonly name: string
  /** How many operations one `run` is. Parts that work on batches are run in batches, as in life. */
  readonly operations: number
  /** Does the same each time, and leaves nothing behind that a later run would notice. */
  readonly run: () => void | Promise<void>
}

/** What stands in for the choices of chance: the same in each run, and all over the range. */
export const scattered = (i: number, below: number): number => (Math.imul(i, 0x9e3779b1) >>> 0) % below
