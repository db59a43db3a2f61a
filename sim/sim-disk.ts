/**
 * A node's disks as its file system shows them: names, and the files behind them, in memory, through all the lives of
 * the node's process.
 *
 *  1. A name made, changed or removed survives a power cut for certain once its directory was synced; before, any of a
 *     directory's changes may, each name's in their order. A rename is one step: both its halves happened, or neither.
 *  2. What the files hold is sim-file-content.ts's to promise.
 *  3. A hook sees every operation and may fail, delay, lose or misdirect it.
 *
 * Not here: time, and whose call it is (sim-files.ts).
 */
import { FileContent } from './sim-file-content.ts'
import { systemError } from './sim-process.ts'
import type { SeededChance } from './seeded-chance.ts'

export interface SimDirectory {
  readonly kind: 'directory'
  readonly names: Map<string, SimNode>
  readonly durableNames: Map<string, SimNode>
}

export interface SimFile {
  readonly kind: 'file'
  readonly content: FileContent
}

export type SimNode = SimDirectory | SimFile

export type OperationKind = 'open' | 'read' | 'write' | 'sync' | 'truncate' | 'names'

export interface DiskOperation {
  readonly kind: OperationKind
  readonly path: string
  readonly position: number
  readonly bytes: number
}

/** What goes wrong with an operation. All that is set happens. */
export interface DiskFault {
  /** It fails with this code. A failed write may have reached the disk or not; a failed sync made nothing durable. */
  readonly fail?: string
  readonly delayMs?: number
  /** A write that is reported done and never was; the file's size, which the file system keeps, grows all the same. */
  readonly lost?: boolean
  /** A write that lands here instead, in the same file unless another is named. */
  readonly misdirectedTo?: number
  readonly misdirectedToFile?: string
  /** Of a write whose process is killed meanwhile so many bytes are there; left out, any number. */
  readonly leaves?: number
  /** Called when a write was lost or went astray. */
  readonly happened?: () => void
}

interface NameChange {
  readonly sequence: number
  readonly directory: SimDirectory
  readonly name: string
  /** Undefined: the name was removed. */
  readonly node: SimNode | undefined
  /** The other half of a rename: the removal names the making. */
  readonly madeBy?: NameChange
}

const capacityBytesDefault = 2 ** 40

/** Who looks on, and changes nothing (checkers/). */
export interface DiskObserver {
  /** Bytes have reached the platters, or the disk says so. */
  durable(content: FileContent, position: number, bytes: Uint8Array): void
  created(path: string, content: FileContent): void
  /** What was written before is on the platters. */
  synced(path: string, content: FileContent): void
  /** A file is about to lose its name. */
  removed(path: string): void
  /** A process begins an operation; `underWay`: how many it has then. */
  began(process: string, kind: OperationKind, path: string, underWay: number): void
  /** A process is told that an operation failed, as the hook has asked for. */
  failed(process: string, kind: OperationKind, path: string, code: string): void
}

export class SimDisk {
  /** Sees every operation before it begins. */
  onOperation: (operation: DiskOperation) => DiskFault | undefined = () => undefined
  observer: Partial<DiskObserver> = {}
  /** Called when a write found no room. */
  onFull: (path: string) => void = () => undefined
  /** How often a power cut stops writes at any byte, rather than between sectors: harsher than disks promise. */
  tearingShare = 0
  /** Sectors that power cuts have left with the bytes of two writes. */
  tornSectors = 0
  /** Operations that were under way at a power cut belong to an older one. */
  powerCycle = 0
  readonly #capacities = new Map<string, number>()
  #root = newDirectory()
  #sequence = 0
  #unsynced: NameChange[] = []
  readonly #lost = new Set<string>()
  readonly #onDurable = (content: FileContent, position: number, bytes: Uint8Array): void =>
    this.observer.durable?.(content, position, bytes)

  /** The space that all files under this path have together. */
  setCapacity(path: string, bytes: number): void {
    this.#capacities.set(partsOf(path).join('/'), bytes)
  }

  /** The space under this path is that of the whole disk again. */
  clearCapacity(path: string): void {
    this.#capacities.delete(partsOf(path).join('/'))
  }

  /** What files under this path were given. */
  allocatedBytes(path: string): number {
    return allocatedIn(this.find(path))
  }

