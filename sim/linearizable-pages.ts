/**
 * Judges a history of page reads and writes: could a single disk, doing one thing at a time, have answered so (I2)?
 *
 * Each page (or sector: whatever the history numbers) is a register. The values written to one page are distinct, which
 * makes the question easy (Gibbons and Korach, "Testing Shared Memories", 1997). All operations with one value, its
 * write and the reads that returned it, stand next to one another in any order that explains the history. So each
 * value has a zone of time:
 *
 *     the earliest answer before the latest call   →  from that answer to that call the page held this value, all the
 *                                                     while: a *held* zone
 *     else                                         →  all its operations were under way at once; the page held the value at
 *                                                     some instant between that call and that answer: a *passing* zone
 *
 * The history is linearizable if and only if no read was answered before the write of its value was called, no two held
 * zones overlap, and no passing zone lies inside a held one.
 *
 * A write without answer, or with an error, may have happened at any time after its call, or never: it counts only if its
 * value was read. From then on it stays: a read that has returned a value has made it real. A page that nobody wrote
 * holds `initialValue`.
 *
 * Calls and answers at the same instant count as simultaneous.
 */

export const initialValue = 0

export interface PageOperation {
  readonly kind: 'read' | 'write'
  readonly page: number
  /** What was written, or what was read. */
  readonly value: number
  readonly calledAt: number
  /** Undefined: no answer, or an error. */
  readonly answeredAt: number | undefined
}

export interface Violation {
  readonly page: number
  readonly message: string
  readonly operations: readonly PageOperation[]
}

/** All operations with one value. */
interface Zone {
  readonly value: number
  readonly operations: PageOperation[]
  earliestAnswer: number
  latestCall: number
}

/** Writes down what clients do, with the true time. */
export class PageHistory {
  readonly operations: PageOperation[] = []

  /** A write is about to be sent. To be given to `written` once it is acknowledged. */
  write(page: number, value: number, now: number): PageOperation {
    const operation: PageOperation = { kind: 'write', page, value, calledAt: now, answeredAt: undefined }
    this.operations.push(operation)
    return operation
  }

  written(operation: PageOperation, now: number): void {
    this.operations[this.operations.lastIndexOf(operation)] = { ...operation, answeredAt: now }
  }

  read(page: number, value: number, calledAt: number, now: number): void {
    this.operations.push({ kind: 'read', page, value, calledAt, answeredAt: now })
  }
}

/** The first page, by number, whose history no single disk could have. */
export function findViolation(operations: readonly PageOperation[]): Violation | undefined {
  const pages = Map.groupBy(operations, (operation) => operation.page)
  for (const page of [...pages.keys()].sort((a, b) => a - b)) {
    const violation = findViolationInPage(page, pages.get(page) ?? [])
    if (violation) return violation
  }
  return undefined
}

function findViolationInPage(page: number, operations: readonly PageOperation[]): Violation | undefined {
  const fault = (message: string, involved: readonly PageOperation[]): Violation => ({
    page,
    message: `page ${page}: ${message}`,
    operations: involved,
  })
  const zones = new Map<number, Zone>()
  zones.set(initialValue, {
    value: initialValue,
    operations: [],
    earliestAnswer: Number.NEGATIVE_INFINITY,
    latestCall: Number.NEGATIVE_INFINITY,
  })
  for (const write of operations.filter(({ kind }) => kind === 'write')) {
    const other = zones.get(write.value)
    if (other) return fault(`the value ${write.value} was written twice`, [...other.operations, write])
    zones.set(write.value, {
      value: write.value,
      operations: [write],
      earliestAnswer: write.answeredAt ?? Number.POSITIVE_INFINITY,
      latestCall: write.calledAt,
    })
  }
  for (const read of operations) {
    if (read.kind !== 'read' || read.answeredAt === undefined) continue
    const zone = zones.get(read.value)
    if (!zone) return fault(`the value ${read.value} was read, which nobody wrote`, [read])
    const write = zone.operations.find(({ kind }) => kind === 'write')
    if (write && read.answeredAt < write.calledAt)
      return fault(`the value ${read.value} was read before it was written`, [read, write])
    zone.operations.push(read)
    zone.earliestAnswer = Math.min(zone.earliestAnswer, read.answeredAt)
    zone.latestCall = Math.max(zone.latestCall, read.calledAt)
  }
  return findClash([...zones.values()], fault)
}

function findClash(
  zones: readonly Zone[],
  fault: (message: string, involved: readonly PageOperation[]) => Violation,
): Violation | undefined {
  const held = zones
    .filter((zone) => zone.earliestAnswer < zone.latestCall)
    .sort((a, b) => a.earliestAnswer - b.earliestAnswer)
  for (const [index, zone] of held.entries()) {
    const next = held.at(index + 1)
    if (next && next.earliestAnswer < zone.latestCall)
      return fault(
        `the values ${zone.value} and ${next.value} were both held from ${next.earliestAnswer} to ` +
          `${Math.min(zone.latestCall, next.latestCall)}`,
        [...zone.operations, ...next.operations],
      )
  }
  for (const passing of zones) {
    if (passing.earliestAnswer < passing.latestCall) continue
    // Held zones don't overlap: only the last that begins before can contain it.
    const around = lastBeginningBefore(held, passing.latestCall)
    if (around && passing.earliestAnswer < around.latestCall)
      return fault(
        `the value ${around.value} was there before ${passing.value} came and again after: held from ` +
          `${around.earliestAnswer} to ${around.latestCall}, with ${passing.value} between ` +
          `${passing.latestCall} and ${passing.earliestAnswer}`,
        [...around.operations, ...passing.operations],
      )
  }
  return undefined
}

function lastBeginningBefore(held: readonly Zone[], time: number): Zone | undefined {
  let low = 0
  let high = held.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (held[middle].earliestAnswer < time) low = middle + 1
    else high = middle
  }
  return held[low - 1]
}
