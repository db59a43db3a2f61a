/**
 * Negotiation, fixed newstyle: server and client agree on an export and on how they will speak of it.
 *
 * The server greets, the client sends its flags and then options one by one; each is answered before the next is read.
 * GO and EXPORT_NAME that succeed end it in transmission, ABORT ends it with the connection. An option that we don't
 * know, or not in this form, is refused by name and harms nothing; EXPORT_NAME has no room for a refusal, so there the
 * connection is closed, as it is on wrong magic and on data beyond all measure.
 *
 *   plain → secure   STARTTLS, which is refused once it is. What was agreed on before is forgotten: anybody may have sent it    [#startTls]
 *
 * In plain the terms (nbd-terms.ts) say what may be asked, and which exports may be had.
 */
import { NdfsError } from '../../../base/errors.ts'
import { formatSize, pageBytes } from '../../../base/units.ts'
import { requestBytesMax, type ClientSession, type Exports, type OpenVDisk } from '../../io/io.ts'
import { parseExportName } from './export-name.ts'
import { nbdOptionError } from './nbd-errno.ts'
import { optionBytesMax, skippedOptionBytesMax } from './nbd-limits.ts'
import {
  allocationContextId,
  clientFlag,
  clientFlagsBytes,
  decodeInfoRequest,
  decodeMetaContextRequest,
  decodeOptionHeader,
  encodeExport,
  encodeGreeting,
  encodeOptionReply,
  exportNameZeroes,
  info,
  numbers,
  option,
  optionHeaderBytes,
  optionReply,
  transmissionFlag,
  type OptionError,
} from './nbd-protocol.ts'
import type { Terms } from './nbd-terms.ts'
import type { Agreement } from './refusal.ts'

/** The connection as negotiation sees it. All that wait reject with `Disconnected` once it is gone. */
export interface HandshakeLink {
  /** The client has sent more than was taken. */
  readonly holdsMore: boolean
  take(count: number): Promise<Buffer>
  skip(count: number): Promise<void>
  /** Resolves when the client may be sent more. */
  send(...buffers: Buffer[]): Promise<void>
  /** Once all that was sent has left: TLS from here on, for both directions. */
  secure(): Promise<void>
  /** The time until this settles is ours, not the client's. */
  ours<T>(work: Promise<T>): Promise<T>
}

export class Disconnected extends Error {
  override name = 'Disconnected'
}

export interface Negotiated extends Agreement {
  readonly name: string
  readonly session: ClientSession | undefined
  readonly vdisk: OpenVDisk
}

const allocationContext = 'base:allocation'
/** The names that a message lists, so that it stays readable. */
const namesTold = 5

/** Each number as `numbers` writes it. All sizes are allowed; whole pages are best; longer requests are refused. */
const blockSizes = [
  [4, 1],
  [4, pageBytes],
  [4, requestBytesMax],
] as const

/**
 * `canMultiConn`: what one connection was told is written is seen by all, as each answered write is durable and in the
 * vDisk's one order. Don't-fragment only makes sense, and may only be offered, with structured replies.
 */
export function transmissionFlagsOf(structured: boolean): number {
  const flags = transmissionFlag
  return (
    flags.hasFlags |
    flags.sendFlush |
    flags.sendFua |
    flags.sendTrim |
    flags.sendWriteZeroes |
    flags.canMultiConn |
    flags.sendCache |
    flags.sendFastZero |
    (structured ? flags.sendDf : 0)
  )
}

/** The contexts that the queries of a client name. Only listing knows the wildcard `base:`; there, no query asks for all. */
export function contextsOf(queries: readonly string[], listing: boolean): string[] {
  const found =
    queries.includes(allocationContext) || (listing && (queries.length === 0 || queries.includes('base:')))
  return found ? [allocationContext] : []
}

/** `undefined`: the client said goodbye, or what it sent can't be understood; close. */
export async function negotiate(
  link: HandshakeLink,
  exports: Exports,
  terms: Terms,
): Promise<Negotiated | undefined> {
  await link.send(encodeGreeting())
  const flags = (await link.take(clientFlagsBytes)).readUInt32BE(0)
  if ((flags & ~(clientFlag.fixedNewstyle | clientFlag.noZeroes)) !== 0) return undefined
  return new Negotiation(link, exports, terms, flags).run()
}

class Negotiation {
  readonly #link: HandshakeLink
  readonly #exports: Exports
  readonly #terms: Terms
  readonly #clientFlags: number
  #secure = false
  #structured = false
  /** The export, by the bytes of its name, for which the client chose the context. */
  #contextFor: Buffer | undefined

  constructor(link: HandshakeLink, exports: Exports, terms: Terms, clientFlags: number) {
    this.#link = link
    this.#exports = exports
    this.#terms = terms
    this.#clientFlags = clientFlags
  }

