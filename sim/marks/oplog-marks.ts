/** Rare branches of the log on a disk: replay, fences, freeing, and what the owner hears of its replicas. */
import type { Mark } from './mark.ts'

const physicalLog = 'stargate/oplog/physical-log.ts'
const replicaLog = 'stargate/oplog/replica-log.ts'
const scan = 'stargate/oplog/scan.ts'

const marks = (file: string, at: Readonly<Record<string, string>>): Mark[] =>
  Object.entries(at).map(([name, text]) => ({ name, file, at: text }))

export const oplogMarks: readonly Mark[] = [
  ...marks(scan, {
    'replay met a bad record': 'if (record === undefined) ¶, lost.push({ offset, entry })',
    'replay looked past a bad batch header': '¶, bridge(header.offset, {',
    'replay met a stretch that nothing tells of': '¶, hidden.push(stretch.offset)',
    'replay met a bad table': 'if (found === undefined) ¶, tablesLost++',
  }),
  ...marks(physicalLog, {
    'replay cut a torn tail': 'if (replayed.cutBytes > 0)\n      ¶, log.warn(',
    'a log went out of service at replay': 'if (replayed.uncertain !== undefined) ¶, this.#fail(',
    'a log failed': '¶; this.#failed = error\n',
    'a segment was used again': "¶; slot.state = 'preparing'\n    this.#byGeneration.delete",
    'a table was written to make room': '¶, await this.#tableOnce(true)',
    'a full log pushed back': "if (purpose === 'guest') ¶, this.#onShort(false)",
    'a log gave its surplus back': '¶; const [slot] = this.#slots.splice(index, 1)',
    'a further segment could not be made': "¶; this.#platform.log.warn('a further segment",
    'an unfinished segment was removed':
      '¶; await file.close()\n      await this.#disk.remove(segmentName(number))\n      return',
  }),
  ...marks(replicaLog, {
    'records of a log were found damaged':
      "if (damage.length > 0)\n          ¶, this.#platform.log.error('records of a log",
    'an append of an older epoch was refused':
      'if (known !== undefined && epoch < known.epoch) throw ¶, fencedError(id, epoch, known.epoch)',
    'an append did not continue its episode': '¶; const last = episode?.accepted ?? 0',
    'a fence under an older epoch was refused':
      'if (epoch < vdisk.epoch) throw ¶, fencedError(id, epoch, vdisk.epoch)\n    this.#raise(id, vdisk, epoch)\n    if',
    'a fence waited for a grant': 'if (waitMs > 0) ¶, await this.#platform.clock.sleep(waitMs)',
    'a fence was overtaken while it waited':
      'if (epoch < vdisk.epoch) throw ¶, fencedError(id, epoch, vdisk.epoch)\n    // Appends under older',
    'a grant was refused':
      'if (epoch < vdisk.epoch || episode.epoch !== epoch || episode.sealedAt !== undefined) return ¶, undefined',
    'a read of a log met a bad record': '¶, episode.lose(from)',
    'a log ran short and said so': 'if (vdisks.size > 0) ¶, this.onPressure([...vdisks])',
    'records were copied forward': '¶, this.#log.setFreed(generation)',
    'a record beyond the seal was synced':
      'if (this.#episode.sealedAt !== undefined && sequence > this.#episode.sealedAt && ¶) return',
    'a record was freed before it was synced': 'return ¶, this.#episode.skip(sequence)',
  }),
  ...marks('stargate/oplog/episode.ts', {
    'a seal cut what lay beyond it': '[¶ where kept < this.#count]; this.#count = kept\n',
  }),
  ...marks('stargate/oplog/heartbeat.ts', {
    'a log peer did not answer': "¶, this.#platform.log.debug('a log peer did not answer'",
  }),
]
