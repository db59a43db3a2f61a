/**
 * A lock that ends with the process: a Unix socket in Linux's abstract namespace, named by the path.
 *
 * It leaves nothing behind to be cleaned up, unlike a file with a process id, and Node.js has no flock. Its price:
 * processes in different network namespaces don't see each other's, so a folder must not be shared between containers.
 */
import { createHash } from 'node:crypto'
import { createServer } from 'node:net'

export interface Lock {
  release(): Promise<void>
}

/** `undefined` where another process, or this one, holds it. */
export function lockPath(path: string): Promise<Lock | undefined> {
  const name = createHash('sha256').update(path).digest('hex')
  const server = createServer((socket) => socket.destroy())
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      error.code === 'EADDRINUSE' ? resolve(undefined) : reject(error),
    )
    server.listen({ path: `\0ndfs-lock-${name}`, exclusive: true }, () => {
      server.unref()
      resolve({ release: () => new Promise((released) => server.close(() => released())) })
    })
  })
}
