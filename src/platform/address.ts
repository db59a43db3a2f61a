/** What the address of a listener or a peer says. */
export type Place =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string }

/** The longest path that the system takes for a Unix socket; a longer one would be cut off in silence. */
const unixPathBytesMax = 107

/** Reads `host:port`, `[::1]:port` or `unix:/path`; throws a sentence where it is none of them. */
export function placeOf(address: string): Place {
  if (address.startsWith('unix:')) {
    const path = address.slice('unix:'.length)
    if (path === '') throw new TypeError(`Cannot use the address ${address}: it has no path`)
    if (Buffer.byteLength(path) > unixPathBytesMax)
      throw new TypeError(
        `Cannot use the socket path ${path}: it has ${Buffer.byteLength(path)} bytes and the system takes ` +
          `${unixPathBytesMax}; choose a shorter directory`,
      )
    return { kind: 'unix', path }
  }
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(address)
  const port = Number(match?.[3])
  if (!match || port > 65535)
    throw new TypeError(`Cannot use the address ${address}: write 127.0.0.1:9440, [::1]:9440 or unix:/path`)
  return { kind: 'tcp', host: match[1] ?? match[2], port }
}

export const tcpAddress = (host: string, port: number): string =>
  host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