  freeBytes(path: string): number {
    const parts = partsOf(path)
    for (let length = parts.length; length >= 0; length--) {
      const root = parts.slice(0, length).join('/')
      const capacity = this.#capacities.get(root)
      if (capacity !== undefined) return Math.max(0, capacity - allocatedIn(this.find(root)))
    }
    return capacityBytesDefault
  }

  /** Takes space for a write, or fails as a full disk does. Space is given in chunks (sparse-bytes.ts). */
  allocate(path: string, content: FileContent, position: number, bytes: number): void {
    const missing = content.missingBytes(position, bytes)
    if (missing === 0) return
    if (this.#capacities.size > 0 && missing > this.freeBytes(path)) {
      this.onFull(path)
      throw systemError('ENOSPC', `no space left for ${bytes} bytes of ${path}`)
    }
    content.allocate(position, bytes)
  }

  find(path: string): SimNode | undefined {
    let node: SimNode | undefined = this.#root
    for (const part of partsOf(path)) {
      if (node?.kind !== 'directory') return undefined
      node = node.names.get(part)
    }
    return node
  }

  findFile(path: string): SimFile {
    const node = this.find(path)
    if (!node) throw systemError('ENOENT', `no such file: ${path}`)
    if (node.kind !== 'file') throw systemError('EISDIR', `a directory: ${path}`)
    return node
  }

  findDirectory(path: string): SimDirectory {
    const node = this.find(path)
    if (!node) throw systemError('ENOENT', `no such directory: ${path}`)
    if (node.kind !== 'directory') throw systemError('ENOTDIR', `not a directory: ${path}`)
    return node
  }

