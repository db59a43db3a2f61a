/**
 * The format of a cluster: one number for how all that is durable is written, in logs, trailers, rows and keys alike. The cluster has it in Zeus
 * (src/cluster-format.ts), and it only rises, by `ndfs upgrade finish`.
 *
 *   format   since   what it brought
 *   1, 2     -       as it was written before the first release; it is not read any more
 *   3        0.1.0   rows of extent groups share partitions (docs/decisions/0022), rows of files are arrays (docs/decisions/0024)
 *
 *  1. A release serves a range of formats: under each of them it writes as that format says, and nothing that is newer. So every node whose range has
 *     the cluster's format reads what any other has written.
 *  2. What was written under older formats stays as it is when the format rises. So a release reads them all, also those below its range.
 *  3. A release has the newest format of the one before it in its range: both serve together while nodes go from one to the other.
 */
import { NdfsError } from './errors.ts'
import { version } from './version.ts'

export interface Release {
  /** As in package.json: for people to read. Nothing is decided by it. */
  readonly version: string
  readonly oldest: number
  readonly newest: number
}

const formats = { oldest: 3, newest: 3 }
export const thisRelease: Release = { version, ...formats }

export const servesFormat = ({ oldest, newest }: Release, format: number): boolean =>
  oldest <= format && format <= newest

/** `NDFS 0.2.0, which serves formats 1 to 2` */
export const releaseText = ({ version: name, oldest, newest }: Release): string =>
  `NDFS ${name}, which serves ${oldest === newest ? `format ${oldest}` : `formats ${oldest} to ${newest}`}`

/** REFUSED, for `what` that such a release can't do; facts `clusterFormat`. */
export const otherFormat = (what: string, release: Release, format: number): NdfsError =>
  new NdfsError(
    'REFUSED',
    `Cannot ${what}: it is ${releaseText(release)}, and the cluster's format is ${format}. ` +
      `Install ${release.newest < format ? 'a newer' : 'an older'} release; \`ndfs upgrade status\` shows which the nodes have`,
    { clusterFormat: format, oldest: release.oldest, newest: release.newest },
  )

/** Whoever starts processes need not start this one again before another release is installed. */
export const saysOtherFormat = (error: unknown): boolean =>
  error instanceof NdfsError && error.facts.clusterFormat !== undefined
