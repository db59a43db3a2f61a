/** Sockets over loopback that seem to come from, and to go to, another machine. */
import { nodeSockets } from './node-sockets.ts'
import type { Sockets } from './platform.ts'

export const distantHost = '10.9.8.7'
const here = '127.0.0.1'

export const distantSockets: Sockets = {
  ...nodeSockets,
  async listen(address, onConnection) {
    const listener = await nodeSockets.listen(address.replace(distantHost, here), (socket) =>
      onConnection(Object.assign(socket, { remoteAddress: `${distantHost}:9` })),
    )
    return { address: listener.address.replace(here, distantHost), close: () => listener.close() }
  },
  connect: (address, timeoutMs) => nodeSockets.connect(address.replace(distantHost, here), timeoutMs),
}
