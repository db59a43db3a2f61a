/** A tree of files in memory, served by NFS and MOUNT, for tests: directories are made by the test, files by it and by clients. */
import { assert } from '../../../base/assert.ts'
import { DirectoryListing, DirectoryListingPlus } from './directory-listing.ts'
import type { Mount3Service } from './mount3-protocol.ts'
import type { Nfs3Arguments } from './nfs3-arguments.ts'
import type { Nfs3Service } from './nfs3-protocol.ts'
import { refusalOfName, transferBytesMax, type Attributes, type Change } from './nfs3-types.ts'

interface Node {
  readonly id: bigint
  readonly parent: Node
  mode: number
  /** Of a file. */
  bytes?: Buffer
  /** Of a directory. */
  readonly entries?: Map<string, Node>
}

const entriesMax = 1000
const verifier = Buffer.from('startedX')
const time = { seconds: 1_700_000_000, nanoseconds: 5 }

export class MemoryTree {
  readonly root: Node
  readonly #nodes = new Map<bigint, Node>()
  /** Called before each procedure of NFS; a promise holds it up. */
  before: (name: string) => Promise<void> | undefined = () => undefined

  /** Nothing grows beyond it. */
  readonly #fileBytesMax: number

  constructor(fileBytesMax = 2 ** 28) {
    this.#fileBytesMax = fileBytesMax
    const root = { id: 1n, mode: 0o755, entries: new Map<string, Node>() }
    this.root = Object.assign(root, { parent: root as unknown as Node })
    this.#nodes.set(1n, this.root)
  }

