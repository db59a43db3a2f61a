/** When the certificates of nodes end, and whom that is said to. */
import type { NodeInfo, Sample } from './management/management.ts'

/** Milliseconds since 1970, by what the certificate is for; absent where there is none. */
export interface CertificateEnds {
  readonly peers?: number | undefined
  readonly nbd?: number | undefined
}

const dayMs = 24 * 3600 * 1000
/** So many days before its end it is named among the problems. */
const warningDays = 30

export function certificateProblems(nodes: readonly NodeInfo[], now: number): string[] {
  return nodes.flatMap(({ id, certificates = {} }) =>
    Object.entries(certificates).flatMap(([use, { expiresAt }]) => {
      const daysLeft = Math.floor((expiresAt - now) / dayMs)
      if (daysLeft >= warningDays) return []
      const what = `The certificate of ${id} for ${use === 'nbd' ? 'clients of NBD' : 'peers'}`
      return daysLeft < 0
        ? [`${what} has ended: new connections are refused. Put a new one in its place`]
        : [`${what} ends in ${daysLeft} days: put a new one in its place`]
    }),
  )
}

/** As the API shows them. */
export function certificatesOf({ peers, nbd }: CertificateEnds): Pick<NodeInfo, 'certificates'> {
  if (peers === undefined && nbd === undefined) return {}
  return {
    certificates: {
      ...(peers === undefined ? {} : { peers: { expiresAt: peers } }),
      ...(nbd === undefined ? {} : { nbd: { expiresAt: nbd } }),
    },
  }
}

export function certificateSamples(ends: CertificateEnds): Sample[] {
  return Object.entries(ends).flatMap(([use, expiresAt]: [string, number | undefined]) =>
    expiresAt === undefined
      ? []
      : [
          {
            kind: 'gauge',
            name: 'certificate_expires_seconds',
            help: 'When the certificate ends, in seconds since 1970.',
            value: Math.floor(expiresAt / 1000),
            labels: { use },
          },
        ],
  )
}
