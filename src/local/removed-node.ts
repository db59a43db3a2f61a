/** A node that was removed from its cluster leaves a note in its folder: nobody starts it again. */
import { join } from 'node:path'
import type { Files } from '../platform/platform.ts'
import { NdfsError } from '../base/errors.ts'

const noteIn = (folder: string): string => join(folder, 'removed')

export const noteRemoved = (files: Files, folder: string): Promise<void> =>
  files.replaceWhole(noteIn(folder), Buffer.from('This node was removed from its cluster.\n'))

export const wasRemoved = async (files: Files, folder: string): Promise<boolean> =>
  (await files.readWhole(noteIn(folder))) !== undefined

export const saysRemoved = (error: unknown): boolean =>
  error instanceof NdfsError && error.facts.removed === true
