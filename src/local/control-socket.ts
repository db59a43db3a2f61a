/**
 * What `ndfs up` may be asked while it runs: a line of JSON each way, over the Unix socket `DIR/up.sock`, which only the
 * user who runs it can open.
 *
 *   → {"start": "n1"}
 *   ← {"done": {"started": true}}   or   {"error": {"code": "…", "message": "…", "facts": {…}}}
 */
import { chmod } from 'node:fs/promises'
import { NdfsError, messageOf, type NdfsErrorCode } from '../base/errors.ts'
import { KiB } from '../base/units.ts'
import type { Listener, Platform, Sockets } from '../platform/platform.ts'

export interface ControlRequest {
  readonly start: string
}
export interface ControlResult {
  /** False: it ran already. */
  readonly started: boolean
}

type Reply =
  | { readonly done: ControlResult }
  | { readonly error: { code: string; message: string; facts: Record<string, unknown> } }

/** No request, and no reply, is longer. */
const lineBytesMax = 16 * KiB
const connectTimeoutMs = 2000

export async function serveControl(
  path: string,
  { sockets }: Platform,
  answer: (request: ControlRequest) => Promise<ControlResult>,
): Promise<Listener> {
  const listener = await sockets.listen(`unix:${path}`, (socket) => {
    let text = ''
    socket.onClose = () => undefined
    socket.onData = (bytes) => {
      text += bytes.toString()
      if (text.length > lineBytesMax) return socket.destroy()
      const end = text.indexOf('\n')
      if (end < 0) return
      const line = text.slice(0, end)
      text = ''
      void replyTo(line, answer).then((reply) => {
        socket.write([Buffer.from(`${JSON.stringify(reply)}\n`)])
        socket.end()
      })
    }
  })
  await chmod(path, 0o600)
  return listener
}

async function replyTo(
  line: string,
  answer: (request: ControlRequest) => Promise<ControlResult>,
): Promise<Reply> {
  try {
    const request = JSON.parse(line) as Partial<ControlRequest>
    if (typeof request.start !== 'string') throw new NdfsError('REFUSED', 'Cannot understand the request.')
    return { done: await answer({ start: request.start }) }
  } catch (error) {
    const { code = 'REFUSED', facts = {} } = error as Partial<NdfsError>
    return { error: { code, message: messageOf(error), facts } }
  }
}

/** `undefined` where no `up` listens. Rejects with what it could not do. */
export async function askControl(
  path: string,
  sockets: Sockets,
  request: ControlRequest,
): Promise<ControlResult | undefined> {
  const socket = await sockets.connect(`unix:${path}`, connectTimeoutMs).catch(() => undefined)
  if (socket === undefined) return undefined
  const line = await new Promise<string>((resolve) => {
    let text = ''
    socket.onData = (bytes) => (text += bytes.toString())
    socket.onClose = () => resolve(text)
    socket.write([Buffer.from(`${JSON.stringify(request)}\n`)])
  })
  if (line === '')
    throw new NdfsError(
      'PEER_UNREACHABLE',
      'Cannot tell whether it was done: `ndfs up` ended before it answered.',
    )
  const reply = JSON.parse(line) as Reply
  if ('done' in reply) return reply.done
  throw new NdfsError(reply.error.code as NdfsErrorCode, reply.error.message, reply.error.facts)
}
