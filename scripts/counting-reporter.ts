/** A reporter of node:test for `npm test`: a line of JSON for each test that has ended, to be counted. */
import type { TestEvent } from 'node:test/reporters'

export interface EndedTest {
  readonly title: string
  readonly outcome: 'passed' | 'failed' | 'left out'
  /** Why it was left out. */
  readonly reason?: string
}

export default async function* countingReporter(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const { type, data } of events) {
    if ((type !== 'test:pass' && type !== 'test:fail') || data.details.type === 'suite') continue
    const title = data.name
    const { skip, todo } = data
    // A test that failed only because one in it did is counted there.
    const inner = type === 'test:fail' && failureTypeOf(data.details.error) === 'subtestsFailed'
    if (inner) continue
    const leftOut = skip ?? todo
    const ended: EndedTest =
      leftOut !== undefined && leftOut !== false
        ? { title, outcome: 'left out', reason: leftOut === true ? 'no reason is given' : leftOut }
        : { title, outcome: type === 'test:pass' ? 'passed' : 'failed' }
    yield `${JSON.stringify(ended)}\n`
  }
}

const failureTypeOf = (error: Error): unknown => (error as { failureType?: unknown }).failureType
