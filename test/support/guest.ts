/**
 * A guest: Debian's kernel under QEMU's own emulation, with an initramfs made here of busybox and what a test adds. Its
 * console is its only output. Debian's packages are fetched once, and kept in the user's cache folder.
 *
 * The initramfs is a cpio archive ("newc"), a header of text, a name and the bytes for each file:
 *
 *   ┌────────┬─────────────────────────────┬──────┬─────────────────┬───────┬─────────────────┐
 *   │ 070701 │ 13 fields of 8 hex digits   │ name │ zeroes, to 4    │ bytes │ zeroes, to 4    │ … TRAILER!!!
 *   └────────┴─────────────────────────────┴──────┴─────────────────┴───────┴─────────────────┘
 */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import type { Cluster } from './cluster.ts'
import type { GuestPlace } from './namespaces.ts'
import { run } from './run.ts'

const cacheFolder = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'ndfs-test')
/** In the order in which they can be loaded, each after what it needs: modprobe's own list says the rest. */
const blockModules = ['virtio_pci', 'virtio_blk', 'ext4', 'crc32c_generic']
export const nfsModules = ['virtio_pci', 'virtio_net', 'nfsv3']

export interface Kernel {
  readonly image: string
  /** Paths of modules, in the order in which they are loaded. */
  readonly modules: readonly string[]
}

/** Debian's kernel, from its package. `modules`: those that the guest loads. */
export async function debianKernel(modules: readonly string[] = blockModules): Promise<Kernel> {
  const folder = join(cacheFolder, 'kernel')
  if (!existsSync(folder)) await fetchKernel(folder)
  const [version] = readdirSync(join(folder, 'lib/modules'))
  const place = join(folder, 'lib/modules', version)
  return {
    image: join(folder, 'boot', `vmlinuz-${version}`),
    modules: inOrder(readFileSync(join(place, 'modules.dep'), 'utf8'), modules).map((module) =>
      join(place, module),
    ),
  }
}

async function fetchKernel(folder: string): Promise<void> {
  const depends = await run('apt-cache', ['depends', 'linux-image-amd64'])
  const [name] = /linux-image-\d\S*/.exec(depends) ?? []
  if (name === undefined) throw new Error(`apt-cache names no kernel. Run apt-get update.\n${depends}`)
  await unpack([name], folder, async (making) => {
    const [version] = readdirSync(join(making, 'lib/modules'))
    // Debian keeps /lib in /usr by now: depmod is told where this one is.
    await run('/usr/sbin/depmod', ['-b', making, version])
  })
}

/** A folder with the files of Debian's packages, which need not be installed. */
export async function debianFiles(...packages: string[]): Promise<string> {
  const folder = join(cacheFolder, packages.join('+'))
  if (!existsSync(folder)) await unpack(packages, folder)
  return folder
}

/** `apt-get download` needs no rights. The folder is there when all is in it. */
async function unpack(
  packages: readonly string[],
  folder: string,
  finish: (making: string) => Promise<void> = async () => undefined,
): Promise<void> {
  const making = `${folder}.${process.pid}`
  rmSync(making, { recursive: true, force: true })
  mkdirSync(making, { recursive: true })
  await run('apt-get', ['-qq', 'download', ...packages], { cwd: making, seconds: 240 })
  for (const archive of readdirSync(making).filter((name) => name.endsWith('.deb'))) {
    await run('dpkg', ['-x', archive, '.'], { cwd: making })
    rmSync(join(making, archive))
  }
  await finish(making)
  renameSync(making, folder)
}

/** `modules.dep`: `kernel/fs/ext4/ext4.ko: what.ko it.ko needs.ko`, the nearest first. */
export function inOrder(modulesDep: string, modulesWanted: readonly string[]): string[] {
  const needs = new Map(
    modulesDep
      .split('\n')
      .filter((line) => line !== '')
      .map((line): [string, string[]] => {
        const [module, rest] = line.split(':')
        return [module, rest.trim().split(' ').filter(Boolean)]
      }),
  )
  const ordered = new Set<string>()
  for (const wanted of modulesWanted) {
    const module = [...needs.keys()].find((path) => path.endsWith(`/${wanted}.ko`))
    if (module === undefined) continue // built into this kernel
    for (const needed of (needs.get(module) ?? []).toReversed()) ordered.add(needed)
    ordered.add(module)
  }
  return [...ordered]
}

/**
 * Makes the initramfs at `path`. `init`: the shell script that is the guest's first process, after the usual mounts. `files`: where they are
 * in the guest, and where here.
 */
