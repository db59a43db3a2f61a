/** The files of extent groups on a disk, and what they say of themselves: for whoever makes metadata anew from disks. */
import type { CopyNumber, GroupId } from '../../base/ids.ts'
import type { Disk } from '../../disk/disk.ts'
import { groupsFolder, hashFolders, isFinished, parseGroupFileName, readTrailer } from './group-file.ts'
import type { CopyTrailer } from './trailer.ts'

export interface CopyFile {
  readonly name: string
  readonly group: GroupId
  readonly number: CopyNumber
}

/** All of them, a folder at a time. */
export async function* copyFiles(disk: Disk): AsyncGenerator<CopyFile> {
  for (const folder of hashFolders)
    for (const listed of await disk.list(`${groupsFolder}/${folder}`)) {
      const name = `${groupsFolder}/${folder}/${listed.slice(listed.lastIndexOf('/') + 1)}`
      const parsed = parseGroupFileName(name.slice(name.lastIndexOf('/') + 1))
      if (parsed !== undefined) yield { name, ...parsed }
    }
}

/** The copy's trailer; `unfinished` where none was written, `damaged` where it can't be read, or is another copy's. */
export async function trailerOfCopy(
  disk: Disk,
  { name, group, number }: CopyFile,
  cluster: string,
): Promise<CopyTrailer | 'unfinished' | 'damaged'> {
  const file = await disk.open(name)
  try {
    const trailer = await readTrailer(file)
    if (trailer?.group === group && trailer.number === number && trailer.cluster === cluster) return trailer
    return (await isFinished(file)) ? 'damaged' : 'unfinished'
  } finally {
    await file.close()
  }
}
