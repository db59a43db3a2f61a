/** Who may use a container by NFS and NBD, on the command line. */
import { type Command, InvalidArgumentError, Option } from 'commander'
import type { ContainerChange, ExportChange } from '../src/management/management.ts'
import { countArgument } from './arguments.ts'

export interface ExportOptions {
  readonly nbdAllow?: readonly string[]
  readonly nfsAllow?: readonly string[]
  readonly nfsReadOnly?: boolean
  readonly nfsSquash?: 'none' | 'root' | 'all'
  readonly nfsAnonymousUid?: number
  readonly nfsAnonymousGid?: number
  readonly nfsPrivilegedPorts?: boolean
}

/** Each stands for the whole list. */
const words: readonly string[] = ['none', 'default']

function allowArgument(text: string, before: readonly string[] = []): readonly string[] {
  const all = [...before, text]
  if (all.length > 1 && all.some((one) => words.includes(one)))
    throw new InvalidArgumentError('none and default stand alone.')
  return all
}

const squashes = ['none', 'root', 'all'] as const
const idArgument = countArgument(0, 2 ** 32 - 2)

export const withExportOptions = (command: Command): Command =>
  command
    .option(
      '--nbd-allow <network>',
      'whose hosts may have its vDisks by NBD without TLS, such as 10.0.0.0/8 or fd00::/8, each time one more; all others may not. none: ' +
        'nobody, as usual; this machine always may',
      allowArgument,
    )
    .option(
      '--nfs-allow <network>',
      'who may use it by NFS, such as 10.0.0.0/8 or fd00::/8, each time one more; all others may not. none: nobody; default: this machine',
      allowArgument,
    )
    .option('--nfs-read-only', 'nothing in it is changed by NFS')
    .option('--no-nfs-read-only', 'NFS may change it')
    .addOption(
      new Option('--nfs-squash <whom>', "whose calls are taken for the anonymous user's").choices(squashes),
    )
    .option('--nfs-anonymous-uid <uid>', 'the anonymous user', idArgument)
    .option('--nfs-anonymous-gid <gid>', 'the anonymous group', idArgument)
    .option('--nfs-privileged-ports', "only ports below 1024 may call: a machine's root")
    .option('--no-nfs-privileged-ports', 'any port may call')

/** What of it was named. */
export function containerChangeOf(options: ExportOptions): ContainerChange {
  const nfs = exportChangeOf(options)
  const { nbdAllow } = options
  return {
    ...(nfs === undefined ? {} : { nfs }),
    ...(nbdAllow === undefined ? {} : { nbd: { networks: networksOf(nbdAllow) ?? [] } }),
  }
}

/** undefined where nothing of it was named. */
function exportChangeOf(options: ExportOptions): ExportChange | undefined {
  const { nfsAllow, nfsReadOnly, nfsSquash, nfsAnonymousUid, nfsAnonymousGid, nfsPrivilegedPorts } = options
  const change: ExportChange = {
    ...(nfsAllow === undefined ? {} : { networks: networksOf(nfsAllow) }),
    ...(nfsReadOnly === undefined ? {} : { readOnly: nfsReadOnly }),
    ...(nfsSquash === undefined ? {} : { squash: nfsSquash }),
    ...(nfsAnonymousUid === undefined ? {} : { anonymousUid: nfsAnonymousUid }),
    ...(nfsAnonymousGid === undefined ? {} : { anonymousGid: nfsAnonymousGid }),
    ...(nfsPrivilegedPorts === undefined ? {} : { privilegedPorts: nfsPrivilegedPorts }),
  }
  return Object.keys(change).length === 0 ? undefined : change
}

function networksOf([first, ...more]: readonly string[]): string[] | null {
  if (first === 'default') return null
  return first === 'none' ? [] : [first, ...more]
}
