/**
 * `ndfs down --dir DIR`: ends all that runs in a directory. `up` is asked first, for it ends the rest in order; what it
 * leaves, or left behind when it was killed itself, is ended here: nodes together, the store last.
 */
import { rm } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { Platform } from '../platform/platform.ts'
import { layoutOf, readCluster } from './layout.ts'
import type { Output } from './local.ts'
import { endGraceMs, endProcess, runningProcess } from './processes.ts'

/** `up` needs the grace of the nodes, then that of the store, and a moment for itself. */
const upGraceMs = 2 * endGraceMs + 2000

/** Resolves to how many processes it ended; 0 where nothing ran, or nothing is there. */
export async function down(dir: string, { files, clock }: Platform, output: Output): Promise<number> {
  const layout = layoutOf(resolve(dir))
  let ended = 0
  const end = async (name: string, path: string, graceMs?: number): Promise<void> => {
    const running = await runningProcess(files, path)
    if (!running) return
    const ending = await endProcess(running, clock, graceMs)
    if (ending === 'was gone') return
    ended++
    output.line(
      `${name} (process ${running.pid}) ended${ending === 'killed' ? ': it had to be killed' : ''}.`,
    )
    output.event({ event: 'ended', name, pid: running.pid, ending })
    await rm(path, { force: true })
  }
  await end('up', layout.upProcess, upGraceMs)
  const nodes = (await readCluster(files, layout))?.nodes ?? []
  await Promise.all(nodes.map(({ id }) => end(id, layout.node(id).process)))
  await end('store', layout.store.process)
  // What a killed `up` left behind.
  for (const path of [layout.clusterFile, layout.upSocket]) await rm(path, { force: true })
  return ended
}
