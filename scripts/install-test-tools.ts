/**
 * The programs that the suites in test/ use, from Debian's packages. `npm test` calls this: what is missing is installed
 * where that is possible, and named where it is not.
 */
import { spawnSync } from 'node:child_process'
import { accessSync, constants, globSync } from 'node:fs'
import { join } from 'node:path'

/** Programs of each package, or a file that comes with it, wherever this machine's architecture puts it. */
const packages: Readonly<Record<string, readonly string[]>> = {
  busybox: ['busybox'],
  e2fsprogs: ['mkfs.ext4', 'e2fsck'],
  fio: ['fio'],
  iproute2: ['ip'],
  kmod: ['depmod'],
  mount: ['mount', 'umount', 'losetup'],
  'libnbd-bin': ['nbdinfo', 'nbdcopy'],
  'libnfs-utils': ['nfs-ls', 'nfs-cp', 'nfs-cat'],
  nbdkit: ['nbdkit'],
  'nfs-common': ['showmount'],
  'qemu-block-extra': ['/usr/lib/*/qemu/block-nfs.so'],
  'qemu-system-x86': ['qemu-system-x86_64'],
  'qemu-utils': ['qemu-img', 'qemu-io'],
  rpcbind: ['rpcbind', 'rpcinfo'],
  sqlite3: ['sqlite3'],
  strace: ['strace'],
  'util-linux': ['unshare'],
  xfsprogs: ['mkfs.xfs'],
}

/** Where Debian puts programs, those for the administrator too. */
const folders = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin', '/usr/bin', '/bin']

export const isInstalled = (command: string): boolean =>
  (command.startsWith('/') && globSync(command).length > 0) ||
  folders.some((folder) => {
    try {
      accessSync(join(folder, command), constants.X_OK)
      return true
    } catch {
      return false
    }
  })

const missingPackages = (): string[] =>
  Object.keys(packages).filter((name) => !packages[name].every(isInstalled))

/** Resolves to the packages that are still missing. */
export function installTestTools(say: (line: string) => void): string[] {
  const missing = missingPackages()
  if (missing.length === 0) return []
  const names = missing.join(' ')
  if (process.getuid?.() !== 0 || !isInstalled('apt-get')) {
    say(`Test tools are missing. Install them: apt-get install --no-install-recommends ${names}`)
    return missing
  }
  say(`Installing test tools from Debian's packages: ${names}`)
  apt('update')
  apt('install', '-y', '--no-install-recommends', ...missing)
  const left = missingPackages()
  if (left.length > 0) say(`Cannot install ${left.join(' ')}: see what apt-get says above.`)
  return left
}

/** Quiet but for errors, and without questions. */
export function apt(...args: string[]): void {
  spawnSync('apt-get', ['-qq', ...args], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  })
}

if (import.meta.main) process.exitCode = installTestTools((line) => console.log(line)).length === 0 ? 0 : 1