  async run(): Promise<Negotiated | undefined> {
    for (;;) {
      const header = decodeOptionHeader(await this.#link.take(optionHeaderBytes))
      if (!header) return undefined
      const { option: code, length } = header
      // A client of the old kind knows one option, and no replies.
      if (!(this.#clientFlags & clientFlag.fixedNewstyle) && code !== option.exportName) return undefined
      if (length > optionBytesMax) {
        if (length > skippedOptionBytesMax || code === option.exportName) return undefined
        await this.#link.skip(length)
        await this.#refuse(
          code,
          this.#isBarred && code !== option.startTls ? 'tlsRequired' : 'tooBig',
          `An option has at most ${optionBytesMax} bytes: this has ${length}`,
        )
        continue
      }
      const data = await this.#link.take(length)
      if (code === option.startTls) {
        if (!(await this.#startTls(data))) return undefined
        continue
      }
      if (this.#isBarred && code !== option.abort) {
        if (code === option.exportName) return undefined
        await this.#refuse(
          code,
          'tlsRequired',
          'Only TLS is spoken with clients of your network: begin with STARTTLS',
        )
        continue
      }
      if (code === option.exportName) return this.#exportName(data)
      if (code === option.abort) {
        await this.#reply(code, optionReply.ack)
        return undefined
      }
      const negotiated = await this.#answer(code, data)
      if (negotiated) return negotiated
    }
  }

  /** Nothing may be asked before TLS. */
  get #isBarred(): boolean {
    return this.#terms.mode === 'forced' && !this.#secure
  }

  /** False: the connection is to be closed. */
  async #startTls(data: Buffer): Promise<boolean> {
    const code = option.startTls
    if (this.#secure) await this.#refuse(code, 'invalid', 'TLS is spoken already')
    else if (this.#terms.mode === 'none')
      await this.#refuse(code, 'unsupported', 'This server speaks no TLS: use a network that is trusted')
    else if (data.length > 0) await this.#refuse(code, 'invalid', 'To begin TLS takes no data')
    else {
      // Sent in plain, and to be read after TLS began: anybody may have put it there, for us to take it for the client's.
      if (this.#link.holdsMore) return false
      await this.#reply(code, optionReply.ack)
      await this.#link.secure()
      this.#secure = true
      this.#structured = false
      this.#contextFor = undefined
    }
    return true
  }

  #mayHave(name: string): boolean {
    return this.#secure || this.#terms.allows(name)
  }

  /** As asked for: the empty name is that of the default export, or of none, which is said then. */
  #isOpenTo(asked: string): boolean {
    const name = asked === '' ? this.#exports.defaultName : asked
    return name === undefined || this.#mayHave(name)
  }

  /** Whether there is such an export is not told. */
  #refuseInPlain(code: number, name: string): Promise<void> {
    const open = `allow its network: \`ndfs container set ${name.split('/')[0]} --nbd-allow NETWORK\``
    return this.#terms.mode === 'none'
      ? this.#refuse(code, 'policy', `Cannot open ${name} from here, and no TLS is spoken here: ${open}`)
      : this.#refuse(
          code,
          'tlsRequired',
          `Cannot open ${name} from here without TLS: begin with STARTTLS, or ${open}`,
        )
  }

