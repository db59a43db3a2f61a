/** A log whose lines go, with the virtual time and the process, to the world's trace. */
import type { Log } from '../src/platform/platform.ts'

type Write = (level: string, message: string, facts: object | undefined) => void

export class SimLog implements Log {
  readonly #write: Write
  readonly #facts: object | undefined

  constructor(write: Write, facts?: object) {
    this.#write = write
    this.#facts = facts
  }

  debug(message: string, facts?: object): void {
    this.#line('debug', message, facts)
  }

  info(message: string, facts?: object): void {
    this.#line('info', message, facts)
  }

  warn(message: string, facts?: object): void {
    this.#line('warn', message, facts)
  }

  error(message: string, facts?: object): void {
    this.#line('error', message, facts)
  }

  with(facts: object): Log {
    return new SimLog(this.#write, { ...this.#facts, ...facts })
  }

  #line(level: string, message: string, facts?: object): void {
    this.#write(level, message, this.#facts || facts ? { ...this.#facts, ...facts } : undefined)
  }
}
