/** So that what is read comes from the disk; where this is not root's, what lies in the page cache stays there, for all that is compared. */
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'

export function dropCaches(): boolean {
  execFileSync('sync')
  try {
    writeFileSync('/proc/sys/vm/drop_caches', '3')
    return true
  } catch {
    return false
  }
}
