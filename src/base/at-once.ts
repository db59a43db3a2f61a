/**
 * Works on items, so many at once, in order. Resolves when all are done. When one fails no further one is begun, and it
 * rejects with the first failure **only when all that were begun have ended**: whoever hears of it may touch what they touched.
 */
export async function atOnce<T>(
  items: readonly T[],
  most: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  let next = 0
  let failure: { readonly error: unknown } | undefined
  const worker = async (): Promise<void> => {
    while (next < items.length && failure === undefined)
      try {
        await work(items[next++])
      } catch (error) {
        failure ??= { error }
      }
  }
  await Promise.all(Array.from({ length: Math.min(most, items.length) }, worker))
  if (failure !== undefined) throw failure.error
}
