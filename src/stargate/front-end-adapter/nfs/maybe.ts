/** What is there at once goes on at once: a promise for each of a hundred thousand reads a second would cost more than the read. */
import type { Maybe } from '../../io/io.ts'

export const after = <A, B>(value: Maybe<A>, next: (value: A) => Maybe<B>): Maybe<B> =>
  value instanceof Promise ? value.then(next) : next(value)
