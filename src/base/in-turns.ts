/**
 * Work that would hold the loop for many milliseconds, in turns: what has come meanwhile is handled before it goes on. Between two turns all may
 * change that is not the work's own, or held by it for as long.
 */

/** As the platform's clock has it: `callback` runs when all that is ready now has been handled. */
interface Turns {
  soon(callback: () => void): void
}

/** Resolves when all that is ready now has been handled. */
export const othersTurn = (clock: Turns): Promise<void> => new Promise((resolve) => clock.soon(resolve))

/** The items in order, `inATurn` at a time. */
export async function* inTurns<T>(
  clock: Turns,
  items: { readonly length: number; slice(from: number, to: number): Iterable<T> },
  inATurn: number,
): AsyncGenerator<Iterable<T>> {
  for (let at = 0; at < items.length; at += inATurn) {
    if (at > 0) await othersTurn(clock)
    yield items.slice(at, at + inATurn)
  }
}
