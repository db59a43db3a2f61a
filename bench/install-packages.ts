/**
 * What a bench needs, from Debian's packages. Their services are not started as they are installed: what runs is what a script of ours
 * starts, with its state in a folder of ours. The packages stay.
 */
import { existsSync, rmSync, writeFileSync } from 'node:fs'
import { apt, isInstalled } from '../scripts/install-test-tools.ts'

export interface NeededPackages {
  readonly packages: readonly string[]
  /** That they bring, and that are looked for. */
  readonly commands: readonly string[]
}

/** Debian asks this program before it starts a service; 101 means: don't. */
const policy = '/usr/sbin/policy-rc.d'

export function installPackages(
  name: string,
  { packages, commands }: NeededPackages,
  say: (line: string) => void,
): void {
  if (commands.every(isInstalled)) return
  const names = packages.join(' ')
  if (process.getuid?.() !== 0 || !isInstalled('apt-get'))
    throw new Error(
      `Cannot measure ${name}: its programs are missing, and only root on Debian can install them. ` +
        `Install ${names}.`,
    )
  say(`Installing for ${name} from Debian's packages: ${names}`)
  const ours = !existsSync(policy)
  if (ours) writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 })
  try {
    apt('update')
    apt('install', '-y', '--no-install-recommends', ...packages)
  } finally {
    if (ours) rmSync(policy, { force: true })
  }
  const missing = commands.filter((command) => !isInstalled(command))
  if (missing.length > 0)
    throw new Error(
      `Cannot measure ${name}: ${missing.join(', ')} is missing after the installation of ${names}. ` +
        'See what apt-get says above.',
    )
}
