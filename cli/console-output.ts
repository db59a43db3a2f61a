/** What a command says on this terminal: lines for people, or one JSON value for each event or result for programs. */
import { NdfsError, messageOf } from '../src/base/errors.ts'
import type { Output } from '../src/local/local.ts'

export interface Results extends Output {
  /** A command's result: `shown` is what a person reads. */
  result(value: unknown, shown: string): void
}

export function consoleOutput(json: boolean | undefined): Results {
  const print = (text: string): void => void process.stdout.write(`${text}\n`)
  return json
    ? {
        line: () => undefined,
        event: (event) => print(JSON.stringify(event)),
        result: (value) => print(JSON.stringify(value)),
      }
    : {
        line: print,
        event: () => undefined,
        result: (_, shown) => print(shown),
      }
}

export function printError(error: unknown, json: boolean): void {
  if (json) {
    const { code = 'BUG', facts = {} } = error instanceof NdfsError ? error : {}
    process.stderr.write(`${JSON.stringify({ error: { code, message: messageOf(error), facts } })}\n`)
  } else if (error instanceof NdfsError || isOfTheSystem(error))
    process.stderr.write(`error: ${messageOf(error)}\n`)
  else
    process.stderr.write(`error: ndfs met a bug: ${error instanceof Error ? error.stack : String(error)}\n`)
}

const isOfTheSystem = (error: unknown): boolean =>
  typeof (error as NodeJS.ErrnoException).syscall === 'string'
