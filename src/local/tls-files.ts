/**
 * Certificates and keys in files, as they are now: a connection that is made takes `side` then, and one that stands goes on.
 *
 * Files are replaced one after the other, and between that they may not fit: what can't be used is said, and the last that could stays in use
 * until the next change.
 */
import { X509Certificate } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { messageOf, NdfsError } from '../base/errors.ts'
import { nodeTls } from '../platform/node-tls.ts'
import { watchFolders } from '../platform/node-watch.ts'
import type { Platform, Timer, TlsCredentials, TlsSide } from '../platform/platform.ts'

export type TlsPaths =
  | {
      readonly caFile?: string | undefined
      readonly certFile: string
      readonly keyFile: string
    }
  | { readonly pskFile: string }

/** Who replaces several files at once, or writes one piece by piece, is done within it. */
const settleMs = 200
const dayMs = 24 * 3600 * 1000
/** So long before its end a certificate is warned of. */
const warningDays = 30

const keyBytesMin = 16
/** Each identity is held in memory; a person keeps fewer. */
const identitiesMax = 4096

interface Loaded {
  readonly credentials: TlsCredentials
  readonly side: TlsSide
  readonly expiresAt?: number
}

export class TlsFiles {
  readonly #paths: TlsPaths
  readonly #use: string
  readonly #platform: Platform
  readonly #watch: { stop(): void }
  #loaded: Loaded
  #timer: Timer | undefined
  #looked = Promise.resolve()

  /** `use`: what they are for, in a log. REFUSED where they can't be used. */
  static async open(paths: TlsPaths, use: string, platform: Platform): Promise<TlsFiles> {
    const files = new TlsFiles(paths, use, platform, await load(paths, platform.files))
    files.#say()
    return files
  }

  private constructor(paths: TlsPaths, use: string, platform: Platform, loaded: Loaded) {
    this.#paths = paths
    this.#use = use
    this.#platform = platform
    this.#loaded = loaded
    this.#watch = watchFolders(filesOf(paths).map(dirname), () => {
      this.#timer ??= platform.clock.after(settleMs, () => {
        this.#timer = undefined
        // One look after the other: what was read last is what holds.
        this.#looked = this.#looked.then(() => this.#look())
      })
    })
  }

  get side(): TlsSide {
    return this.#loaded.side
  }

  /** The end of the certificate, in milliseconds since 1970; shared keys have none. */
  get expiresAt(): number | undefined {
    return this.#loaded.expiresAt
  }

  close(): void {
    this.#watch.stop()
    this.#timer?.cancel()
  }

  async #look(): Promise<void> {
    const { log, files } = this.#platform
    try {
      const now = await load(this.#paths, files)
      if (isDeepStrictEqual(now.credentials, this.#loaded.credentials)) return
      this.#loaded = now
      this.#say()
    } catch (error) {
      log.warn(`TLS for ${this.#use} stays as it was: what its files hold now can’t be used`, {
        reason: messageOf(error),
      })
    }
  }

  #say(): void {
    const { log, clock } = this.#platform
    const { expiresAt } = this.#loaded
    if (expiresAt === undefined) return log.info(`TLS for ${this.#use} is as its files say`)
    const daysLeft = Math.floor((expiresAt - clock.wallTime()) / dayMs)
    const facts = { daysLeft, until: new Date(expiresAt).toISOString() }
    if (daysLeft >= warningDays) log.info(`TLS for ${this.#use} is as its files say`, facts)
    else
      log.warn(`The certificate for ${this.#use} ends soon, or has ended: put a new one in its place`, facts)
  }
}

const filesOf = (paths: TlsPaths): string[] =>
  'pskFile' in paths
    ? [paths.pskFile]
    : [paths.certFile, paths.keyFile, ...(paths.caFile === undefined ? [] : [paths.caFile])]

async function load(paths: TlsPaths, files: Platform['files']): Promise<Loaded> {
  const read = async (path: string): Promise<string> => {
    const bytes = await files.readWhole(path)
    if (bytes === undefined) throw refused(path, 'there is no such file')
    return bytes.toString()
  }
  if ('pskFile' in paths) {
    await refuseOpen(paths.pskFile, 0o077)
    const keys = sharedKeysIn(await read(paths.pskFile), paths.pskFile)
    const credentials = { kind: 'shared keys', keys } as const
    return { credentials, side: nodeTls.side(credentials) }
  }
  await refuseOpen(paths.keyFile, 0o007)
  const credentials = {
    kind: 'certificate',
    certificate: await read(paths.certFile),
    key: await read(paths.keyFile),
    ...(paths.caFile === undefined ? {} : { authorities: await read(paths.caFile) }),
  } as const
  const side = nodeTls.side(credentials)
  return { credentials, side, expiresAt: new X509Certificate(credentials.certificate).validToDate.getTime() }
}

/** Lines of `identity:key`, the key as hex digits, as GnuTLS' psktool writes them. */
export function sharedKeysIn(text: string, path: string): Map<string, Buffer> {
  const keys = new Map<string, Buffer>()
  for (const [index, line] of text.split('\n').entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue
    const [, identity, digits] = /^([^:]{1,128}):((?:[0-9a-fA-F]{2})+)\s*$/.exec(line) ?? []
    const key = Buffer.from(digits ?? '', 'hex')
    if (identity === undefined || key.length < keyBytesMin || keys.has(identity))
      throw refused(
        path,
        `line ${index + 1} is not an identity of its own, a colon, and a key of ${2 * keyBytesMin} or more hex digits`,
      )
    keys.set(identity, key)
  }
  if (keys.size === 0 || keys.size > identitiesMax)
    throw refused(path, `it has ${keys.size} keys, and 1 to ${identitiesMax} are taken`)
  return keys
}

/** Whoever reads the key is whom it proves. */
async function refuseOpen(path: string, bits: number): Promise<void> {
  const { mode } = await stat(path).catch((error: unknown) => {
    throw refused(path, messageOf(error))
  })
  if ((mode & bits) !== 0) throw refused(path, `others may read it. Do \`chmod 600 ${path}\``)
}

const refused = (path: string, reason: string): NdfsError =>
  new NdfsError('REFUSED', `Cannot use ${path} for TLS: ${reason}`, { path })