  create(path: string): SimFile {
    const { directory, name } = this.#placeOf(path)
    if (directory.names.has(name)) throw systemError('EEXIST', `exists: ${path}`)
    const file: SimFile = { kind: 'file', content: new FileContent(this.#onDurable) }
    this.#change(directory, name, file)
    this.observer.created?.(path, file.content)
    return file
  }

  makeDirectory(path: string): void {
    let directory = this.#root
    for (const part of partsOf(path)) {
      let next = directory.names.get(part)
      if (!next) {
        next = newDirectory()
        this.#change(directory, part, next)
      }
      if (next.kind !== 'directory') throw systemError('ENOTDIR', `not a directory: ${path}`)
      directory = next
    }
  }

  remove(path: string): void {
    const node = this.find(path)
    if (!node) return
    if (node.kind === 'directory') throw systemError('EISDIR', `a directory: ${path}`)
    this.observer.removed?.(path)
    const { directory, name } = this.#placeOf(path)
    this.#change(directory, name, undefined)
  }

  rename(from: string, to: string): void {
    const source = this.#placeOf(from)
    const target = this.#placeOf(to)
    const node = source.directory.names.get(source.name)
    if (!node) throw systemError('ENOENT', `no such file: ${from}`)
    if (source.directory === target.directory && source.name === target.name) return
    const made = this.#change(target.directory, target.name, node)
    this.#change(source.directory, source.name, undefined, made)
  }

  /** What a sync of a directory called now has to cover. */
  get mark(): number {
    return this.#sequence
  }

  syncDirectory(directory: SimDirectory, mark: number): void {
    const changes = this.#unsynced.filter(
      (change) => change.directory === directory && change.sequence <= mark,
    )
    this.#commit(directory, changes)
  }

  /** The disk says that these bytes are where they belong, and they are not. */
  lied(content: FileContent, position: number, bytes: Uint8Array): void {
    content.damaged = true
    this.#onDurable(content, position, bytes)
  }

  /** The file is there also after a power cut. */
  isDurablyNamed(path: string, content: FileContent): boolean {
    let node: SimNode | undefined = this.#root
    for (const part of partsOf(path))
      node = node?.kind === 'directory' ? node.durableNames.get(part) : undefined
    return node?.kind === 'file' && node.content === content
  }

  flipByte(path: string, position: number): void {
    this.findFile(path).content.flipByte(position)
  }

  /** All that was under this path is gone, as when the disk is replaced by a new one. */
  erase(path: string): void {
    const { directory, name } = this.#placeOf(path)
    directory.names.delete(name)
    directory.durableNames.delete(name)
    const isUnder = (change: NameChange): boolean => change.directory === directory && change.name === name
    this.#unsynced = this.#unsynced.filter((change) => !isUnder(change))
  }

  /** The file is gone, which was never asked for: a file system that was mended has put it elsewhere. */
  lose(path: string): void {
    this.erase(path)
    this.#lost.add(path)
  }

  hasLost(path: string): boolean {
    return this.#lost.has(path)
  }

  powerCut(chance: SeededChance): void {
    this.powerCycle++
    const kept = new Set<NameChange>()
    for (const directory of new Set(this.#unsynced.map((change) => change.directory))) {
      const changes = this.#unsynced.filter((change) => change.directory === directory)
      const draw = chance.below(4)
      if (draw === 3) keepOfEachName(changes, kept, chance)
      else
        for (const change of changes.slice(0, [0, changes.length, chance.below(changes.length + 1)][draw]))
          kept.add(change)
    }
    for (const change of this.#unsynced)
      if (
        change.madeBy ? kept.has(change.madeBy) || !this.#unsynced.includes(change.madeBy) : kept.has(change)
      )
        apply(change)
    this.#unsynced = []
    const tears = this.tearingShare > 0 && chance.happens(this.tearingShare)
    afterPowerCut(this.#root, (content) => (this.tornSectors += content.powerCut(chance, tears)))
  }

  #placeOf(path: string): { directory: SimDirectory; name: string } {
    const parts = [...partsOf(path)]
    const name = parts.pop()
    if (name === undefined) throw systemError('EINVAL', `no name: ${path}`)
    return { directory: this.findDirectory(parts.join('/')), name }
  }

  #change(directory: SimDirectory, name: string, node: SimNode | undefined, madeBy?: NameChange): NameChange {
    if (node) directory.names.set(name, node)
    else directory.names.delete(name)
    const change: NameChange = { sequence: ++this.#sequence, directory, name, node, madeBy }
    this.#unsynced.push(change)
    return change
  }

  /** Makes changes durable, with the other halves of renames; older changes of their names can't come back. */
  #commit(directory: SimDirectory, changes: readonly NameChange[]): void {
    const committed = new Map<string, number>()
    for (const change of changes) {
      apply(change)
      committed.set(change.name, change.sequence)
    }
    this.#unsynced = this.#unsynced.filter(
      (other) => other.directory !== directory || other.sequence > (committed.get(other.name) ?? -1),
    )
    const [durable, makers] = [new Set(changes), new Set(changes.map(({ madeBy }) => madeBy))]
    const isOtherHalf = (other: NameChange): boolean =>
      makers.has(other) || (other.madeBy !== undefined && durable.has(other.madeBy))
    for (const half of this.#unsynced.filter(isOtherHalf))
      if (this.#unsynced.includes(half)) this.#commit(half.directory, [half])
  }
}

const newDirectory = (): SimDirectory => ({ kind: 'directory', names: new Map(), durableNames: new Map() })

const known = new Map<string, readonly string[]>()
const knownMax = 20_000

/** The same paths are asked for again and again. */
function partsOf(path: string): readonly string[] {
  let parts = known.get(path)
  if (parts === undefined) {
    parts = path.split('/').filter((part) => part !== '' && part !== '.')
    if (known.size === knownMax) known.clear()
    known.set(path, parts)
  }
  return parts
}

function apply(change: NameChange): void {
  const { durableNames } = change.directory
  if (change.node) durableNames.set(change.name, change.node)
  else durableNames.delete(change.name)
}

/** No order is promised among names: of each one's changes the first few are kept. */
function keepOfEachName(changes: readonly NameChange[], kept: Set<NameChange>, chance: SeededChance): void {
  for (const name of new Set(changes.map((change) => change.name))) {
    const ofName = changes.filter((change) => change.name === name)
    for (const change of ofName.slice(0, chance.below(ofName.length + 1))) kept.add(change)
  }
}

function afterPowerCut(directory: SimDirectory, cut: (content: FileContent) => void): void {
  directory.names.clear()
  for (const [name, node] of directory.durableNames) {
    directory.names.set(name, node)
    if (node.kind === 'directory') afterPowerCut(node, cut)
    else cut(node.content)
  }
}

function allocatedIn(node: SimNode | undefined): number {
  if (!node) return 0
  if (node.kind === 'file') return node.content.allocatedBytes
  let sum = 0
  for (const inside of node.names.values()) sum += allocatedIn(inside)
  return sum
}
