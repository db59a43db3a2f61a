/**
 * What must be true. A failed assertion is our bug, never a guest's or a disk's; it stops the process, because a
 * storage system that has stopped loses nothing and one that goes on in an unknown state may.
 */
export class AssertionFailure extends Error {
  override name = 'AssertionFailure'
}

export function assert(condition: unknown, message: string | (() => string)): asserts condition {
  if (!condition) throw new AssertionFailure(typeof message === 'string' ? message : message())
}