  async #answer(code: number, data: Buffer): Promise<Negotiated | undefined> {
    switch (code) {
      case option.list:
        await this.#list(data)
        return undefined
      case option.info:
      case option.go:
        return this.#infoOrGo(code, data)
      case option.structuredReply:
        if (data.length > 0) await this.#refuse(code, 'invalid', 'Structured replies take no data')
        else {
          this.#structured = true
          await this.#reply(code, optionReply.ack)
        }
        return undefined
      case option.listMetaContext:
      case option.setMetaContext:
        await this.#metaContext(code, data)
        return undefined
      default:
        await this.#refuse(code, 'unsupported', `There is no option ${code} here`)
        return undefined
    }
  }

  async #list(data: Buffer): Promise<void> {
    if (data.length > 0) return this.#refuse(option.list, 'invalid', 'Listing takes no data')
    let names: readonly string[]
    try {
      names = await this.#link.ours(this.#exports.list())
    } catch (error) {
      return this.#refuseBy(option.list, error)
    }
    const replies = names
      .filter((name) => this.#mayHave(name))
      .map((name) => {
        const bytes = Buffer.from(name)
        const counted = Buffer.concat([numbers([4, bytes.length]), bytes])
        return encodeOptionReply(option.list, optionReply.server, counted)
      })
    await this.#link.send(Buffer.concat(replies))
    await this.#reply(option.list, optionReply.ack)
  }

  async #infoOrGo(code: number, data: Buffer): Promise<Negotiated | undefined> {
    const request = decodeInfoRequest(data)
    const asked = request && parseExportName(request.name)
    if (!request || !asked) {
      await this.#refuse(code, 'invalid', 'The lengths in this option, or the name, make no sense')
      return undefined
    }
    const entering = code === option.go
    if (!this.#isOpenTo(asked.name)) {
      await this.#refuseInPlain(code, asked.name)
      return undefined
    }
    let vdisk: OpenVDisk
    try {
      // A session is taken up by who enters, not by who asks: it ends the client's older ones.
      vdisk = await this.#open(asked.name, entering ? asked.session : undefined)
    } catch (error) {
      await this.#refuseBy(code, error)
      return undefined
    }
    try {
      const told = (kind: number, ...bytes: Buffer[]) =>
        encodeOptionReply(code, optionReply.info, Buffer.concat([numbers([2, kind]), ...bytes]))
      const replies = [
        told(info.export, encodeExport(vdisk.sizeBytes, transmissionFlagsOf(this.#structured))),
      ]
      if (request.wanted.includes(info.name)) replies.push(told(info.name, Buffer.from(asked.name)))
      if (request.wanted.includes(info.description)) {
        const description = `NDFS vDisk ${asked.name}, ${formatSize(vdisk.sizeBytes)}`
        replies.push(told(info.description, Buffer.from(description)))
      }
      if (request.wanted.includes(info.blockSize)) replies.push(told(info.blockSize, numbers(...blockSizes)))
      await this.#link.send(...replies, encodeOptionReply(code, optionReply.ack))
    } catch (error) {
      vdisk.close()
      throw error
    }
    if (entering) return this.#enter(vdisk, asked, request.name)
    vdisk.close()
    return undefined
  }

  async #exportName(data: Buffer): Promise<Negotiated | undefined> {
    const asked = parseExportName(data)
    if (!asked || !this.#isOpenTo(asked.name)) return undefined
    let vdisk: OpenVDisk
    try {
      vdisk = await this.#open(asked.name, asked.session)
    } catch (error) {
      if (error instanceof NdfsError) return undefined
      throw error
    }
    const zeroes = this.#clientFlags & clientFlag.noZeroes ? 0 : exportNameZeroes
    try {
      const described = encodeExport(vdisk.sizeBytes, transmissionFlagsOf(this.#structured))
      await this.#link.send(described, Buffer.alloc(zeroes))
    } catch (error) {
      vdisk.close()
      throw error
    }
    return this.#enter(vdisk, asked, data)
  }

  #enter(
    vdisk: OpenVDisk,
    asked: { readonly name: string; readonly session?: ClientSession },
    nameBytes: Buffer,
  ): Negotiated {
    const allocation = this.#structured && this.#contextFor?.equals(nameBytes) === true
    const { name, session } = asked
    return { name, session, vdisk, structured: this.#structured, allocationContext: allocation }
  }

  async #open(asked: string, session: ClientSession | undefined): Promise<OpenVDisk> {
    const name = asked === '' ? (this.#exports.defaultName ?? '') : asked
    if (name !== '') return this.#link.ours(this.#exports.open(name, session))
    const names = (await this.#link.ours(this.#exports.list())).filter((one) => this.#mayHave(one))
    const some = names.slice(0, namesTold).join(', ')
    const rest = names.length > namesTold ? ` and ${names.length - namesTold} more` : ''
    const choice = names.length > 0 ? `ask for one of ${some}${rest}` : 'there is no vDisk yet'
    throw new NdfsError('NOT_FOUND', `Cannot open an export without a name as none is the default: ${choice}`)
  }

  async #metaContext(code: number, data: Buffer): Promise<void> {
    const setting = code === option.setMetaContext
    // What was chosen before is gone, also if this fails.
    if (setting) this.#contextFor = undefined
    if (!this.#structured)
      return this.#refuse(code, 'invalid', 'Contexts need structured replies: negotiate those first')
    const request = decodeMetaContextRequest(data)
    if (!request || !parseExportName(request.name))
      return this.#refuse(code, 'invalid', 'The lengths in this option, or the name, make no sense')
    const malformed = request.queries.find((query) => !query.includes(':'))
    if (malformed !== undefined)
      return this.#refuse(code, 'invalid', 'A query begins with a namespace and a colon')
    const contexts = contextsOf(request.queries, !setting)
    if (setting && contexts.length > 0) this.#contextFor = request.name
    for (const context of contexts) {
      const id = numbers([4, setting ? allocationContextId : 0])
      await this.#reply(code, optionReply.metaContext, Buffer.concat([id, Buffer.from(context)]))
    }
    await this.#reply(code, optionReply.ack)
  }

  #reply(code: number, type: number, data?: Buffer): Promise<void> {
    return this.#link.send(encodeOptionReply(code, type, data))
  }

  #refuse(code: number, error: OptionError, message: string): Promise<void> {
    return this.#reply(code, optionReply[error], Buffer.from(message))
  }

  #refuseBy(code: number, error: unknown): Promise<void> {
    if (!(error instanceof NdfsError)) throw error
    return this.#refuse(code, nbdOptionError[error.code], error.message)
  }
}
