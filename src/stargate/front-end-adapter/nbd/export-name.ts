/**
 * What a client writes in the place of an export's name: `container/vdisk`, or, when it may repeat its requests over
 * another node (F3), `container/vdisk#client.number`.
 */
import { isUtf8 } from 'node:buffer'
import type { ClientSession } from '../../io/io.ts'
import { stringBytesMax } from './nbd-protocol.ts'

export interface ExportName {
  readonly name: string
  readonly session?: ClientSession
}

/** `undefined`: no name, whatever exists. The empty name is one: the protocol has it mean the default export. */
export function parseExportName(bytes: Buffer): ExportName | undefined {
  if (bytes.length > stringBytesMax || !isUtf8(bytes) || bytes.includes(0)) return undefined
  const text = bytes.toString('utf8')
  const hash = text.lastIndexOf('#')
  if (hash < 0) return { name: text }
  const session = /^([A-Za-z0-9._-]{1,64})\.(\d{1,16})$/.exec(text.slice(hash + 1))
  const number = Number(session?.[2])
  if (!session || !Number.isSafeInteger(number)) return undefined
  return { name: text.slice(0, hash), session: { client: session[1], number } }
}
