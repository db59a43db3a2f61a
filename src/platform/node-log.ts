/**
 * The log by pino: a line of JSON for each message, or a readable line where a person watches.
 *
 * Both are made in this thread and written behind the loop's back, so that a terminal that stands still stops no request.
 * What can't be written waits in memory up to `waitingBytesMax`; beyond it lines are dropped (I9). At the end
 * of the process, in order or by an uncaught exception, what waits is written.
 */
import { pino } from 'pino'
import { prettyFactory } from 'pino-pretty'
import { MiB } from '../base/units.ts'
import type { Log } from './platform.ts'

export interface NodeLogOptions {
  readonly level: 'debug' | 'info' | 'warn' | 'error' | 'silent'
  /** For people. Otherwise each line is a JSON object. */
  readonly pretty?: boolean
  /** In every line: the node's id, say. */
  readonly facts?: object
  /** A file descriptor (1 where nothing else is said), or the path of a file to append to. */
  readonly destination?: number | string
}

const waitingBytesMax = 4 * MiB

export function nodeLog(options: NodeLogOptions): Log {
  const destination = pino.destination({
    dest: options.destination ?? 1,
    sync: false,
    maxLength: waitingBytesMax,
  })
  const output = options.pretty ? prettyInto(destination) : destination
  return new PinoLog(
    pino(
      {
        level: options.level,
        base: options.facts ?? {},
        timestamp: pino.stdTimeFunctions.isoTime,
        formatters: { level: (label) => ({ level: label }) },
        serializers: { error: pino.stdSerializers.err },
      },
      output,
    ),
  )
}

// Not pino-pretty's own stream: that passes lines on in a later turn, and a crash would lose the ones that explain it.
function prettyInto(destination: { write(line: string): unknown }): { write(line: string): void } {
  const pretty = prettyFactory({ colorize: false, translateTime: 'SYS:HH:MM:ss.l', singleLine: true })
  return { write: (line) => void destination.write(pretty(line)) }
}

class PinoLog implements Log {
  readonly #pino: pino.Logger

  constructor(logger: pino.Logger) {
    this.#pino = logger
  }
  debug(message: string, facts?: object): void {
    this.#pino.debug(facts, message)
  }
  info(message: string, facts?: object): void {
    this.#pino.info(facts, message)
  }
  warn(message: string, facts?: object): void {
    this.#pino.warn(facts, message)
  }
  error(message: string, facts?: object): void {
    this.#pino.error(facts, message)
  }
  with(facts: object): Log {
    return new PinoLog(this.#pino.child(facts))
  }
}
