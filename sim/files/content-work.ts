/**
 * Clients that write, read and cut files, small ones and such as grow to vDisks. What they write tells in each sector by which write it was
 * written (sector-stamps.ts), and what they see goes into each file's history (sector-history.ts).
 *
 *  1. Behind its end a file has zeros: what is cut off is zeroed, and each answer that tells a size tells that there are zeros behind it. So a size
 *     that falls short of an acknowledged write is a write that was lost.
 *  2. A WRITE without an answer may be done at any time later: no session of NFS version 3 ends it (F3).
 *  3. A file is used for a while, and then removed or left as it is.
 */
import type { NodeId } from '../../src/base/ids.ts'
import { inlineBytesMax } from '../../src/stargate/namespace/namespace.ts'
import { InvariantViolation } from '../checkers/invariant-violation.ts'
import { findSectorViolation, SectorHistory, type SectorWrite } from '../sector-history.ts'
import { sectorBytes, stampSectors, stampsIn, zeroStamp } from '../sector-stamps.ts'
import type { ClientObserver } from '../workload.ts'
import type { NfsCaller, Sending } from './nfs-caller.ts'
import * as nfs from './nfs-calls.ts'

export interface ContentWorkOptions {
  readonly name: string
  readonly root: Buffer
  readonly callers: readonly NfsCaller[]
  readonly now: () => number
  readonly pauseMsMost: () => number
  readonly nextStamp: () => number
  /** Who looks where the bytes of a file's vDisk lie. */
  readonly observer: (history: SectorHistory) => ClientObserver
}

/** Where a file becomes a vDisk. */
const inlineSectors = inlineBytesMax / sectorBytes
const fileSectors = 2 * inlineSectors
/** Files in use at once. */
const filesAtOnce = 2
const operationsOfFile = 60
/** Of those that stay to the end. */
const keptMax = 3
const readSectors = 256

/** Of a hundred. */
const doings = [
  ['write', 40],
  ['read', 30],
  ['write far', 8],
  ['size', 12],
  ['write over the end', 6],
  ['cut', 4],
] as const

class UsedFile {
  readonly name: string
  readonly handle: Buffer
  readonly history = new SectorHistory()
  /** A removal was asked for. */
  removing = false
  /** An acknowledged write, or a change of size, has made a vDisk of it. */
  isVDisk = false
  left = operationsOfFile
  /** The largest size that anybody asked for. */
  topSectors = 0

  constructor(name: string, handle: Buffer) {
    this.name = name
    this.handle = handle
  }
}

export class ContentWork {
  readonly #options: ContentWorkOptions
  readonly #used: UsedFile[] = []
  readonly #kept: UsedFile[] = []
  readonly #all: UsedFile[] = []
  #made = 0
  #making = 0
  #stopping = false

  constructor(options: ContentWorkOptions) {
    this.#options = options
  }

