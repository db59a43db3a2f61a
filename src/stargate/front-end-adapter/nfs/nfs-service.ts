/**
 * NFS version 3 over containers: handles and permissions are checked here, and what is asked is done by the namespace, or by the vDisk that
 * a file has become (file-data.ts).
 *
 *  1. Every WRITE is durable on all copies when it is answered, whatever stability was asked for: COMMIT has nothing left to do, and the
 *     verifier never changes.
 *  2. What an answer tells of an object before and after a change is told only of changes that were one step (Around).
 *  3. Nobody without an export learns of any file: handles of exports that a caller may not use are refused like those of others' networks.
 */
import type { Clock, Log } from '../../../platform/platform.ts'
import type { AdmissionControl } from '../../admission-control/admission-control.ts'
import type { Maybe } from '../../io/io.ts'
import {
  type Around,
  FileError,
  type Inode,
  type InodeId,
  linksMax,
  nameBytesMax,
  type NewInode,
} from '../../namespace/namespace.ts'
import { attributeChangeOf, attributesOf, changeOf, fileTimeOf } from './attributes.ts'
import { DirectoryListing, DirectoryListingPlus } from './directory-listing.ts'
import type { User } from './export-rules.ts'
import { deleteVDiskOf, FileData, fileBytesMax } from './file-data.ts'
import type { FileHandles } from './file-handle.ts'
import { KnownFiles } from './known-files.ts'
import type { Nfs3Arguments, Nfs3Procedure } from './nfs3-arguments.ts'
import type { Nfs3Service } from './nfs3-protocol.ts'
import type { Nfs3Results } from './nfs3-results.ts'
import {
  type Change,
  fsProperty,
  type NewAttributes,
  type Nfs3Error,
  type Place,
  refusalOfName,
  transferBytesMax,
  verifierBytes,
} from './nfs3-types.ts'
import { after } from './maybe.ts'
import { Refusal, statusOf } from './nfs-errors.ts'
import { allows, allowsData, allowsRemoval, grantedAccess, isOwner, may } from './permissions.ts'
import type { Caller } from './rpc-program.ts'
import type { Share, Shares } from './shares.ts'

const readdirBytesPreferred = 256 * 1024
/** As many files as ids may be told apart: there is no table of them that could be full. */
const filesMax = 2 ** 48
/** All writes are durable: nothing is ever lost that a verifier would have to tell of. */
const verifier = Buffer.alloc(verifierBytes, 'durable.')
/** Cookies are the same for ever. */
const cookieVerifier = Buffer.alloc(verifierBytes)

export interface NfsServiceParts {
  readonly clock: Clock
  readonly log: Log
  readonly shares: Shares
  readonly handles: FileHandles
  /** Reads and writes of files ask it before they go on. */
  readonly admission?: Admission
}

export type Admission = Pick<AdmissionControl, 'tryEnter' | 'enter' | 'leave'>

/** An object that a handle names, and who asks. */
interface Target {
  readonly share: Share
  readonly user: User
  readonly id: InodeId
}

interface ShareState {
  readonly data: FileData
  readonly known: KnownFiles
}

type Ok<Name extends Nfs3Procedure> = Extract<Nfs3Results[Name], { readonly status: 'OK' }>

export class NfsService implements Nfs3Service {
  readonly #parts: NfsServiceParts
  readonly #states = new WeakMap<Share, ShareState>()

  constructor(parts: NfsServiceParts) {
    this.#parts = parts
  }

