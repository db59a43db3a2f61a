/**
 * Changes of one key in ZooKeeper: read what is there, decide, change it on condition that it is still so; and again where it is not.
 *
 *  1. Each change is one step of ZooKeeper's own (`multi`), and of two changes of a state one alone succeeds.
 *  2. A version grows by one, and is never had again (zookeeper-records.ts).
 *  3. A lost connection leaves open whether a change was made. It is found out from what is there then:
 *
 *       it bears the call's name (`by`)                      it was made
 *       all is as it was when the change was sent            not yet: the same again, of which one at most succeeds
 *       one other change was made in its place               it was not, and can't be any more: decided anew
 *       more than one                                        nobody can tell: `ifLost` says what is done
 */
import { NdfsError } from '../base/errors.ts'
import type { Chance } from '../platform/platform.ts'
import type { Found, Operation } from './zookeeper-client.ts'
import { hasTrouble } from './zookeeper-client.ts'
import type { Attempt, ZooKeeperConnection } from './zookeeper-connection.ts'
import type { Floor, KeyRecord, Layout } from './zookeeper-records.ts'
import { bytesOf, floorAbove, floorFor, floorOf, isSession, recordOf } from './zookeeper-records.ts'
import { checkJson, jsonOf } from './zeus-requests.ts'

export type Step =
  | { readonly kind: 'put'; readonly value: unknown }
  /** A key that ends with this client's session in ZooKeeper; what another's session held there is ended. */
  | { readonly kind: 'show'; readonly value: unknown }
  | { readonly kind: 'remove' }

export interface Change {
  readonly key: string
  /** What to do where it is so. Undefined: nothing. It may be asked more than once. */
  readonly decide: (
    now: (KeyRecord & { readonly session: string }) | undefined,
    floor: Floor,
    attempt: Attempt,
  ) => Step | undefined | Promise<Step | undefined>
  /** `anew`: to make it once more does no harm. */
  readonly ifLost: 'unknown' | 'anew'
}

/** What was read before a change. */
export interface State {
  readonly key: Found | undefined
  readonly floor: Found
}

export interface Sent extends State {
  readonly step: Step
}

/** A step, as ZooKeeper is asked for it. */
interface Planned {
  readonly operations: readonly Operation[]
  readonly version: number
}

export class ZooKeeperChanges {
  readonly #connection: ZooKeeperConnection
  readonly #layout: Layout
  readonly #chance: Chance

  constructor(connection: ZooKeeperConnection, layout: Layout, chance: Chance) {
    this.#connection = connection
    this.#layout = layout
    this.#chance = chance
  }

  /** Resolves to the key's version when the change is made; undefined: there was nothing to do. */
  async make(attempt: Attempt, { key, decide, ifLost }: Change): Promise<number | undefined> {
    const by = this.#chance.bytes(8).toString('hex')
    let lost: (Sent & { readonly version: number }) | undefined
    for (;;) {
      const state = await this.#read(attempt, key)
      if (lost !== undefined) {
        const outcome = outcomeOf(lost, state, by)
        if (outcome === 'made') return lost.version
        if (outcome === 'unknown' && ifLost === 'unknown')
          throw new NdfsError(
            'TIMED_OUT',
            `Cannot tell whether ${key} was changed: the connection to ZooKeeper was lost, and others have changed it since. Read it again`,
            { key },
          )
        if (outcome === 'not') attempt.unsure = false
        if (outcome !== 'not yet') lost = undefined
      }
      const now = state.key && { ...recordOf(state.key), session: state.key.session }
      const step = await decide(now, floorOf(state.floor), attempt)
      if (step === undefined) return undefined
      const { operations, version } = this.#plan(key, state, step, by)
      try {
        await this.#connection.send(attempt, (client) => client.multi(operations))
        return version
      } catch (error) {
        if (hasTrouble(error, 'lost')) lost = { ...state, step, version }
        // Else: somebody was quicker, or there was no connection.
        else if (!hasTrouble(error, 'bad-version', 'node-exists', 'no-node', 'not-sent')) throw error
      }
    }
  }