  async run(): Promise<void> {
    const { callers, pauseMsMost } = this.#options
    const hand = async (caller: NfsCaller): Promise<void> => {
      while (!this.#stopping) {
        if (this.#used.length + this.#making < filesAtOnce) await this.#make(caller)
        else if (this.#used.length > 0)
          await this.#act(this.#used[caller.chance.below(this.#used.length)], caller)
        await caller.pause(caller.chance.between(0, pauseMsMost()))
      }
    }
    await Promise.all(callers.map(hand))
    this.#kept.push(...this.#used.splice(0))
  }

  stop(): void {
    this.#stopping = true
  }

  /** All files that are left, as one node shows them. */
  async lookThrough(node: NodeId, caller: NfsCaller): Promise<void> {
    for (const file of this.#kept) {
      await this.#size(file, caller, node)
      for (let first = 0; first < fileSectors; first += readSectors)
        await this.#read(file, first, Math.min(readSectors, fileSectors - first), caller, node)
    }
  }

  /** I2, of bytes and sizes. */
  check(): void {
    for (const { name, history } of this.#all) {
      const violation = findSectorViolation(history)
      if (violation === undefined) continue
      const involved = violation.involved.map(
        ({ first, by, calledAt, answeredAt, ...what }) =>
          `  ${'stamp' in what ? `write ${what.stamp} of ${first}+${what.count}` : `read of ${first}+${what.stamps.length}`} by ${by}, ` +
          `${calledAt.toFixed(4)} to ${answeredAt?.toFixed(4) ?? '–'}`,
      )
      throw new InvariantViolation(
        'I2',
        `the file ${name} of ${this.#options.name}: ${violation.message}\n${involved.join('\n')}`,
      )
    }
  }

  /** A last write to each vDisk: whoever owns it drains it, and looks after its groups. */
  async touch(caller: NfsCaller): Promise<void> {
    for (const file of this.#kept) if (file.isVDisk) await this.#write(file, 0, 1, caller)
  }

  async #make(caller: NfsCaller): Promise<void> {
    const name = `f${++this.#made}`
    this.#making++
    const answer = await caller.ask(() => ({
      call: nfs.create(this.#options.root, name, { mode: 'guarded' }),
      answered: () => undefined,
    }))
    this.#making--
    if (answer?.status !== 'OK') return
    const file = new UsedFile(name, answer.handle!)
    this.#used.push(file)
    this.#all.push(file)
  }

  async #act(file: UsedFile, caller: NfsCaller): Promise<void> {
    const { chance } = caller
    if (file.left-- <= 0) return this.#leave(file, caller)
    let draw = chance.below(100)
    const kind = doings.find(([, share]) => (draw -= share) < 0)![0]
    const count = 1 + chance.below([2, 8, 16, 64][chance.below(4)])
    const within = file.isVDisk ? fileSectors : inlineSectors
    const first = chance.below(chance.happens(0.6) ? 128 : within - count)
    switch (kind) {
      case 'write':
        return this.#write(file, first, count, caller)
      case 'read':
        if (file.isVDisk && chance.happens(0.3)) return this.#readLong(file, caller)
        return this.#read(file, first, count, caller)
      case 'write far':
        return this.#write(file, inlineSectors - 1 + chance.below(inlineSectors - 64), count, caller)
      case 'write over the end':
        return this.#write(file, inlineSectors - 1 - chance.below(count), count, caller)
      case 'size':
        return this.#size(file, caller)
      case 'cut':
        return this.#cut(file, chance.below(fileSectors / 2) + chance.below(fileSectors / 2), caller)
      default:
        return kind satisfies never
    }
  }

  /** So many that they are lent where they lie in the cache (`lendBytesMin` in io.ts). */
  #readLong(file: UsedFile, caller: NfsCaller): Promise<void> {
    const count = readSectors / 2 + caller.chance.below(readSectors / 2)
    return this.#read(file, caller.chance.below(inlineSectors), count, caller)
  }

  async #write(file: UsedFile, first: number, count: number, caller: NfsCaller): Promise<void> {
    const { now, nextStamp } = this.#options
    const { history } = file
    const isInVDisk = file.isVDisk || first + count >= inlineSectors
    const observer = isInVDisk ? this.#options.observer(history) : undefined
    const answer = await this.#ask(file, caller, () => {
      const stamp = nextStamp()
      const bytes = Buffer.allocUnsafe(count * sectorBytes)
      stampSectors(bytes, stamp, first)
      const made: SectorWrite = { stamp, first, count, by: caller.name, calledAt: now() }
      history.writes.push(made)
      file.topSectors = Math.max(file.topSectors, first + count)
      observer?.sent(made)
      return {
        call: nfs.write(file.handle, first * sectorBytes, bytes),
        answered: ({ status }) => {
          if (status !== 'OK') return observer?.gaveUp(made)
          made.answeredAt = now()
          observer?.acknowledged(made)
        },
        gaveUp: () => observer?.gaveUp(made),
      }
    })
    if (answer?.status === 'OK') file.isVDisk ||= isInVDisk
  }

  /** What lies behind is zeroed; behind what is longer there were zeros before. */
  async #cut(file: UsedFile, sectors: number, caller: NfsCaller): Promise<void> {
    const { now } = this.#options
    const answer = await this.#ask(file, caller, () => {
      const cut: SectorWrite = {
        stamp: zeroStamp,
        first: sectors,
        count: fileSectors - sectors,
        by: caller.name,
        calledAt: now(),
      }
      file.history.writes.push(cut)
      file.topSectors = Math.max(file.topSectors, sectors)
      const call = nfs.setattr(file.handle, { sizeBytes: sectors * sectorBytes })
      const answered = ({ status }: nfs.Answer): void => {
        if (status === 'OK') cut.answeredAt = now()
      }
      return { call, answered }
    })
    if (answer?.status === 'OK' && sectors >= inlineSectors) file.isVDisk = true
  }

  #size(file: UsedFile, caller: NfsCaller, through?: NodeId): Promise<void> {
    return this.#look(file, caller, nfs.getattr(file.handle), through)
  }

  #read(file: UsedFile, first: number, count: number, caller: NfsCaller, through?: NodeId): Promise<void> {
    const call = nfs.read(file.handle, first * sectorBytes, count * sectorBytes)
    return this.#look(file, caller, call, through, (data) => {
      const stamps = new Uint32Array(count)
      stamps.set(stampsIn(data, first, `a read of ${file.name} of ${this.#options.name} by ${caller.name}`))
      return { first, stamps }
    })
  }

  async #look(
    file: UsedFile,
    caller: NfsCaller,
    call: nfs.NfsCall,
    through: NodeId | undefined,
    read?: (data: Buffer) => { readonly first: number; readonly stamps: Uint32Array },
  ): Promise<void> {
    const { now } = this.#options
    let calledAt = 0
    await this.#ask(
      file,
      caller,
      () => {
        calledAt = now()
        const answered = ({ status, seen, data }: nfs.Answer): void => {
          if (status !== 'OK') return
          const at = { by: caller.name, calledAt, answeredAt: now() }
          if (data !== undefined && read !== undefined) file.history.reads.push({ ...read(data), ...at })
          if (seen !== undefined) this.#sizeSeen(file, seen.sizeBytes, at)
        }
        return { call, answered }
      },
      through,
    )
  }

  #sizeSeen(
    { name, history, topSectors }: UsedFile,
    sizeBytes: number,
    at: { readonly by: string; readonly calledAt: number; readonly answeredAt: number },
  ): void {
    const sectors = sizeBytes / sectorBytes
    if (!Number.isInteger(sectors) || sectors > topSectors)
      throw new InvariantViolation(
        'I2',
        `the file ${name} of ${this.#options.name} has ${sizeBytes} bytes, and nobody asked for more than ${topSectors * sectorBytes}`,
      )
    if (sectors < fileSectors)
      history.reads.push({ first: sectors, stamps: new Uint32Array(fileSectors - sectors), ...at })
  }

  async #leave(file: UsedFile, caller: NfsCaller): Promise<void> {
    const at = this.#used.indexOf(file)
    if (at < 0) return
    this.#used.splice(at, 1)
    if (this.#kept.length < keptMax && caller.chance.happens(0.5)) {
      this.#kept.push(file)
      return
    }
    file.removing = true
    const call = nfs.remove(this.#options.root, file.name)
    let sendings = 0
    const answer = await caller.ask(() => {
      sendings++
      return { call, answered: () => undefined }
    })
    if (answer?.status === 'NOENT' && sendings === 1)
      throw new InvariantViolation('I1', `the file ${file.name} was acknowledged, and has no name`)
    if (answer?.status !== 'OK') return
    const after = await caller.ask(() => ({ call: nfs.getattr(file.handle), answered: () => undefined }))
    if (after !== undefined && after.status !== 'STALE')
      throw new InvariantViolation(
        'I2',
        `the file ${file.name} was removed, and GETATTR says ${after.status}`,
      )
  }

  async #ask(
    file: UsedFile,
    caller: NfsCaller,
    begin: () => Sending,
    through?: NodeId,
  ): Promise<nfs.Answer | undefined> {
    const answer = await caller.ask(begin, through)
    const isRight =
      answer === undefined ||
      answer.status === 'OK' ||
      answer.status === 'NOSPC' ||
      (answer.status === 'STALE' && file.removing)
    if (!isRight)
      throw new InvariantViolation(
        'I5',
        `${caller.name} was told ${answer.status} of the file ${file.name} of ${this.#options.name}`,
      )
    return answer
  }
}