  getattr({ handle }: Nfs3Arguments['getattr'], caller: Caller): Promise<Nfs3Results['getattr']> {
    return this.#answered(async () => {
      const { share, id } = await this.#target(handle, caller)
      return { status: 'OK', attributes: await this.#attributes(share, await share.namespace.inode(id)) }
    })
  }

  setattr(args: Nfs3Arguments['setattr'], caller: Caller): Promise<Nfs3Results['setattr']> {
    const { handle, attributes, guard } = args
    return this.#answered(async () => {
      const { share, user, id } = await this.#target(handle, caller, 'change')
      const { namespace } = share
      const { data, known } = this.#stateOf(share)
      const inode = await namespace.inode(id)
      assertMaySet(inode, user, attributes)
      const { sizeBytes } = attributes
      if (guard !== undefined && fileTimeOf(guard) !== (await data.current(inode)).changeTime)
        throw new Refusal('NOT_SYNC')
      let sized: Inode | undefined
      if (sizeBytes !== undefined) {
        if (inode.type === 'directory') throw new Refusal('ISDIR')
        if (inode.type !== 'file') throw new Refusal('INVAL')
        if (sizeBytes > fileBytesMax) throw new Refusal('FBIG')
        sized = await data.resize(inode, sizeBytes)
      }
      const change = attributeChangeOf(attributes)
      if (sized !== undefined && Object.keys(change).length === 0)
        return { status: 'OK', change: { after: await this.#attributes(share, await namespace.inode(id)) } }
      const modifiedAt = await data.modifiedAt(sized ?? inode)
      // What the guard is of lies, of a vDisk's file, at its owner: what this inode says has to stay the same at least.
      const isGuarded = guard !== undefined && sized === undefined
      const around = await namespace
        .setAttributes(
          id,
          { ...change, ...(modifiedAt === undefined ? {} : { modifiedAt }) },
          isGuarded ? inode.changeTime : undefined,
        )
        .catch((error: unknown) => {
          throw isGuarded && error instanceof FileError && error.code === 'CHANGED'
            ? new Refusal('NOT_SYNC')
            : error
        })
        .finally(() => known.forget(id))
      return { status: 'OK', change: await this.#change(share, around) }
    })
  }

  lookup({ directory, name }: Place, caller: Caller): Promise<Nfs3Results['lookup']> {
    return this.#answered(async () => {
      const { share, user, id } = await this.#target(directory, caller)
      const { namespace } = share
      const parent = await namespace.inode(id)
      assertDirectory(parent)
      if (!allows(parent, user, may.execute)) throw new Refusal('ACCES')
      const inode = await namespace.lookup(id, name)
      return {
        status: 'OK',
        handle: this.#handle(share, inode.id),
        attributes: await this.#attributes(share, inode),
        directoryAttributes: attributesOf(parent, namespace.root),
      }
    })
  }

  access({ handle, wanted }: Nfs3Arguments['access'], caller: Caller): Promise<Nfs3Results['access']> {
    return this.#answered(async () => {
      const { share, user, id } = await this.#target(handle, caller)
      const inode = await share.namespace.inode(id)
      const granted = grantedAccess(inode, user, wanted, share.export.rules.readOnly)
      return { status: 'OK', granted, attributes: await this.#attributes(share, inode) }
    })
  }

  readlink({ handle }: Nfs3Arguments['readlink'], caller: Caller): Promise<Nfs3Results['readlink']> {
    return this.#answered(async () => {
      const { share, id } = await this.#target(handle, caller)
      const inode = await share.namespace.inode(id)
      if (inode.target === undefined) throw new Refusal('INVAL')
      return { status: 'OK', target: inode.target, attributes: attributesOf(inode, share.namespace.root) }
    })
  }

  read(args: Nfs3Arguments['read'], caller: Caller): Maybe<Nfs3Results['read']> {
    const count = Math.min(args.count, transferBytesMax)
    return answeredAtOnce(() =>
      after(this.#target(args.handle, caller), ({ share, user, id }) => {
        const { known, data } = this.#stateOf(share)
        return after(known.inode(id), (inode) => {
          assertFile(inode)
          // Who may execute a file reads it for that.
          if (!allowsData(inode, user, may.read) && !allows(inode, user, may.execute))
            throw new Refusal('ACCES')
          const reading = this.#admitted(count, () => data.read(inode, args.offset, count))
          return after(reading, ({ bytes, atEnd, inode: now }) => ({
            ...{ status: 'OK', data: bytes, atEnd },
            attributes: attributesOf(now, share.namespace.root),
          }))
        })
      }),
    )
  }

  write(args: Nfs3Arguments['write'], caller: Caller): Maybe<Nfs3Results['write']> {
    return answeredAtOnce(() =>
      after(this.#target(args.handle, caller, 'change'), ({ share, user, id }) => {
        const { known, data } = this.#stateOf(share)
        return after(known.inode(id), (inode) => {
          assertFile(inode)
          if (!allowsData(inode, user, may.write)) throw new Refusal('ACCES')
          const bytes = args.data.length === 1 ? args.data[0] : Buffer.concat(args.data)
          if (args.offset + bytes.length > fileBytesMax) throw new Refusal('FBIG')
          const writing: Maybe<Inode> =
            bytes.length === 0
              ? data.current(inode)
              : this.#admitted(bytes.length, () => data.write(inode, args.offset, bytes))
          return after(writing, (now) => ({
            ...{ status: 'OK', count: bytes.length, committed: 'fileSync', verifier },
            change: { after: attributesOf(now, share.namespace.root) },
          }))
        })
      }),
    )
  }

  create({ directory, name, how }: Nfs3Arguments['create'], caller: Caller): Promise<Nfs3Results['create']> {
    return this.#answered(async () => {
      const { share, user, id } = await this.#mayChange(directory, name, caller)
      const attributes = how.mode === 'exclusive' ? {} : how.attributes
      const made = await share.namespace.create(id, name, {
        ...newInode('file', attributes, user, 0o644),
        ...(how.mode === 'exclusive' ? { verifier: how.verifier } : {}),
      })
      if (made.existed) {
        const isOurs =
          how.mode === 'exclusive' &&
          made.inode.verifier !== undefined &&
          made.inode.verifier.equals(how.verifier)
        if (how.mode !== 'unchecked' && !isOurs) throw new Refusal('EXIST')
        if (made.inode.type !== 'file') throw new Refusal('EXIST')
      }
      return this.#made(share, made, await this.#withSize(share, made.inode, user, attributes))
    })
  }

  mkdir(
    { directory, name, attributes }: Nfs3Arguments['mkdir'],
    caller: Caller,
  ): Promise<Nfs3Results['mkdir']> {
    return this.#make(directory, name, caller, (user) => newInode('directory', attributes, user, 0o755))
  }

  symlink(args: Nfs3Arguments['symlink'], caller: Caller): Promise<Nfs3Results['symlink']> {
    const { directory, name, attributes, target } = args
    return this.#make(directory, name, caller, (user) => ({
      ...newInode('link', attributes, user, 0o777),
      target,
    }))
  }

  mknod({ directory, name, node }: Nfs3Arguments['mknod'], caller: Caller): Promise<Nfs3Results['mknod']> {
    return this.#make(directory, name, caller, (user) => {
      if (!('attributes' in node)) throw new Refusal('BADTYPE')
      const made = newInode(node.type, node.attributes, user, 0o644)
      if (!('device' in node)) return made
      if (user.uid !== 0) throw new Refusal('PERM')
      return { ...made, device: node.device }
    })
  }

  remove({ directory, name }: Place, caller: Caller): Promise<Nfs3Results['remove']> {
    return this.#answered(async () => {
      const { share, user, id, inode: parent } = await this.#mayChange(directory, name, caller)
      const { namespace } = share
      const inode = await namespace.lookup(id, name)
      if (inode.type === 'directory') throw new Refusal('ISDIR')
      if (!allowsRemoval(parent, inode, user)) throw new Refusal('PERM')
      const removed = await namespace.remove(id, name)
      if (removed.gone) await this.#forget(share, removed.inode)
      return { status: 'OK', directoryChange: changeOf(removed.directory, namespace.root) }
    })
  }

  rmdir({ directory, name }: Place, caller: Caller): Promise<Nfs3Results['rmdir']> {
    return this.#answered(async () => {
      const { share, user, id, inode: parent } = await this.#mayChange(directory, name, caller)
      const { namespace } = share
      const inode = await namespace.lookup(id, name)
      if (inode.type !== 'directory') throw new Refusal('NOTDIR')
      if (!allowsRemoval(parent, inode, user)) throw new Refusal('PERM')
      const removed = await namespace.removeDirectory(id, name)
      return { status: 'OK', directoryChange: changeOf(removed.directory, namespace.root) }
    })
  }

  rename({ from, to }: Nfs3Arguments['rename'], caller: Caller): Promise<Nfs3Results['rename']> {
    return this.#answered(async () => {
      const old = await this.#mayChange(from.directory, from.name, caller)
      const target = await this.#mayChange(to.directory, to.name, caller)
      if (!isSameContainer(old.share, target.share)) throw new Refusal('XDEV')
      const { namespace } = old.share
      const inode = await namespace.lookup(old.id, from.name)
      if (!allowsRemoval(old.inode, inode, old.user)) throw new Refusal('PERM')
      const there = await namespace.lookup(target.id, to.name).catch((error: unknown) => {
        if (error instanceof FileError && error.code === 'NOENT') return undefined
        throw error
      })
      if (there !== undefined && !allowsRemoval(target.inode, there, target.user)) throw new Refusal('PERM')
      const renamed = await namespace.rename(old.id, from.name, target.id, to.name)
      if (renamed.gone && renamed.replaced !== undefined) await this.#forget(old.share, renamed.replaced)
      return {
        status: 'OK',
        fromChange: changeOf(renamed.from, namespace.root),
        toChange: changeOf(renamed.to, namespace.root),
      }
    })
  }

  link({ handle, to }: Nfs3Arguments['link'], caller: Caller): Promise<Nfs3Results['link']> {
    return this.#answered(async () => {
      const target = await this.#target(handle, caller, 'change')
      const { share, id } = await this.#mayChange(to.directory, to.name, caller)
      if (!isSameContainer(share, target.share)) throw new Refusal('XDEV')
      const linked = await share.namespace.link(target.id, id, to.name)
      this.#stateOf(share).known.forget(target.id)
      return {
        status: 'OK',
        attributes: await this.#attributes(share, linked.inode),
        directoryChange: changeOf(linked.directory, share.namespace.root),
      }
    })
  }

  readdir(
    { handle, cookie, count }: Nfs3Arguments['readdir'],
    caller: Caller,
  ): Promise<Nfs3Results['readdir']> {
    return this.#answered(async () => {
      const listing = new DirectoryListing(count)
      const listed = await this.#list(handle, cookie, caller, listing, (_, { name, cookie: at, inode }) =>
        listing.offer({ fileId: BigInt(inode.id), name, cookie: at }),
      )
      if (listing.entries === 0 && !listed.atEnd) throw new Refusal('TOOSMALL')
      return { status: 'OK', verifier: cookieVerifier, listing, ...listed }
    })
  }

  readdirplus(
    { handle, cookie, namesCount, count }: Nfs3Arguments['readdirplus'],
    caller: Caller,
  ): Promise<Nfs3Results['readdirplus']> {
    return this.#answered(async () => {
      const listing = new DirectoryListingPlus(namesCount, count)
      const listed = await this.#list(handle, cookie, caller, listing, (share, { name, cookie: at, inode }) =>
        listing.offer({
          fileId: BigInt(inode.id),
          name,
          cookie: at,
          handle: this.#handle(share, inode.id),
          // The size of a vDisk's file is its owner's: clients ask for it by itself.
          ...(inode.content?.kind === 'vdisk'
            ? {}
            : { attributes: attributesOf(inode, share.namespace.root) }),
        }),
      )
      if (listing.entries === 0 && !listed.atEnd) throw new Refusal('TOOSMALL')
      return { status: 'OK', verifier: cookieVerifier, listing, ...listed }
    })
  }

  fsstat({ handle }: Nfs3Arguments['fsstat'], caller: Caller): Promise<Nfs3Results['fsstat']> {
    return this.#answered(async () => {
      const { share, id } = await this.#target(handle, caller)
      const attributes = await this.#attributes(share, await share.namespace.inode(id))
      const { totalBytes, freeBytes } = await share.space()
      return {
        status: 'OK',
        attributes,
        ...{ totalBytes, freeBytes, availableBytes: freeBytes },
        ...{ totalFiles: filesMax, freeFiles: filesMax, availableFiles: filesMax, steadySeconds: 0 },
      }
    })
  }

  fsinfo({ handle }: Nfs3Arguments['fsinfo'], caller: Caller): Promise<Nfs3Results['fsinfo']> {
    return this.#answered(async () => {
      const { share, id } = await this.#target(handle, caller)
      return {
        status: 'OK',
        attributes: await this.#attributes(share, await share.namespace.inode(id)),
        ...{ readBytesMax: transferBytesMax, readBytesPreferred: transferBytesMax, readBytesMultiple: 4096 },
        ...{
          writeBytesMax: transferBytesMax,
          writeBytesPreferred: transferBytesMax,
          writeBytesMultiple: 4096,
        },
        ...{ readdirBytesPreferred, fileBytesMax, timeDelta: { seconds: 0, nanoseconds: 1 } },
        properties: fsProperty.link | fsProperty.symlink | fsProperty.homogeneous | fsProperty.canSetTime,
      }
    })
  }

  pathconf({ handle }: Nfs3Arguments['pathconf'], caller: Caller): Promise<Nfs3Results['pathconf']> {
    return this.#answered(async () => {
      const { share, id } = await this.#target(handle, caller)
      return {
        status: 'OK',
        attributes: await this.#attributes(share, await share.namespace.inode(id)),
        ...{ linksMax, nameBytesMax, noTruncation: true, chownRestricted: true },
        ...{ caseInsensitive: false, casePreserving: true },
      }
    })
  }

  commit({ handle }: Nfs3Arguments['commit'], caller: Caller): Promise<Nfs3Results['commit']> {
    return this.#answered(async () => {
      const { share, id } = await this.#target(handle, caller)
      const after = await this.#attributes(share, await share.namespace.inode(id))
      return { status: 'OK', verifier, change: { after } }
    })
  }

  /** The object that a handle names. STALE, BADHANDLE, ACCES; ROFS where it is to be changed and may not. */
  #target(handle: Buffer, caller: Caller, what: 'look' | 'change' = 'look'): Maybe<Target> {
    const { handles, shares } = this.#parts
    const file = handles.decode(handle)
    if (file === undefined) throw new Refusal('BADHANDLE')
    return after(shares.ofRoot(file.root), (share) => {
      if (share === undefined) throw new Refusal('STALE')
      if (!share.export.allows(caller)) throw new Refusal('ACCES')
      if (what === 'change' && share.export.rules.readOnly) throw new Refusal('ROFS')
      return { share, user: share.export.userOf(caller), id: file.inode }
    })
  }

  /** A directory in which the caller may make and remove this name. */
  async #mayChange(
    directory: Buffer,
    name: Buffer,
    caller: Caller,
  ): Promise<Target & { readonly inode: Inode }> {
    const target = await this.#target(directory, caller, 'change')
    const refusal = refusalOfName(name) ?? (isDots(name) ? 'EXIST' : undefined)
    if (refusal !== undefined) throw new Refusal(refusal)
    const inode = await target.share.namespace.inode(target.id)
    assertDirectory(inode)
    if (!allows(inode, target.user, may.write | may.execute)) throw new Refusal('ACCES')
    return { ...target, inode }
  }

  #make(
    directory: Buffer,
    name: Buffer,
    caller: Caller,
    what: (user: User) => NewInode,
  ): Promise<Nfs3Results['mkdir']> {
    return this.#answered(async () => {
      const { share, user, id } = await this.#mayChange(directory, name, caller)
      const made = await share.namespace.create(id, name, what(user))
      if (made.existed) throw new Refusal('EXIST')
      return this.#made(share, made, made.inode)
    })
  }

  async #made(
    share: Share,
    { directory }: { readonly directory: Around },
    inode: Inode,
  ): Promise<Ok<'create'>> {
    return {
      status: 'OK',
      handle: this.#handle(share, inode.id),
      attributes: await this.#attributes(share, inode),
      directoryChange: changeOf(directory, share.namespace.root),
    }
  }

  /** A creation may ask for a size: mostly for none, of a file that is there already. */
  async #withSize(share: Share, inode: Inode, user: User, { sizeBytes }: NewAttributes): Promise<Inode> {
    const { data } = this.#stateOf(share)
    if (sizeBytes === undefined || sizeBytes === (await data.current(inode)).sizeBytes) return inode
    if (sizeBytes > fileBytesMax) throw new Refusal('FBIG')
    if (!allowsData(inode, user, may.write)) throw new Refusal('ACCES')
    return data.resize(inode, sizeBytes)
  }

  /** Entries behind the cookie, `.` and `..` first, until one is not taken. */
  async #list(
    handle: Buffer,
    cookie: bigint,
    caller: Caller,
    listing: { readonly room: number },
    offer: (share: Share, entry: { name: Buffer; cookie: bigint; inode: Inode }) => boolean,
  ): Promise<{ readonly atEnd: boolean; readonly attributes: ReturnType<typeof attributesOf> }> {
    const { share, user, id } = await this.#target(handle, caller)
    const { namespace } = share
    const directory = await namespace.inode(id)
    assertDirectory(directory)
    if (!allows(directory, user, may.read)) throw new Refusal('ACCES')
    const attributes = attributesOf(directory, namespace.root)
    if (cookie < 1n && !offer(share, { name: Buffer.from('.'), cookie: 1n, inode: directory }))
      return { atEnd: false, attributes }
    if (cookie < 2n) {
      const parent = await namespace.inode(await namespace.parent(id))
      if (!offer(share, { name: Buffer.from('..'), cookie: 2n, inode: parent }))
        return { atEnd: false, attributes }
    }
    const behind = cookie < 2n ? 2n : cookie
    for await (const { entries, done } of namespace.listAhead(id, behind, () => listing.room)) {
      for (const entry of entries) if (!offer(share, entry)) return { atEnd: false, attributes }
      if (done) break
    }
    return { atEnd: true, attributes }
  }

  #forget(share: Share, inode: Inode): Promise<void> {
    this.#stateOf(share).known.forget(inode.id)
    return deleteVDiskOf(inode, share.vdisks, this.#parts.log)
  }

  #admitted<T>(bytes: number, work: () => Maybe<T>): Maybe<T> {
    const { admission } = this.#parts
    if (admission === undefined) return work()
    if (!admission.tryEnter('guest', bytes))
      return admission.enter('guest', bytes).then(() => this.#entered(admission, bytes, work))
    return this.#entered(admission, bytes, work)
  }

  #entered<T>(admission: Admission, bytes: number, work: () => Maybe<T>): Maybe<T> {
    let working: Maybe<T> | undefined
    try {
      working = work()
    } finally {
      if (!(working instanceof Promise)) admission.leave('guest', bytes)
    }
    return working instanceof Promise ? working.finally(() => admission.leave('guest', bytes)) : working
  }

  #handle(share: Share, id: InodeId): Buffer {
    return this.#parts.handles.encode(share.namespace.root, id)
  }

  async #attributes(share: Share, inode: Inode): Promise<ReturnType<typeof attributesOf>> {
    return attributesOf(await this.#stateOf(share).data.current(inode), share.namespace.root)
  }

  /** Without what was before where a vDisk has the size: it is nobody's that saw both in one step. */
  async #change(share: Share, around: Around): Promise<Change> {
    if (around.after.content?.kind !== 'vdisk') return changeOf(around, share.namespace.root)
    return { after: await this.#attributes(share, around.after) }
  }

  #stateOf(share: Share): ShareState {
    let state = this.#states.get(share)
    if (state === undefined) {
      const { clock } = this.#parts
      state = { data: new FileData(share, clock), known: new KnownFiles(share.namespace, clock) }
      this.#states.set(share, state)
    }
    return state
  }

  async #answered<Result>(serve: () => Promise<Result>): Promise<Result | Refused> {
    try {
      return await serve()
    } catch (error) {
      return refused(error)
    }
  }
}

