/** The backups of the metadata that lie on disks, and what follows from them before anything is made anew of one (docs/decisions/0014). */
import { backupsOn, wholeBackup } from '../backup-file.ts'
import { otherFormat, type Release, servesFormat } from '../base/formats.ts'
import type { Disk } from '../disk/disk.ts'

export interface BackupsOnDisks {
  readonly newest?: { readonly disk: Disk; readonly name: string; readonly takenAt: number }
  /** Newer ones, which can't be used: damaged, of another cluster, or not finished. */
  readonly damaged: readonly string[]
  /**
   * That of the cluster that is made of it. The highest of all backups, since a format only rises while clocks may stand anyhow. Without any
   * it isn't known, and is the release's newest: what lies on the disks is of no newer one, or could not be read, and a lower one would let in
   * nodes that can't read it.
   */
  readonly format: number
}

/** @throws {NdfsError} REFUSED: a backup was written by a release whose format, or file, this one does not serve. */
export async function readBackupsOnDisks(
  disks: readonly Disk[],
  cluster: string,
  release: Release,
): Promise<BackupsOnDisks> {
  const all: { disk: Disk; name: string }[] = []
  for (const disk of disks) for (const name of await backupsOn(disk)) all.push({ disk, name })
  all.sort((a, b) => (a.name < b.name ? 1 : -1))
  const damaged: string[] = []
  let newest: BackupsOnDisks['newest']
  let highest: number | undefined
  for (const { disk, name } of all) {
    const file = await disk.open(name)
    const found = await wholeBackup(file, cluster).finally(() => file.close())
    if (found === undefined) {
      if (newest === undefined) damaged.push(`${disk.path}/${name}`)
      continue
    }
    newest ??= { disk, name, takenAt: found.takenAt }
    highest = Math.max(highest ?? 0, found.format)
  }
  const format = highest ?? release.newest
  if (!servesFormat(release, format))
    throw otherFormat('rebuild the metadata with this release', release, format)
  return { ...(newest === undefined ? {} : { newest }), damaged, format }
}
