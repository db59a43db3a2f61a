/** Datagrams by Node.js: UDP. */
import { createSocket } from 'node:dgram'
import { isIPv6 } from 'node:net'
import { assert } from '../base/assert.ts'
import { KiB } from '../base/units.ts'
import { placeOf, tcpAddress } from './address.ts'
import { datagramBytesMax, type Address, type DatagramSocket } from './platform.ts'

/** Bytes that the system has not taken yet; what is to be sent beyond them is lost. As much as its own memory for a socket, usually. */
const unsentBytesMax = 256 * KiB

export function bindDatagrams(
  address: Address,
  onDatagram: (bytes: Buffer, from: Address) => void,
): Promise<DatagramSocket> {
  const place = placeOf(address)
  assert(place.kind === 'tcp', () => `there are no datagrams at ${address}`)
  const { host, port } = place
  const socket = createSocket({ type: isIPv6(host) ? 'udp6' : 'udp4', ipv6Only: false })
  socket.on('message', (bytes, from) => {
    // Nobody can be answered at port 0, which only a forger sends from.
    if (from.port !== 0) onDatagram(bytes, tcpAddress(from.address, from.port))
  })
  return new Promise((resolve, reject) => {
    socket.once('error', reject)
    socket.bind(port, host, () => {
      socket.off('error', reject)
      // An error of one datagram, as that nobody listens where it went: it is lost.
      socket.on('error', () => undefined)
      let isOpen = true
      resolve({
        address: tcpAddress(host, socket.address().port),
        send(bytes, to) {
          assert(bytes.length <= datagramBytesMax, 'a datagram is too long')
          const target = placeOf(to)
          if (!isOpen || target.kind !== 'tcp' || target.port === 0) return
          if (socket.getSendQueueSize() + bytes.length > unsentBytesMax) return
          socket.send(Buffer.from(bytes), target.port, target.host, () => undefined)
        },
        close: () =>
          new Promise((closed) => {
            isOpen = false
            socket.close(closed)
          }),
      })
    })
  })
}
