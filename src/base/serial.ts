/** Runs tasks one after the other, in the order in which they came; one that fails doesn't stop the next. */
export class Serial {
  #last: Promise<unknown> = Promise.resolve()

  run<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#last.then(task)
    this.#last = result.catch(() => undefined)
    return result
  }
}

/** As `Serial`, for each key apart. It keeps as much as there are tasks. */
export class SerialByKey {
  readonly #last = new Map<string, Promise<void>>()

  run<T>(key: string, task: () => Promise<T>): Promise<T> {
    const before = this.#last.get(key)
    const result = before === undefined ? task() : before.then(task)
    const ended = (): void => {
      if (this.#last.get(key) === over) this.#last.delete(key)
    }
    const over: Promise<void> = result.then(ended, ended)
    this.#last.set(key, over)
    return result
  }
}
