/** What the datastore serves: containers, each with its namespace, its rules, and vDisks for what is too long for the namespace. */
import type { VDiskId } from '../../../base/ids.ts'
import type { ClientSession, Maybe, OpenVDisk, VDiskNow } from '../../io/io.ts'
import type { InodeId, Namespace } from '../../namespace/namespace.ts'
import type { Export, ExportRules } from './export-rules.ts'

/** A vDisk that holds a file: its size is the file's, in bytes, and its times are (M6). What changes it is durable when it resolves. */
export interface FileVDisk extends Pick<OpenVDisk, 'read' | 'lend' | 'write'> {
  /** As its owner has it at some moment after the call, whoever changed it last. */
  now(): Maybe<VDiskNow>
  /** As it was when its owner answered last, for whatever was asked of this object; never older than an answer that was given by it. */
  readonly lastKnown: VDiskNow
  /** To so many bytes at least; what comes on reads as zeros. Many may do so at once: none of them cuts off what another has got. */
  grow(sizeBytes: number): Promise<void>
  /** To so many bytes: what is cut off is gone. */
  resize(sizeBytes: number): Promise<void>
}

/** The vDisks of one container's files. */
export interface FileVDisks {
  /** For that file, which is to name it: one that it doesn't name is deleted after some minutes. */
  create(file: InodeId): Promise<VDiskId>
  /** For all clients of this node, and not to be closed. */
  open(vdisk: VDiskId): Maybe<FileVDisk>
  /** For one writer: whoever opens it by the same name under a higher number is the only one of that name who writes from then on. */
  openFor(writer: ClientSession, vdisk: VDiskId): Promise<FileVDisk & { close(): void }>
  /** Resolves when nobody can read it any more. Nothing happens where there is none. */
  delete(vdisk: VDiskId): Promise<void>
}

export interface Share {
  /** The container's name; clients mount `/name`. */
  readonly name: string
  readonly namespace: Namespace
  /** By the rules as they are now: an operator may change them at any time. */
  readonly export: Export
  readonly vdisks: FileVDisks
  /** On the disks, with all copies that the container asks for. */
  space(): Maybe<{ readonly totalBytes: number; readonly freeBytes: number }>
}

export interface Shares {
  /** All that there are, whether anybody has mounted them or not; sorted by name. */
  exports(): readonly { readonly name: string; readonly rules: ExportRules }[]
  named(name: string): Maybe<Share | undefined>
  /** By the inode of its root. */
  ofRoot(root: InodeId): Maybe<Share | undefined>
}
