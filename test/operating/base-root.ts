/** A clean Debian, as debootstrap makes it: made once, and kept in the user's cache with the packages that a machine installs later from there. */
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'

const suite = 'bookworm'
const mirror = process.env.NDFS_DEBIAN_MIRROR ?? 'http://deb.debian.org/debian'
const cache = process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache')
/** What a server has that was just installed: it boots, and has a network. */
const installed = ['systemd-sysv', 'dbus', 'iproute2']
/** What docs/operating.md has installed, without a network from there on. */
const fetched = ['zookeeperd', 'sudo', 'adduser', 'libstdc++6']

export const baseRoot = join(cache, 'ndfs', `debian-${suite}-1`)

/** Interrupted, it is done again. */
export function makeBaseRoot(say: (line: string) => void): void {
  if (existsSync(baseRoot)) return
  say(`Making a clean Debian ${suite} in ${baseRoot}, from ${mirror}`)
  mkdirSync(dirname(baseRoot), { recursive: true })
  const folder = mkdtempSync(join(dirname(baseRoot), 'making-'))
  const steps = [
    ['debootstrap', '--variant=minbase', `--include=${installed.join(',')}`, suite, folder, mirror],
    ['chroot', folder, 'apt-get', '-qq', 'update'],
    [
      ...['chroot', folder, 'apt-get', '-qq', '--download-only', '--no-install-recommends', 'install'],
      ...fetched,
    ],
  ]
  try {
    for (const [program, ...args] of steps) {
      const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' })
      if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${(stderr || stdout).slice(-2000)}`)
    }
    // It has the name of the machine that made it; and it need not outlive a power cut.
    rmSync(join(folder, 'etc/hostname'))
    writeFileSync(join(folder, 'etc/dpkg/dpkg.cfg.d/unsafe-io'), 'force-unsafe-io\n')
    chmodSync(folder, 0o755)
    renameSync(folder, baseRoot)
  } catch (error) {
    rmSync(folder, { recursive: true, force: true })
    throw error
  }
}
