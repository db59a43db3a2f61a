/**
 * A client of the HTTP API of any node of a cluster.
 *
 * It asks the nodes in turn until one answers. A request that only reads may be sent to the next; one that changes
 * something goes to a node that has just answered, once: what became of it would be unknown if the answer stayed away.
 */
import { NdfsError, messageOf, type Facts, type NdfsErrorCode } from '../base/errors.ts'
import type { ErrorBody } from '../management/management.ts'

/** No node answered. A program tells it from other failures by its exit code. */
export class NoNodeReachable extends NdfsError {
  override name = 'NoNodeReachable'

  constructor(message: string, facts: Facts) {
    super('PEER_UNREACHABLE', message, facts)
  }
}

export interface ApiPlace {
  /** `host:port` of the nodes, the preferred one first. */
  readonly apis: readonly string[]
  readonly tokenFor: (api: string) => Promise<string | undefined>
}

/** A frozen node accepts connections and never answers: the next one is asked then. */
const readTimeoutMs = 5000
const healthTimeoutMs = 2000
/** What changes something may wait for others: a claim, a deletion. */
const changeTimeoutMs = 60_000

export class ApiClient {
  readonly #place: ApiPlace

  constructor(place: ApiPlace) {
    this.#place = place
  }

  /** A client of the first node that answers, and of no other: for what that node alone knows of. */
  async ofOneNode(): Promise<ApiClient> {
    const { api } = await this.#firstAnswer('/api/v1/health', healthTimeoutMs)
    return new ApiClient({ ...this.#place, apis: [api] })
  }

  async get<T>(path: string): Promise<T> {
    const { body } = await this.#firstAnswer(path, readTimeoutMs)
    return body as T
  }

  async change<T>(method: 'POST' | 'PATCH' | 'DELETE', path: string, value?: unknown): Promise<T> {
    const { api } = await this.#firstAnswer('/api/v1/health', healthTimeoutMs)
    const token = await this.#place.tokenFor(api)
    const { status, body } = await ask(api, path, changeTimeoutMs, {
      method,
      headers: {
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(value === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(value === undefined ? {} : { body: JSON.stringify(value) }),
    }).catch((error: unknown) => {
      throw new NdfsError(
        'TIMED_OUT',
        `Cannot tell whether it was done: ${api} took the request and did not answer (${reasonOf(error)}). Look, then try again.`,
        { api },
        { cause: error },
      )
    })
    return successOf(status, body) as T
  }

  /** Of the first node that answers at all; what it answers with decides, though it be a failure. */
  async #firstAnswer(path: string, timeoutMs: number): Promise<{ api: string; body: unknown }> {
    const reasons: string[] = []
    for (const api of this.#place.apis) {
      let answer: Answer
      try {
        answer = await ask(api, path, timeoutMs, {})
      } catch (error) {
        reasons.push(`${api} ${reasonOf(error)}`)
        continue
      }
      const isHealth = path === '/api/v1/health'
      return { api, body: isHealth ? answer.body : successOf(answer.status, answer.body) }
    }
    throw new NoNodeReachable(
      `Cannot reach a node: ${reasons.join('; ')}. Start the cluster with \`ndfs up\`, or name a node with --api HOST:PORT.`,
      { apis: this.#place.apis },
    )
  }
}

interface Answer {
  readonly status: number
  readonly body: unknown
}

/** Rejects where no whole answer came. */
export async function ask(
  api: string,
  path: string,
  timeoutMs: number,
  init: RequestInit = {},
): Promise<Answer> {
  const response = await fetch(`http://${api}${path}`, { ...init, signal: AbortSignal.timeout(timeoutMs) })
  const text = await response.text()
  return { status: response.status, body: text === '' ? undefined : parse(text) }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function successOf(status: number, body: unknown): unknown {
  if (status < 400) return body
  const { error } = (body ?? {}) as Partial<ErrorBody>
  if (error === undefined)
    throw new NdfsError(
      'REFUSED',
      `Cannot understand the answer (HTTP ${status}): is that the API of an ndfs node?`,
    )
  throw new NdfsError(error.code as NdfsErrorCode, error.message, error.facts)
}

function reasonOf(error: unknown): string {
  if (error instanceof DOMException && error.name === 'TimeoutError') return 'did not answer in time'
  const { cause } = error as { cause?: { code?: string; message?: string } }
  if (cause?.code === 'ECONNREFUSED') return 'refused the connection'
  return cause?.message ?? messageOf(error)
}
