/** Extent groups as files: where their copies lie, to damage or compare them. */
import { existsSync, readdirSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { basename, join } from 'node:path'

export interface GroupFile {
  readonly node: string
  readonly disk: string
  readonly path: string
  /** `<vdisk>-<epoch>-<counter>`, without the copy's number. */
  readonly group: string
}

/** All copies in the cluster's folder. */
export function groupFiles(dir: string): GroupFile[] {
  const nodes = join(dir, 'nodes')
  return readdirSync(nodes).flatMap((node) => {
    const disks = join(nodes, node, 'disks')
    return readdirSync(disks).flatMap((disk) =>
      filesBelow(join(disks, disk, 'groups')).map((path) => ({
        node,
        disk,
        path,
        group: basename(path).replace(/\.\d+$/, ''),
      })),
    )
  })
}

const filesBelow = (folder: string): string[] =>
  existsSync(folder)
    ? readdirSync(folder, { withFileTypes: true, recursive: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name))
    : []

/** Every bit of one byte. */
export async function flipByte(path: string, at: number): Promise<void> {
  const file = await open(path, 'r+')
  try {
    const byte = Buffer.alloc(1)
    await file.read(byte, 0, 1, at)
    byte[0] ^= 0xff
    await file.write(byte, 0, 1, at)
    await file.sync()
  } finally {
    await file.close()
  }
}
