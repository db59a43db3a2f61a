/** Loaded by `--import` before a directed scenario: plants the bug that the environment names. */
import { installPatches } from '../patches/source-patch.ts'
import { bugNamed } from './bugs.ts'

installPatches(bugNamed(process.env.NDFS_PLANTED_BUG ?? '').patches)
