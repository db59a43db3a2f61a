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

/** The bytes from `from` to `to` of the buffers one after the other, without copying. */
export function cut<Bytes extends Uint8Array>(buffers: readonly Bytes[], from: number, to: number): Bytes[] {
  const result: Bytes[] = []
  let at = 0
  for (const buffer of buffers) {
    const part = buffer.subarray(Math.max(0, from - at), Math.max(0, to - at)) as Bytes
    if (part.length > 0) result.push(part)
    at += buffer.length
  }
  return result
}
