/** Told by the system when names in a folder come, go or change: no look is taken while nothing does. */
import { watch } from 'node:fs'

/** Calls back after each change, perhaps several times for one. Throws ENOENT where a folder is not there. */
export function watchFolders(folders: Iterable<string>, changed: () => void): { stop(): void } {
  const watchers = [...new Set(folders)].map((folder) =>
    // A folder that is taken away has changed, too; whoever looks then sees that.
    watch(folder, { persistent: false }, changed).on('error', changed),
  )
  return {
    stop: () => {
      for (const watcher of watchers) watcher.close()
    },
  }
}