  add(directory: Node, name: string, bytes?: Buffer): Node {
    const id = BigInt(this.#nodes.size + 1)
    const node: Node = bytes
      ? { id, parent: directory, mode: 0o644, bytes }
      : { id, parent: directory, mode: 0o755, entries: new Map() }
    this.#nodes.set(id, node)
    directory.entries?.set(name, node)
    return node
  }

  handleOf(node: Node): Buffer {
    const handle = Buffer.alloc(12, 'ndfs')
    handle.writeBigUInt64BE(node.id, 4)
    return handle
  }

  readonly mount: Mount3Service = {
    mnt: ({ path }) => {
      const [first, ...inner] = path
        .toString()
        .split('/')
        .filter((each) => each !== '')
      let node: Node | undefined = first === 'vms' ? this.root : undefined
      for (const name of inner) node = node?.entries?.get(name)
      return node ? { status: 'OK', handle: this.handleOf(node), flavours: [1, 0] } : { status: 'NOENT' }
    },
    dump: () => [{ host: 'client', path: Buffer.from('/vms') }],
    umnt: () => {},
    umntall: () => {},
    export: () => [{ path: Buffer.from('/vms'), groups: [] }],
  }

  readonly nfs: Nfs3Service = this.#held({
    getattr: ({ handle }) => {
      const node = this.#node(handle)
      return node ? { status: 'OK', attributes: attributesOf(node) } : { status: 'STALE' }
    },
    setattr: ({ handle, attributes: { mode, sizeBytes } }) => {
      const node = this.#node(handle)
      if (node === undefined) return { status: 'STALE' }
      if (sizeBytes !== undefined && sizeBytes > this.#fileBytesMax) return { status: 'FBIG' }
      if (mode !== undefined) node.mode = mode
      if (sizeBytes !== undefined && node.bytes) node.bytes = resized(node.bytes, sizeBytes)
      return { status: 'OK', change: { after: attributesOf(node) } }
    },
    lookup: (place) => {
      const directory = this.#node(place.directory)
      if (directory?.entries === undefined) return { status: 'NOTDIR' }
      const directoryAttributes = attributesOf(directory)
      const refusal = refusalOfName(place.name)
      if (refusal) return { status: refusal, directoryAttributes }
      const name = place.name.toString()
      const node = name === '.' ? directory : name === '..' ? directory.parent : directory.entries.get(name)
      if (node === undefined) return { status: 'NOENT', directoryAttributes }
      return {
        status: 'OK',
        handle: this.handleOf(node),
        attributes: attributesOf(node),
        directoryAttributes,
      }
    },
    access: ({ handle, wanted }) => ({
      status: 'OK',
      granted: wanted,
      attributes: this.#attributes(handle),
    }),
    readlink: () => ({ status: 'INVAL' }),
    read: ({ handle, offset, count }) => {
      const node = this.#node(handle)
      if (node?.bytes === undefined) return { status: 'ISDIR' }
      const data = node.bytes.subarray(offset, offset + Math.min(count, transferBytesMax))
      const atEnd = offset + data.length >= node.bytes.length
      return { status: 'OK', data: [data], atEnd, attributes: attributesOf(node) }
    },
    write: ({ handle, offset, count, data }) => {
      const node = this.#node(handle)
      if (node?.bytes === undefined) return { status: 'ISDIR' }
      if (offset + count > this.#fileBytesMax) return { status: 'FBIG' }
      if (node.bytes.length < offset + count) node.bytes = resized(node.bytes, offset + count)
      Buffer.concat(data).copy(node.bytes, offset)
      return { status: 'OK', count, committed: 'fileSync', verifier, change: { after: attributesOf(node) } }
    },
    create: ({ directory, name }) => {
      const parent = this.#node(directory)
      if (parent?.entries === undefined) return { status: 'NOTDIR' }
      const refusal = refusalOfName(name)
      if (refusal) return { status: refusal }
      if (parent.entries.size >= entriesMax) return { status: 'NOSPC' }
      const node = parent.entries.get(name.toString()) ?? this.add(parent, name.toString(), Buffer.alloc(0))
      return {
        status: 'OK',
        handle: this.handleOf(node),
        attributes: attributesOf(node),
        directoryChange: changeOf(parent),
      }
    },
    mkdir: () => ({ status: 'NOTSUPP' }),
    symlink: () => ({ status: 'NOTSUPP' }),
    mknod: () => ({ status: 'NOTSUPP' }),
    remove: ({ directory, name }) => {
      const parent = this.#node(directory)
      if (parent?.entries === undefined) return { status: 'NOTDIR' }
      const there = parent.entries.delete(name.toString())
      return { status: there ? 'OK' : 'NOENT', directoryChange: changeOf(parent) }
    },
    rmdir: () => ({ status: 'NOTSUPP' }),
    rename: () => ({ status: 'NOTSUPP' }),
    link: () => ({ status: 'NOTSUPP' }),
    readdir: (args) => {
      const directory = this.#node(args.handle)
      if (directory?.entries === undefined) return { status: 'NOTDIR' }
      const listing = new DirectoryListing(args.count)
      const atEnd = entriesFrom(directory, args.cookie).every(([name, node, cookie]) =>
        listing.offer({ fileId: node.id, name: Buffer.from(name), cookie }),
      )
      if (listing.entries === 0 && !atEnd) return { status: 'TOOSMALL' }
      return { status: 'OK', verifier, listing, atEnd, attributes: attributesOf(directory) }
    },
    readdirplus: (args) => {
      const directory = this.#node(args.handle)
      if (directory?.entries === undefined) return { status: 'NOTDIR' }
      const listing = new DirectoryListingPlus(args.namesCount, args.count)
      const atEnd = entriesFrom(directory, args.cookie).every(([name, node, cookie]) =>
        listing.offer({
          fileId: node.id,
          name: Buffer.from(name),
          cookie,
          attributes: attributesOf(node),
          handle: this.handleOf(node),
        }),
      )
      if (listing.entries === 0 && !atEnd) return { status: 'TOOSMALL' }
      return { status: 'OK', verifier, listing, atEnd, attributes: attributesOf(directory) }
    },
    fsstat: ({ handle }) => ({
      status: 'OK',
      totalBytes: 2 ** 50,
      freeBytes: 2 ** 49,
      availableBytes: 2 ** 48,
      totalFiles: 1000,
      freeFiles: 900,
      availableFiles: 800,
      steadySeconds: 0,
      attributes: this.#attributes(handle),
    }),
    fsinfo: ({ handle }) => ({
      status: 'OK',
      readBytesMax: transferBytesMax,
      readBytesPreferred: transferBytesMax,
      readBytesMultiple: 4096,
      writeBytesMax: transferBytesMax,
      writeBytesPreferred: transferBytesMax,
      writeBytesMultiple: 4096,
      readdirBytesPreferred: 65_536,
      fileBytesMax: 2 ** 50,
      timeDelta: { seconds: 0, nanoseconds: 1 },
      properties: 0x1b,
      attributes: this.#attributes(handle),
    }),
    pathconf: ({ handle }) => ({
      status: 'OK',
      linksMax: 1,
      nameBytesMax: 255,
      noTruncation: true,
      chownRestricted: true,
      caseInsensitive: false,
      casePreserving: true,
      attributes: this.#attributes(handle),
    }),
    commit: ({ handle }) => ({ status: 'OK', verifier, change: { after: this.#attributes(handle) } }),
  })

  #node(handle: Buffer): Node | undefined {
    return handle.length === 12 ? this.#nodes.get(handle.readBigUInt64BE(4)) : undefined
  }

  #attributes(handle: Buffer): Attributes | undefined {
    const node = this.#node(handle)
    return node && attributesOf(node)
  }

  #held(service: Nfs3Service): Nfs3Service {
    const held: Record<string, unknown> = {}
    for (const [name, method] of Object.entries(service))
      held[name] = (args: Nfs3Arguments[keyof Nfs3Service]) => {
        const done = (method as (args: unknown) => unknown).bind(undefined, args)
        const wait = this.before(name)
        return wait === undefined ? done() : wait.then(done)
      }
    return held as Nfs3Service
  }
}

function entriesFrom(directory: Node, cookie: bigint): [string, Node, bigint][] {
  assert(directory.entries, 'a directory has entries')
  const all: [string, Node][] = [['.', directory], ['..', directory.parent], ...directory.entries]
  return all
    .map(([name, node], index): [string, Node, bigint] => [name, node, BigInt(index + 1)])
    .filter(([, , each]) => each > cookie)
}

function resized(bytes: Buffer, length: number): Buffer {
  const other = Buffer.alloc(length)
  bytes.copy(other)
  return other
}

const changeOf = (node: Node): Change => {
  const { sizeBytes, modifyTime, changeTime } = attributesOf(node)
  return { before: { sizeBytes, modifyTime, changeTime }, after: attributesOf(node) }
}

const attributesOf = (node: Node): Attributes => ({
  type: node.bytes ? 'file' : 'directory',
  mode: node.mode,
  links: node.bytes ? 1 : 2,
  uid: 0,
  gid: 0,
  sizeBytes: node.bytes?.length ?? 4096,
  usedBytes: node.bytes?.length ?? 4096,
  fileSystemId: 7n,
  fileId: node.id,
  accessTime: time,
  modifyTime: time,
  changeTime: time,
})
