/**
 * Moves of directories to other parents go one at a time in a container, for two at once could make a circle: each would see the other's
 * directory at its old place. A record in a partition of its own says whose turn it is, and which directory he moves at which generation.
 *
 * Whoever finds a record that stays for long gives the directory another generation, so that this move can't happen any more (its moment is on
 * condition of the generation, which was read before its turn came), and then puts his own record in its place. What the other may have
 * entered is cleared away by whoever comes to it (settle.ts).
 */
import { Serial } from '../../base/serial.ts'
import { decodeControl, encodeControl } from '../../base/control.ts'
import { NdfsError } from '../../base/errors.ts'
import type { PartitionName } from '../../medusa/medusa.ts'
import { upwards } from './lookup.ts'
import { FileError, type InodeId } from './namespace.ts'
import { changeRow, newGeneration, type Parts, putRow } from './parts.ts'
import { isLive } from './rows.ts'

interface Turn {
  /** Of one move: nobody else's. */
  readonly token: string
  readonly directory: InodeId
  readonly generation: number
}

/** A move takes a few changes; who takes longer has died, or is so slow that it may as well begin anew. */
const oldAfterMs = 2000
const lookEveryMs = 20
const waitMaxMs = 10_000
/** Moves that wait on this node. */
const waitingMax = 256
const rowKey = 'turn'

export class Moves {
  readonly #parts: Parts
  readonly #partition: PartitionName
  readonly #serial = new Serial()
  #waiting = 0

  constructor(parts: Parts) {
    this.#parts = parts
    this.#partition = { table: 'directory', key: `moves of ${parts.container}` }
  }

  /** Runs `make` while no other directory goes to another parent. INVAL where `into` is the directory or lies in it. */
  async inTurn<T>(directory: InodeId, generation: number, into: InodeId, make: () => Promise<T>): Promise<T> {
    if (this.#waiting >= waitingMax)
      throw new NdfsError('UNAVAILABLE', `Cannot move a directory: ${waitingMax} moves wait already`)
    this.#waiting++
    try {
      return await this.#serial.run(() => this.#inTurn(directory, generation, into, make))
    } finally {
      this.#waiting--
    }
  }

  async #inTurn<T>(
    directory: InodeId,
    generation: number,
    into: InodeId,
    make: () => Promise<T>,
  ): Promise<T> {
    const turn: Turn = { token: this.#parts.platform.chance.bytes(16).toString('hex'), directory, generation }
    await this.#take(turn)
    try {
      for await (const above of upwards(this.#parts, into))
        if (above === directory) throw new FileError('INVAL', 'A directory does not go into itself')
      return await make()
    } finally {
      await this.#giveBack(turn)
    }
  }

  async #take(turn: Turn): Promise<void> {
    const { clock } = this.#parts.platform
    const giveUpAt = clock.now() + waitMaxMs
    let seen: Turn | undefined
    let seenAt = clock.now()
    let impossible: Turn | undefined
    for (;;) {
      const now = clock.now()
      const other = await this.#put(turn, impossible)
      if (other === undefined) return
      if (other.token !== seen?.token) seenAt = now
      seen = other
      if (now >= giveUpAt)
        throw new NdfsError(
          'UNAVAILABLE',
          'Cannot move a directory: others move some all the time. Try again',
        )
      if (now - seenAt >= oldAfterMs) {
        await this.#makeImpossible(other)
        impossible = other
      } else await clock.sleep(lookEveryMs)
    }
  }

  /** Puts the record where there is none, or over an old one that was made impossible. The one that stands there, where it could not. */
  #put(turn: Turn, over: Turn | undefined): Promise<Turn | undefined> {
    return this.#parts.changes.change(this.#partition, {
      keys: [rowKey],
      decide: (view) => {
        const bytes = view.get(rowKey)
        const other = bytes && decodeControl<Turn>(bytes)
        if (other?.token === turn.token) return undefined
        if (other && other.token !== over?.token) return other
        view.put(rowKey, encodeControl(turn))
        return undefined
      },
    })
  }

  #makeImpossible({ directory, generation }: Turn): Promise<void> {
    return changeRow(this.#parts, directory, (row, view) => {
      if (isLive(row) && row.generation === generation)
        putRow(view, { ...row, generation: newGeneration(this.#parts) })
    })
  }

  #giveBack(turn: Turn): Promise<void> {
    return this.#parts.changes.change(this.#partition, {
      keys: [rowKey],
      decide: (view) => {
        const bytes = view.get(rowKey)
        if (bytes && decodeControl<Turn>(bytes).token === turn.token) view.remove(rowKey)
      },
    })
  }
}
