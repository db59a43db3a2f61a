/** An NBD server of a peer, by its Unix socket. */
import { existsSync } from 'node:fs'
import type { Service } from '../test/support/run.ts'

export const nbdImage = (socket: string): readonly string[] => [
  'ioengine=nbd',
  `uri=nbd+unix:///?socket=${socket}`,
]

export const whenNbdAnswers = (server: Service, socket: string): Promise<void> =>
  server.until('its socket is there', () => existsSync(socket))
