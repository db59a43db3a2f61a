/** What the datastore serves: containers, each with its namespace, its rules, and vDisks for what is too long for the namespace. */
import type { VDiskId } from '../../../base/ids.ts'
import type { Maybe, OpenVDisk } from '../../io/io.ts'
import type { InodeId, Namespace } from '../../namespace/namespace.ts'
import type { Export, ExportRules } from './export-rules.ts'

/** A vDisk that holds a file: its size is the file's, in bytes. What changes it is durable when it resolves. */
export interface FileVDisk extends Pick<OpenVDisk, 'read' | 'write'> {
  /** As its owner has it now, whoever changed it last. */
  size(): Maybe<number>
  /** To so many bytes at least; what comes on reads as zeros. Many may do so at once: none of them cuts off what another has got. */
  grow(sizeBytes: number): Promise<void>
  /** To so many bytes: what is cut off is gone. */
  resize(sizeBytes: number): Promise<void>
  /** Of one that was opened for one writer; others are shared, and stay as they are. */
  close(): void
}

/** The vDisks of one container's files. */
export interface FileVDisks {
  create(): Promise<VDiskId>
  /** Whoever opens one under a higher number from then on is the only one who writes to it; without a number, one of all the clients. */
  open(vdisk: VDiskId, writer?: { readonly name: string; readonly number: number }): Maybe<FileVDisk>
  /** Resolves when nobody can read it any more. Nothing happens where there is none. */
  delete(vdisk: VDiskId): Promise<void>
}

export interface Share {
  /** The container's name; clients mount `/name`. */
  readonly name: string
  readonly namespace: Namespace
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
