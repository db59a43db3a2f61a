/** Trying again what met somebody else's work: bounded, with pauses that differ by chance. */
import { NdfsError } from '../../base/errors.ts'
import type { Chance, Clock } from '../../platform/platform.ts'
import { randomPause } from '../partition-changes/partition-changes.ts'

interface Around {
  readonly clock: Clock
  readonly chance: Chance
}

/** What was read has changed since: read again, and decide anew. */
export class Again extends Error {
  override name = 'Again'
}

const attemptsMax = 40
const forMs = 10_000

/** Runs `attempt` until it doesn't throw `Again`. UNAVAILABLE where it goes on for too long. */
export async function tryAgain<T>(platform: Around, what: string, attempt: () => Promise<T>): Promise<T> {
  const until = platform.clock.now() + forMs
  for (let attempts = 0; ; attempts++) {
    try {
      return await attempt()
    } catch (error) {
      if (!(error instanceof Again)) throw error
      if (attempts >= attemptsMax || platform.clock.now() >= until)
        throw new NdfsError(
          'UNAVAILABLE',
          `Cannot ${what}: others change the same all the time (${error.message}). Try again`,
          { attempts },
        )
    }
    await randomPause(platform, attempts)
  }
}
