/**
 * Rows of inodes that are asked for in one turn of the loop are read in one go: clients send many calls at once, and all calls for one
 * directory look at its inode. Each read begins after it was asked for, and so sees what had resolved before.
 */
import type { MedusaAccess } from '../partition-changes/partition-changes.ts'
import { type InodeId, isDirectoryId } from './namespace.ts'
import { inodeRowKey } from './rows.ts'

interface Asked {
  readonly resolve: (row: Buffer | undefined) => void
  readonly reject: (error: unknown) => void
}

export class RowReads {
  readonly #access: MedusaAccess
  #asked = new Map<InodeId, Asked[]>()

  constructor(access: MedusaAccess) {
    this.#access = access
  }

  read(id: InodeId): Promise<Buffer | undefined> {
    return new Promise((resolve, reject) => {
      const asked = this.#asked.get(id)
      if (asked !== undefined) return void asked.push({ resolve, reject })
      this.#asked.set(id, [{ resolve, reject }])
      if (this.#asked.size === 1) this.#access.platform.clock.soon(() => this.#readAll())
    })
  }

  /** At once, and in the order of the ids: for whoever has many of them. */
  async readMany(ids: readonly InodeId[]): Promise<readonly (Buffer | undefined)[]> {
    const [files, directories] = await Promise.all([
      this.#rowsOf(
        'inode',
        ids.filter((id) => !isDirectoryId(id)),
      ),
      this.#rowsOf('directory', ids.filter(isDirectoryId)),
    ])
    if (directories.length === 0) return files
    const [file, directory] = [files.values(), directories.values()]
    return ids.map((id) => (isDirectoryId(id) ? directory : file).next().value)
  }

  /** Of files and of directories, which lie in tables of their own. */
  #readAll(): void {
    const asked = this.#asked
    this.#asked = new Map()
    const ids = [...asked.keys()]
    const files = ids.filter((id) => !isDirectoryId(id))
    void this.#readOf('inode', files, asked)
    void this.#readOf('directory', ids.filter(isDirectoryId), asked)
  }

  async #readOf(
    table: 'inode' | 'directory',
    ids: readonly InodeId[],
    asked: ReadonlyMap<InodeId, readonly Asked[]>,
  ): Promise<void> {
    try {
      const rows = await this.#rowsOf(table, ids)
      for (const [i, id] of ids.entries()) for (const { resolve } of asked.get(id) ?? []) resolve(rows[i])
    } catch (error) {
      for (const id of ids) for (const { reject } of asked.get(id) ?? []) reject(error)
    }
  }

  async #rowsOf(
    table: 'inode' | 'directory',
    ids: readonly InodeId[],
  ): Promise<readonly (Buffer | undefined)[]> {
    return ids.length === 0 ? [] : this.#access.medusa.getOfMany(table, ids.map(String), inodeRowKey)
  }
}