export async function makeInitramfs(
  path: string,
  kernel: Kernel,
  programs: readonly string[],
  init: string,
  files: Readonly<Record<string, string>> = {},
): Promise<void> {
  const archive = new Archive()
  const modules = kernel.modules.map((module) => ({
    module,
    name: module.slice(module.lastIndexOf('/') + 1),
  }))
  for (const { module, name } of modules) archive.add(`modules/${name}`, readFileSync(module), 0o644)
  for (const program of ['/bin/busybox', ...programs]) {
    archive.add(`bin/${program.slice(program.lastIndexOf('/') + 1)}`, readFileSync(program), 0o755)
    for (const library of await librariesOf(program))
      archive.add(library.slice(1), readFileSync(library), 0o755)
  }
  for (const [name, file] of Object.entries(files)) archive.add(name, readFileSync(file), 0o755)
  const script = [
    '#!/bin/busybox sh',
    'export PATH=/bin',
    '/bin/busybox --install -s /bin',
    'mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev; mount -t tmpfs t /tmp',
    ...modules.map(({ name }) => `insmod /modules/${name}`),
    'sleep 1',
    '(',
    init,
    ')',
    'echo "GUEST-ENDED $?"',
    'poweroff -f',
    '',
  ].join('\n')
  for (const folder of ['proc', 'sys', 'dev', 'tmp', 'mnt', 'etc']) archive.folder(folder)
  archive.add('init', Buffer.from(script), 0o755)
  writeFileSync(path, gzipSync(archive.end(), { level: 1 }))
}

async function librariesOf(program: string): Promise<string[]> {
  const listed = await run('ldd', [program])
  return [...listed.matchAll(/(?:=> |^\s*)(\/\S+)/gm)].map(([, library]) => library)
}

class Archive {
  readonly #pieces: Buffer[] = []
  readonly #names = new Set<string>()

  folder(name: string): void {
    if (name === '' || this.#names.has(name)) return
    const parent = name.lastIndexOf('/')
    if (parent > 0) this.folder(name.slice(0, parent))
    this.#entry(name, 0o40755, Buffer.alloc(0))
  }

  add(name: string, bytes: Buffer, mode: number): void {
    if (this.#names.has(name)) return
    const parent = name.lastIndexOf('/')
    if (parent > 0) this.folder(name.slice(0, parent))
    this.#entry(name, 0o100000 | mode, bytes)
  }

  end(): Buffer {
    this.#entry('TRAILER!!!', 0, Buffer.alloc(0))
    return Buffer.concat(this.#pieces)
  }

  #entry(name: string, mode: number, bytes: Buffer): void {
    this.#names.add(name)
    const fields = [this.#names.size, mode, 0, 0, 1, 0, bytes.length, 0, 0, 0, 0, name.length + 1, 0]
    const header = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}${name}\0`
    this.#pieces.push(padded(Buffer.from(header, 'latin1')), padded(bytes))
  }
}

const padded = (bytes: Buffer): Buffer => Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)])

/** QEMU's words for a guest whose disk is `drive`, an NBD URI. */
export const guestWords = (kernel: Kernel, initramfs: string, drive: string): string[] => [
  ...machineWords(kernel, initramfs),
  ...['-net', 'none', '-drive', `file=${drive},format=raw,if=virtio,cache=none`],
]

/** QEMU's words for a guest without a disk that reaches this machine's loopback addresses as `hostOfGuest`. */
export const networkGuestWords = (kernel: Kernel, initramfs: string): string[] => [
  ...machineWords(kernel, initramfs),
  ...['-netdev', 'user,id=n', '-device', 'virtio-net-pci,netdev=n,romfile='],
]
export const hostOfGuest = '10.0.2.2'
/** What brings its network up. */
export const guestNetwork = `
ifconfig lo 127.0.0.1 up
ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
route add default gw ${hostOfGuest}
`

/** QEMU's words for a guest with an address of its own among nodes that are in namespaces. */
export const neighbourGuestWords = (kernel: Kernel, initramfs: string, place: GuestPlace): string[] => [
  ...machineWords(kernel, initramfs),
  ...['-netdev', `tap,id=n,ifname=${place.tap},script=no,downscript=no`],
  ...['-device', `virtio-net-pci,netdev=n,mac=${place.card},romfile=`],
]

/** Mounts the container `vms` by a node. `more`: further options, a comma before each. */
export function nfsMount(cluster: Cluster, node: string, folder: string, more = ''): string {
  const port = cluster.node(node).nfs?.address.split(':')[1]
  assert(port !== undefined, `${node} serves no NFS`)
  const options = `vers=3,nolock,proto=tcp,mountproto=tcp,addr=${hostOfGuest},port=${port},mountport=${port}${more}`
  return `mkdir -p ${folder}; mount -t nfs -o ${options} ${hostOfGuest}:/vms ${folder}`
}

const machineWords = (kernel: Kernel, initramfs: string): string[] => [
  ...['-accel', 'tcg,thread=multi', '-cpu', 'max', '-smp', '2', '-m', '512'],
  ...['-nographic', '-no-reboot', '-nodefaults', '-serial', 'stdio'],
  ...['-kernel', kernel.image, '-initrd', initramfs, '-append', 'console=ttyS0 quiet panic=-1'],
]
