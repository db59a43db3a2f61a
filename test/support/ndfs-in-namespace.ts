/**
 * The ndfs command for a cluster whose nodes are in network namespaces: `ndfs up` starts its processes by the file that was run,
 * which is this one. One that is to be a node first goes where it belongs; it keeps its process id.
 */
import { basename, dirname, extname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type * as Main from '../../cli/main.ts'

/** What namespaces.ts calls the namespace of a node, without the node's name. */
const prefix = process.env.NDFS_NAMESPACES ?? ''
const program = process.env.NDFS_PROGRAM ?? join(import.meta.dirname, '../../dist/cli/ndfs.js')
const [kind, option, config] = process.argv.slice(2)

if (kind === 'node' && option === '--config') {
  const namespace = `${prefix}-${basename(dirname(config))}`
  const words = ['ip', 'netns', 'exec', namespace, process.execPath, program, ...process.argv.slice(2)]
  process.execve?.('/usr/sbin/ip', words, process.env)
}
const { main } = (await import(
  pathToFileURL(join(dirname(program), `main${extname(program)}`)).href
)) as typeof Main
await main({ entry: import.meta.filename, nodeOptions: process.execArgv })
