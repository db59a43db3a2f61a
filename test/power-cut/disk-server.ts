/**
 * The process that plays the disks: one of its own, since it must go on while others wait for what they asked of it.
 *
 *   parent → child   {id, order: 'attach' | 'hold' | 'off' | 'settle', …}
 *   child → parent   {id, answer} or {id, error}
 *
 * It ends when its parent does; the kernel then answers everything that is asked of its disks with an error.
 */
import { SeededChance } from '../../sim/seeded-chance.ts'
import { ForgetfulDisk, type Forgotten } from './forgetful-disk.ts'
import { FuseFile } from './fuse-file.ts'

export type Order =
  | {
      readonly order: 'attach'
      readonly disk: string
      readonly image: string
      readonly sizeBytes: number
      readonly at: string
    }
  /** The power of these fails: when so many writes more have come to one of them and were not answered yet, or soon. */
  | { readonly order: 'hold'; readonly disks: readonly string[]; readonly writes: number }
  | { readonly order: 'off'; readonly disks: readonly string[] }
  /** Waits until it is unmounted; then decides what has arrived of what was not flushed. */
  | {
      readonly order: 'settle'
      readonly disk: string
      readonly share: number
      readonly seed: number
      readonly purpose: string
    }

export interface Settled extends Forgotten {
  readonly flushes: number
}

const disks = new Map<string, { readonly disk: ForgetfulDisk; readonly file: FuseFile }>()

const diskNamed = (name: string) => {
  const found = disks.get(name)
  if (found === undefined) throw new Error(`there is no disk ${name}`)
  return found
}

async function obey(order: Order): Promise<Settled | undefined> {
  switch (order.order) {
    case 'attach': {
      const disk = new ForgetfulDisk(order.image, order.sizeBytes)
      disks.set(order.disk, { disk, file: await FuseFile.mount(disk, order.at) })
      return undefined
    }
    case 'hold':
      await hold(
        order.disks.map((name) => diskNamed(name).file),
        order.writes,
      )
      return undefined
    case 'off':
      for (const name of order.disks) diskNamed(name).file.off()
      return undefined
    case 'settle': {
      const { disk, file } = diskNamed(order.disk)
      await file.ended
      const forgotten = disk.cutPower(order.share, new SeededChance(order.seed, order.purpose))
      disk.close()
      disks.delete(order.disk)
      return { ...forgotten, flushes: disk.flushes }
    }
    default:
      return order satisfies never
  }
}

/** Where nobody writes the power fails all the same. */
const holdMsMax = 300

function hold(files: readonly FuseFile[], writes: number): Promise<void> {
  return new Promise((resolve) => {
    let left = writes
    const now = (): void => {
      clearTimeout(timer)
      for (const file of files) {
        file.onWrite = () => undefined
        file.hold()
      }
      resolve()
    }
    const timer = setTimeout(now, holdMsMax)
    for (const file of files)
      file.onWrite = () => {
        if (--left <= 0) now()
      }
  })
}

process.on('message', ({ id, order }: { id: number; order: Order }) => {
  obey(order).then(
    (answer) => process.send?.({ id, answer }),
    (error: unknown) => process.send?.({ id, error: error instanceof Error ? error.message : String(error) }),
  )
})
// A thread may wait in the kernel for the next request of a disk: only this ends it.
process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'))
