/** vDisks and their names in Zeus: in which order they come, and go. */
import { hasCode } from './base/errors.ts'
import type { VDiskId } from './base/ids.ts'
import type { Clock } from './platform/platform.ts'
import type { VDiskController } from './stargate/vdisk-controller/vdisk-controller.ts'
import type { VDiskNameValue, Versioned, Zeus } from './zeus/zeus.ts'

/** CONFLICT where there is one of that name. `nameOf`: its name, `container/vdisk`, by its id. `file`: the inode that it is made for. */
export async function createNamedVDisk(
  {
    zeus,
    controller,
    clock,
  }: { readonly zeus: Zeus; readonly controller: VDiskController; readonly clock: Clock },
  nameOf: (vdisk: VDiskId) => string,
  sizeBytes: number,
  copies: 1 | 2 | 3,
  file?: number,
): Promise<VDiskNameValue> {
  const id = (await zeus.next('vdisk')) as VDiskId
  const name = nameOf(id)
  // The row first: a name never points to nothing. One without a name is a few bytes that nobody finds.
  await controller.create(id, name, sizeBytes, copies)
  const createdAt = Math.round(clock.wallTime())
  const value: VDiskNameValue = { id, createdAt, ...(file === undefined ? {} : { file }) }
  await zeus.set(`vdisk/${name}`, value, 0)
  return value
}

/** It may be gone, or another's by now, which stays: somebody else has deleted what it stood for. */
export async function deleteName(
  zeus: Zeus,
  { key, version }: Pick<Versioned, 'key' | 'version'>,
): Promise<void> {
  await zeus.delete(key, version).catch((error: unknown) => {
    if (!hasCode(error, 'CONFLICT')) throw error
  })
}
