/**
 * The containers of the cluster as NFS serves them: each has a namespace from the moment somebody looks for files in it, and keeps its longer
 * files in vDisks of its own, `container/file-N`.
 */
import { createHmac } from 'node:crypto'
import { hasCode, NdfsError } from './base/errors.ts'
import type { VDiskId } from './base/ids.ts'
import type { ClusterView } from './cluster-view.ts'
import { type FileVDiskName, youngMs } from './curator/forsaken-vdisks.ts'
import { createNamedVDisk, deleteName } from './named-vdisks.ts'
import type { Medusa } from './medusa/medusa.ts'
import type { Platform } from './platform/platform.ts'
import { createNamespace, createRoot, type NamespaceOptions } from './stargate/namespace/medusa-namespace.ts'
import {
  type FileCheckContext,
  FileError,
  type Inode,
  type InodeId,
  type Namespace,
} from './stargate/namespace/namespace.ts'
import { Export, type ExportRules, rulesOf } from './stargate/front-end-adapter/nfs/export-rules.ts'
import { deleteVDiskOf } from './stargate/front-end-adapter/nfs/file-data.ts'
import type { FileVDisks, Share, Shares } from './stargate/front-end-adapter/nfs/shares.ts'
import type { RoutedVDisk, VDiskRouter } from './stargate/front-end-adapter/vdisk-router.ts'
import type { ClientSession, Maybe } from './stargate/io/io.ts'
import type { VDiskController } from './stargate/vdisk-controller/vdisk-controller.ts'
import { VDiskRow } from './stargate/vdisk-controller/vdisk-row.ts'
import type { ContainerValue, VDiskNameValue, Zeus } from './zeus/zeus.ts'

export interface NodeSharesOptions {
  readonly platform: Pick<Platform, 'clock' | 'chance' | 'log'>
  /** The cluster's. */
  readonly key: Buffer
  readonly view: ClusterView
  readonly zeus: Zeus
  readonly medusa: Medusa
  readonly router: VDiskRouter
  readonly controller: VDiskController
  /** Of the whole cluster, for as many copies. */
  readonly space: (copies: number) => { readonly totalBytes: number; readonly freeBytes: number }
}

/** vDisks that stay open for files that were used lately; who opens one more closes the one used longest ago. */
const openMax = 1024

export class NodeShares implements Shares {
  readonly #options: NodeSharesOptions
  readonly #shares = new Map<InodeId, Share>()
  readonly #exports = new WeakMap<ContainerValue, Export>()

  constructor(options: NodeSharesOptions) {
    this.#options = options
  }

