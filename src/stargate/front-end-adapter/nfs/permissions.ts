/**
 * Who may do what with an inode: permission bits, as POSIX has them. Root may everything. Who owns a file may read and write it whatever its
 * bits say: its client has checked them when the file was opened, and they may have been changed since (RFC 1813, section 4.4).
 */
import type { Inode } from '../../namespace/namespace.ts'
import type { User } from './export-rules.ts'
import { access } from './nfs3-types.ts'

export const may = { execute: 1, write: 2, read: 4 } as const
const sticky = 0o1000

/** All of `wanted`, by the bits. Of a file root may execute only what somebody may. */
export function allows(inode: Inode, { uid, gid, gids }: User, wanted: number): boolean {
  const { mode } = inode
  if (uid === 0) return (wanted & may.execute) === 0 || inode.type === 'directory' || (mode & 0o111) !== 0
  const bits =
    uid === inode.uid ? mode >> 6 : gid === inode.gid || gids.includes(inode.gid) ? mode >> 3 : mode
  return (bits & wanted) === wanted
}

/** To read or write the bytes of a file that is open. */
export const allowsData = (inode: Inode, user: User, wanted: number): boolean =>
  user.uid === inode.uid || allows(inode, user, wanted)

export const isOwner = (inode: Inode, { uid }: User): boolean => uid === 0 || uid === inode.uid

/** Under a sticky directory a name is its file's owner's, or the directory's. The directory may be written otherwise. */
export const allowsRemoval = (directory: Inode, inode: Inode, user: User): boolean =>
  (directory.mode & sticky) === 0 || isOwner(inode, user) || isOwner(directory, user)

/** Bits of ACCESS, of those that are wanted. */
export function grantedAccess(inode: Inode, user: User, wanted: number, readOnly: boolean): number {
  const isDirectory = inode.type === 'directory'
  let granted = 0
  if (allows(inode, user, may.read)) granted |= access.read
  if (allows(inode, user, may.execute)) granted |= isDirectory ? access.lookup : access.execute
  if (!readOnly && allows(inode, user, may.write))
    granted |= access.modify | access.extend | (isDirectory ? access.delete : 0)
  return granted & wanted
}