  /** From then on no key that isn't there begins at or below `version`, and no owner that isn't there at or below `epoch`. */
  async raiseFloor(attempt: Attempt, version: number, epoch: number): Promise<void> {
    const by = this.#chance.bytes(8).toString('hex')
    for (;;) {
      const path = this.#layout.floor
      const found = await this.#connection.read(attempt, (client) => client.get(path))
      if (found === undefined)
        throw new NdfsError('UNAVAILABLE', `Cannot raise what was given: somebody removed ${path}`)
      const floor = floorOf(found)
      const to: Floor = {
        version: Math.max(floor.version, version),
        sessionVersion: Math.max(floor.sessionVersion, version),
        epoch: Math.max(floor.epoch, epoch),
        by,
      }
      if (
        to.version === floor.version &&
        to.sessionVersion === floor.sessionVersion &&
        to.epoch === floor.epoch
      )
        return
      try {
        const set = { kind: 'set', path, version: found.version, data: bytesOf(to) } as const
        await this.#connection.send(attempt, (client) => client.multi([set]))
      } catch (error) {
        // Whatever became of it: it is read again.
        if (!hasTrouble(error, 'bad-version', 'lost', 'not-sent')) throw error
      }
    }
  }

  #read(attempt: Attempt, key: string): Promise<State> {
    return this.#connection.read(attempt, async (client) => {
      const [found, floor] = await Promise.all([
        client.get(this.#layout.pathOf(key)),
        client.get(this.#layout.floor),
      ])
      if (floor === undefined)
        throw new NdfsError('UNAVAILABLE', `Cannot change ${key}: somebody removed ${this.#layout.floor}`)
      return { key: found, floor }
    })
  }

  #plan(key: string, state: State, step: Step, by: string): Planned {
    const path = this.#layout.pathOf(key)
    const now = state.key && recordOf(state.key)
    const floor = floorOf(state.floor)
    const remove = state.key ? [{ kind: 'remove', path, version: state.key.version } as const] : []
    const floorStands = { kind: 'check', path: this.#layout.floor, version: state.floor.version } as const
    const raisedBy = (version: number, epoch = 0) =>
      ({
        kind: 'set',
        path: this.#layout.floor,
        version: state.floor.version,
        data: bytesOf(floorAbove(floor, key, version, epoch, by)),
      }) as const
    if (step.kind === 'remove') {
      const version = now?.version ?? 0
      const epoch = key.startsWith('owner/') ? (now?.value as { epoch: number }).epoch : 0
      return { operations: [...remove, raisedBy(version, epoch)], version }
    }
    const version = (now?.version ?? floorFor(key, floor)) + 1
    checkJson(key, jsonOf(step.value))
    const data = bytesOf({ version, by, value: step.value })
    if (step.kind === 'show')
      return {
        operations: [...remove, { kind: 'create', path, data, ephemeral: true }, raisedBy(version)],
        version,
      }
    if (!state.key) return { operations: [floorStands, { kind: 'create', path, data }], version }
    const set = { kind: 'set', path, data, version: state.key.version } as const
    return { operations: isSession(key) ? [set, raisedBy(version)] : [set], version }
  }
}

/** What became of a change that was sent, by what is there now: see above. `by`: the call's name. */
export function outcomeOf(sent: Sent, now: State, by: string): 'made' | 'not yet' | 'not' | 'unknown' {
  const last = sent.step.kind === 'remove' ? floorOf(now.floor).by : now.key && recordOf(now.key).by
  if (last === by) return 'made'
  const floorMoves = now.floor.version - sent.floor.version
  if (sent.key === undefined || sent.step.kind !== 'put') {
    // It asked for the floor as it was. One that raises the floor would have been its first rise.
    if (floorMoves > 0) return floorMoves === 1 && sent.step.kind !== 'put' ? 'not' : 'unknown'
    if (sent.key === undefined)
      return now.key === undefined ? 'not yet' : now.key.version === 0 ? 'not' : 'unknown'
  }
  if (now.key?.madeBy !== sent.key.madeBy) return 'unknown'
  const moves = now.key.version - sent.key.version
  return moves === 0 ? 'not yet' : moves === 1 ? 'not' : 'unknown'
}