  exports(): { readonly name: string; readonly rules: ExportRules }[] {
    const containers = [...this.#options.view.containers].sort(([one], [other]) => (one < other ? -1 : 1))
    return containers.flatMap(([name, { nfs, deleting }]) =>
      deleting ? [] : [{ name, rules: rulesOf(nfs) }],
    )
  }

  async named(name: string): Promise<Share | undefined> {
    const known = this.#options.view.containers.get(name)
    if (known?.deleting) return undefined
    const found = known?.root === undefined ? await this.#withRoot(name) : known
    return found?.root === undefined ? undefined : this.#share(name, found.root as InodeId, found)
  }

  ofRoot(root: InodeId): Share | Promise<Share | undefined> | undefined {
    const { containers } = this.#options.view
    // It is asked with each call of a client.
    const known = this.#shares.get(root)
    const of = known && containers.get(known.name)
    if (of && isOfRoot(of, root)) return known
    for (const [name, value] of containers) if (isOfRoot(value, root)) return this.#share(name, root, value)
    return this.#lookForRoot(root)
  }

  /** Whether there is a file or a directory in the container. */
  async hasFiles(name: string): Promise<boolean> {
    const found = await this.#options.zeus.get(`container/${name}`)
    const value = found?.value as ContainerValue | undefined
    const root = value?.root as InodeId | undefined
    if (value === undefined || root === undefined) return false
    const { entries } = await this.#share(name, root, value).namespace.list(root, 0n, 1)
    return entries.length > 0
  }

  /** Takes everything away that is in a container which nobody finds any more. False: something stays. */
  async clear(name: string, root: InodeId): Promise<boolean> {
    const namespace = createNamespace(this.#namespaceOf(name, root))
    const vdisks = new ContainerFileVDisks(name, this.#options)
    const { log } = this.#options.platform
    return namespace.clear((inode) => deleteVDiskOf(inode, vdisks, log))
  }

  /** Deletes a vDisk that was made for a file, unless the file names it. True: it is gone. */
  async clearForsaken({ name, vdisk, file }: FileVDiskName): Promise<boolean> {
    const container = name.slice(0, name.indexOf('/'))
    const known = this.#options.view.containers.get(container)
    // Whoever has deleted the container deletes its vDisks.
    if (known?.root === undefined) return false
    const { namespace, vdisks } = this.#share(container, known.root as InodeId, known)
    const held = await vdiskOf(namespace, file as InodeId)
    // A file that has become another vDisk, which was not made for it, has a damaged row: nothing follows from that.
    const isDamaged =
      held !== undefined &&
      held !== vdisk &&
      (await this.#faultOfVDisk(`${container}/${nameOfFileVDisk(held)}`, held, file as InodeId)) !== undefined
    if (isDamaged || (await namespace.disown(file as InodeId, vdisk)) !== 'never') return false
    await vdisks.delete(vdisk)
    return true
  }

  /** Checks the files of a container. */
  async check(
    container: string,
    root: InodeId,
    context: Omit<FileCheckContext, 'faultOfVDisk' | 'vdisks'>,
  ): Promise<void> {
    const { view, platform } = this.#options
    const isOld = ({ createdAt }: VDiskNameValue): boolean => platform.clock.wallTime() - createdAt >= youngMs
    const vdisks = [...view.vdisks].flatMap(([name, value]) =>
      name.startsWith(`${container}/`) && value.file !== undefined && isOld(value)
        ? [{ name, vdisk: value.id, file: value.file as InodeId }]
        : [],
    )
    const faultOfVDisk = (vdisk: VDiskId, file: InodeId): Promise<string | undefined> =>
      this.#faultOfVDisk(`${container}/${nameOfFileVDisk(vdisk)}`, vdisk, file)
    await createNamespace(this.#namespaceOf(container, root)).check({ ...context, vdisks, faultOfVDisk })
  }

  async #faultOfVDisk(name: string, vdisk: VDiskId, file: InodeId): Promise<string | undefined> {
    const { view, zeus, medusa } = this.#options
    // What is watched may be behind.
    const named =
      view.vdisks.get(name) ?? ((await zeus.get(`vdisk/${name}`))?.value as VDiskNameValue | undefined)
    if (named === undefined) return 'nothing has its name'
    if (named.file !== undefined && named.file !== file) return `it was made for the file ${named.file}`
    const state = await VDiskRow.peek({ medusa }, vdisk)
    if (state === undefined) return 'it has no row'
    return state.state === 'deleted' ? 'it was deleted' : undefined
  }

  close(): void {
    for (const { vdisks } of this.#shares.values()) (vdisks as ContainerFileVDisks).close()
  }

  /** This node may not have heard of it yet. */
  async #lookForRoot(root: InodeId): Promise<Share | undefined> {
    const containers = await this.#options.zeus.list('container/')
    const found = containers.find(({ value }) => isOfRoot(value as ContainerValue, root))
    if (found === undefined) return undefined
    return this.#share(found.key.slice('container/'.length), root, found.value as ContainerValue)
  }

  /** Makes the container's root, where it has none; undefined where there is no such container. */
  async #withRoot(name: string): Promise<ContainerValue | undefined> {
    const { zeus, platform } = this.#options
    for (;;) {
      const found = await zeus.get(`container/${name}`)
      if (found === undefined) return undefined
      const value = found.value as ContainerValue
      if (value.deleting) return undefined
      if (value.root !== undefined) return value
      // Odd: a directory's.
      const root = platform.chance.bytes(6).readUIntBE(0, 6) * 2 + 1
      // Its rows first: a root that is named is there. One that nobody comes to name is a few bytes.
      await createRoot(this.#namespaceOf(name, root as InodeId))
      try {
        const rooted: ContainerValue = { ...value, root }
        await zeus.set(`container/${name}`, rooted, found.version)
        return rooted
      } catch (error) {
        if (!hasCode(error, 'CONFLICT')) throw error
      }
    }
  }

  #share(name: string, root: InodeId, found: ContainerValue): Share {
    let share = this.#shares.get(root)
    if (share === undefined) {
      this.#dropForgotten()
      share = this.#newShare(name, root, found)
      this.#shares.set(root, share)
    }
    return share
  }

  /** Of containers that are no more. One that this node has not heard of yet may go too: it is made again. */
  #dropForgotten(): void {
    for (const [root, { name, vdisks }] of this.#shares) {
      const value = this.#options.view.containers.get(name)
      if (value !== undefined && isOfRoot(value, root)) continue
      this.#shares.delete(root)
      ;(vdisks as ContainerFileVDisks).close()
    }
  }

  #newShare(name: string, root: InodeId, found: ContainerValue): Share {
    // As found until this node has heard of it: what is usual, or was so for an older one of that name, may be more than is allowed.
    const now = (): ContainerValue => {
      const known = this.#options.view.containers.get(name)
      return known?.root === root ? known : found
    }
    const exportNow = (): Export => this.#exportOf(now())
    const vdisks = new ContainerFileVDisks(name, this.#options)
    const { log } = this.#options.platform
    const ended = (inode: Inode): void => void deleteVDiskOf(inode, vdisks, log)
    return {
      name,
      namespace: createNamespace({ ...this.#namespaceOf(name, root), ended }),
      get export() {
        return exportNow()
      },
      vdisks,
      space: () => this.#options.space(now().copies),
    }
  }

  /** A change of a container's settings is another value. */
  #exportOf(value: ContainerValue): Export {
    let known = this.#exports.get(value)
    if (known === undefined) this.#exports.set(value, (known = new Export(rulesOf(value.nfs))))
    return known
  }

  #namespaceOf(name: string, root: InodeId): NamespaceOptions {
    const { medusa, platform, key } = this.#options
    return { medusa, platform, container: name, root, secret: secretFor(key, 'names of entries') }
  }
}

/** The vDisk that a file names. */
async function vdiskOf(namespace: Namespace, file: InodeId): Promise<VDiskId | undefined> {
  try {
    const { content } = await namespace.inode(file)
    return content === undefined || content.kind === 'inline' ? undefined : content.vdisk
  } catch (error) {
    if (error instanceof FileError) return undefined
    throw error
  }
}

/** In its container. */
const nameOfFileVDisk = (vdisk: VDiskId): string => `file-${vdisk}`
/** It is, or would be, the name of a vDisk that holds a file. */
export const isNameOfFileVDisk = (name: string): boolean => /^file-\d+$/.test(name)

/** A key of the cluster's for one use: who has it has none for another. */
export const secretFor = (key: Buffer, use: string): Buffer => createHmac('sha256', key).update(use).digest()

const isOfRoot = (value: ContainerValue, root: number): boolean => value.root === root && !value.deleting

class ContainerFileVDisks implements FileVDisks {
  readonly #container: string
  readonly #options: NodeSharesOptions
  /** In the order of last use. */
  readonly #open = new Map<VDiskId, Maybe<RoutedVDisk>>()

  constructor(container: string, options: NodeSharesOptions) {
    this.#container = container
    this.#options = options
  }

  async create(file: InodeId): Promise<VDiskId> {
    const { zeus, controller, platform } = this.#options
    // As Zeus has it: this node may not have heard of the container yet, and fewer copies than asked for would be a broken promise (I1).
    const found = await zeus.get(`container/${this.#container}`)
    if (found === undefined || (found.value as ContainerValue).deleting)
      throw new NdfsError('NOT_FOUND', `There is no container ${this.#container} any more`, {
        container: this.#container,
      })
    const { copies } = found.value as ContainerValue
    const parts = { zeus, controller, clock: platform.clock }
    const { id } = await createNamedVDisk(parts, (vdisk) => this.#nameOf(vdisk), 0, copies, file)
    return id
  }

  open(vdisk: VDiskId): Maybe<RoutedVDisk> {
    let open = this.#open.get(vdisk)
    this.#open.delete(vdisk)
    open ??= this.#openShared(vdisk)
    this.#open.set(vdisk, open)
    if (this.#open.size > openMax)
      for (const oldest of [...this.#open.keys()].slice(0, 1)) this.#forget(oldest)
    return open
  }

  openFor(writer: ClientSession, vdisk: VDiskId): Promise<RoutedVDisk> {
    return this.#options.router.openById(vdisk, writer)
  }

  async delete(vdisk: VDiskId): Promise<void> {
    const { router, zeus } = this.#options
    this.#forget(vdisk)
    await router.delete(vdisk)
    const found = await zeus.get(`vdisk/${this.#nameOf(vdisk)}`)
    if (found !== undefined) await deleteName(zeus, found)
  }

  close(): void {
    for (const vdisk of [...this.#open.keys()]) this.#forget(vdisk)
  }

  #openShared(vdisk: VDiskId): Promise<RoutedVDisk> {
    const opening = this.#options.router.openById(vdisk)
    opening.then(
      (opened) => {
        if (this.#open.get(vdisk) === opening) this.#open.set(vdisk, opened)
      },
      () => {
        if (this.#open.get(vdisk) === opening) this.#open.delete(vdisk)
      },
    )
    return opening
  }

  #forget(vdisk: VDiskId): void {
    const open = this.#open.get(vdisk)
    this.#open.delete(vdisk)
    if (open instanceof Promise) open.then((one) => one.close()).catch(() => undefined)
    else open?.close()
  }

  #nameOf(vdisk: VDiskId): string {
    return `${this.#container}/${nameOfFileVDisk(vdisk)}`
  }
}
