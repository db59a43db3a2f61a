/**
 * Disks that move no more than so many bytes a second: file systems on loop devices, throttled by Linux for a group of processes.
 *
 *   a folder ── ext4 ── /dev/loopN, throttled ── a file
 *
 * For root, and where the blkio controller is one of its own (cgroup version 1).
 */
import { execFileSync } from 'node:child_process'
import {
  closeSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs'
import { basename, join } from 'node:path'

const controller = '/sys/fs/cgroup/blkio'
const say = (command: string, ...args: string[]): string =>
  execFileSync(command, args, { encoding: 'utf8' }).trim()

interface Volume {
  readonly path: string
  readonly device: string
}

export class ThrottledVolumes {
  readonly #volumes: Volume[] = []
  readonly #group = join(controller, `ndfs-bench-${process.pid}`)

  constructor() {
    if (!existsSync(join(controller, 'blkio.throttle.read_bps_device')))
      throw new Error(
        `Cannot throttle disks: there is no blkio controller at ${controller}. ` +
          'Run it as root on a machine whose cgroups are of version 1.',
      )
    mkdirSync(this.#group)
  }

  /** An empty file system of so many bytes, mounted at `path`, with what the folder held before. */
  mountOver(path: string, image: string, sizeBytes: number): void {
    const fd = openSync(image, 'wx')
    ftruncateSync(fd, sizeBytes)
    closeSync(fd)
    say('mkfs.ext4', '-q', '-F', '-E', 'lazy_itable_init=0,lazy_journal_init=0', image)
    const device = say('losetup', '--find', '--show', '--direct-io=on', image)
    this.#volumes.push({ path, device })
    const before = `${path}.before`
    say('mv', path, before)
    mkdirSync(path)
    say('mount', device, path)
    say('cp', '-a', `${before}/.`, path)
    say('rm', '-rf', before)
  }

  /** From now on the processes move at most so many bytes a second from each of the disks, and as many to each. */
  throttle(pids: readonly number[], bytesPerSecond: number): void {
    for (const { device } of this.#volumes) {
      const number = readFileSync(`/sys/block/${basename(device)}/dev`, 'utf8').trim()
      for (const way of ['read', 'write'])
        writeFileSync(join(this.#group, `blkio.throttle.${way}_bps_device`), `${number} ${bytesPerSecond}`)
    }
    for (const pid of pids) writeFileSync(join(this.#group, 'cgroup.procs'), String(pid))
  }

  /** Once nothing uses them any more. */
  end(): void {
    writeFileSync(join(controller, 'cgroup.procs'), String(process.pid))
    for (const { path, device } of this.#volumes.splice(0)) {
      execFileSync('umount', ['--lazy', path])
      execFileSync('losetup', ['--detach', device])
    }
    rmdirSync(this.#group)
  }
}