interface Refused {
  readonly status: Nfs3Error
}

const refused = (error: unknown): Refused => ({ status: statusOf(error) })

function answeredAtOnce<Result>(serve: () => Maybe<Result>): Maybe<Result | Refused> {
  try {
    const served = serve()
    return served instanceof Promise ? served.catch(refused) : served
  } catch (error) {
    return refused(error)
  }
}

const isDots = (name: Buffer): boolean => name.equals(Buffer.from('.')) || name.equals(Buffer.from('..'))

/** A container that this node has not heard of yet may get another `Share` from one call of `ofRoot` to the next. */
const isSameContainer = (one: Share, other: Share): boolean => one.namespace.root === other.namespace.root

function assertDirectory(inode: Inode): void {
  if (inode.type !== 'directory') throw new Refusal('NOTDIR')
}

function assertFile(inode: Inode): void {
  if (inode.type === 'directory') throw new Refusal('ISDIR')
  if (inode.type !== 'file') throw new Refusal('INVAL')
}

/** Mode and times are their owner's to set, owners root's; the size is any writer's, and the time of now, too. */
function assertMaySet(inode: Inode, user: User, attributes: NewAttributes): void {
  const { mode, uid, gid, sizeBytes, accessTime, modifyTime } = attributes
  if (uid !== undefined && user.uid !== 0 && uid !== inode.uid) throw new Refusal('PERM')
  const isMember = user.gid === gid || (gid !== undefined && user.gids.includes(gid))
  if (gid !== undefined && user.uid !== 0 && gid !== inode.gid && !(user.uid === inode.uid && isMember))
    throw new Refusal('PERM')
  if (mode !== undefined && !isOwner(inode, user)) throw new Refusal('PERM')
  const times = [accessTime, modifyTime].filter((time) => time !== undefined)
  if (times.some((time) => time !== 'now') && !isOwner(inode, user)) throw new Refusal('PERM')
  const isWrite = sizeBytes !== undefined || times.length > 0
  if (isWrite && !allowsData(inode, user, may.write)) throw new Refusal('ACCES')
}

function newInode(
  type: NewInode['type'],
  { mode, uid, gid }: NewAttributes,
  user: User,
  usualMode: number,
): NewInode {
  // Files belong to who makes them; root may say otherwise.
  const owner = user.uid === 0 ? (uid ?? user.uid) : user.uid
  const group =
    user.uid === 0 || (gid !== undefined && user.gids.includes(gid)) ? (gid ?? user.gid) : user.gid
  return { type, mode: (mode ?? usualMode) & 0o7777, uid: owner, gid: group }
}
