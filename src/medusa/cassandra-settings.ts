/**
 * Whether the servers are set as durability and order ask for (C3): read off each of them, at start and whenever one comes up. While one that is up is
 * not, nothing is served: it would acknowledge what a power cut takes back.
 *
 * A guard against a configuration that is wrong, and no more: a server that has just come up takes part before it was asked.
 */
import { messageOf, NdfsError } from '../base/errors.ts'
import type { Clock, Log } from '../platform/platform.ts'
import type { CassandraClient, CassandraServer } from './cassandra-client.ts'
import { mayPass } from './cassandra-client.ts'
import { requiredSettings } from './cassandra-config.ts'

export interface WrongSetting {
  readonly setting: string
  /** Undefined: it knows of no such setting. */
  readonly value: string | undefined
  readonly wanted: readonly string[]
}

/** Which of them are not as they must be. */
export function wrongSettings(settings: ReadonlyMap<string, string>): readonly WrongSetting[] {
  return Object.entries(requiredSettings).flatMap(([setting, wanted]) => {
    const value = settings.get(setting)
    return value !== undefined && wanted.includes(value.toLowerCase()) ? [] : [{ setting, value, wanted }]
  })
}

export function settingsSentence(server: string, wrong: readonly WrongSetting[]): string {
  const each = wrong.map(
    ({ setting, value, wanted }) =>
      `${setting} is ${value ?? 'unknown to it'} and must be ${wanted.join(' or ')}`,
  )
  return `Cannot serve with the Cassandra at ${server}: ${each.join('; ')}. Set it in its cassandra.yaml, or have \`ndfs cassandra config\` write that, and start it again`
}

const askAgainMs = 1000

export class CassandraSettings {
  readonly #client: CassandraClient
  readonly #clock: Clock
  readonly #log: Log
  /** By the server's address. */
  readonly #wrong = new Map<string, NdfsError>()
  #closed = false

  /** @throws {NdfsError} REFUSED: a server that is up is set wrongly. TIMED_OUT and the like: one could not be asked. */
  static async check(client: CassandraClient, clock: Clock, log: Log): Promise<CassandraSettings> {
    const settings = new CassandraSettings(client, clock, log)
    client.onServerUp((server) => void settings.#askUntilKnown(server))
    client.onServerGone(({ address }) => void settings.#wrong.delete(address))
    for (const server of client.servers()) if (server.up) await settings.#ask(server)
    for (const { message, facts } of settings.#wrong.values()) throw new NdfsError('REFUSED', message, facts)
    return settings
  }

  private constructor(client: CassandraClient, clock: Clock, log: Log) {
    this.#client = client
    this.#clock = clock
    this.#log = log
  }

  /** @throws {NdfsError} */
  assertRight(): void {
    for (const error of this.#wrong.values()) throw error
  }

  close(): void {
    this.#closed = true
  }

  async #ask(server: CassandraServer): Promise<void> {
    const { address } = server
    const rows = await this.#client.look('SELECT name, value FROM system_views.settings', server)
    const wrong = wrongSettings(new Map(rows.map(({ name, value }) => [String(name), String(value)])))
    if (wrong.length === 0) return void this.#wrong.delete(address)
    const sentence = settingsSentence(address, wrong)
    this.#log.error(sentence, { address, wrong })
    // UNAVAILABLE to those that ask for rows: they go on when it is mended.
    this.#wrong.set(address, new NdfsError('UNAVAILABLE', sentence, { address, wrong }))
  }

  async #askUntilKnown(server: CassandraServer): Promise<void> {
    for (;;) {
      try {
        return await this.#ask(server)
      } catch (error) {
        if (!mayPass(error)) throw error
        const isUp = this.#client.servers().some(({ address, up }) => address === server.address && up)
        if (this.#closed || !isUp) return
        this.#log.warn(
          `the settings of the Cassandra at ${server.address} can't be read: ${messageOf(error)}`,
        )
        await this.#clock.sleep(askAgainMs)
      }
    }
  }
}
