/** What a suite needs that this project does not bring along. */
import { isInstalled } from '../../scripts/install-test-tools.ts'

/** For node:test's `skip`: why the test can't run here, or false where it can. */
export function without(...commands: string[]): string | false {
  const missing = commands.filter((command) => !isInstalled(command))
  return missing.length === 0 ? false : `${missing.join(', ')} is not installed (npm test says how)`
}
