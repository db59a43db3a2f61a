/** Garbage collected when it suits us. Node.js has it for processes that were started so, and for those that ask as here. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

type Collect = (options: { type: 'major'; execution: 'sync'; flavor: 'last-resort' }) => void

let collect: Collect | undefined

/** From now on `collectGarbage` does what it says, in this process. */
export function exposeGarbage(): void {
  setFlagsFromString('--expose-gc')
  collect = runInNewContext('gc') as Collect
}

/** All of it, at once; memory that is empty then goes back to the system. Nothing happens where it was not exposed. */
export const collectGarbage = (): void =>
  collect?.({ type: 'major', execution: 'sync', flavor: 'last-resort' })
