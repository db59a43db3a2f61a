/** What a process that stays needs of Node.js beyond what that gives by itself, whoever starts it: `ndfs up`, systemd, a container. */
import { exposeGarbage } from '../base/garbage.ts'

/** Threads for file I/O: reads of cold data wait in them, and all disks of a node share them. Node.js alone would have four. */
const fileThreads = '16'

/** To be called before all else: threads are made when the first file is looked at. Their number may have been set by an operator. */
export function prepareProcess(): void {
  process.env.UV_THREADPOOL_SIZE ??= fileThreads
  exposeGarbage()
}
