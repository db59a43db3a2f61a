/** The same bytes in as few buffers as they lie in: neighbours in memory become one. */
export function joined(buffers: readonly Buffer[]): Buffer[] {
  const runs: Buffer[] = []
  for (let first = 0, past: number; first < buffers.length; first = past) {
    const { buffer, byteOffset } = buffers[first]
    let end = byteOffset
    for (past = first; past < buffers.length; past++) {
      const next = buffers[past]
      if (next.buffer !== buffer || next.byteOffset !== end) break
      end += next.length
    }
    runs.push(Buffer.from(buffer, byteOffset, end - byteOffset))
  }
  return runs
}
