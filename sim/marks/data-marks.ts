/** Rare branches of data at rest: draining, streams, compaction, freeing, repair, disks. */
import type { Mark } from './mark.ts'

const marks = (file: string, at: Readonly<Record<string, string>>): Mark[] =>
  Object.entries(at).map(([name, text]) => ({ name, file, at: text }))

export const dataMarks: readonly Mark[] = [
  ...marks('stargate/vdisk-controller/drain-schedule.ts', {
    'a drain failed and waits': '¶; this.#pauseMs = Math.min(retryMsMax',
    'cleaning up waits': '¶, log.debug(`cleaning up behind',
    'a drain waited for compaction': 'ledger.complete && scarcity(space()) > 0 && ¶) await',
    'compaction kept up with drains': '[¶ where scarce > 0]; this.#isScarce = scarce > 0\n        if',
  }),
  ...marks('stargate/vdisk-controller/drain.ts', {
    'a stream group was complete already':
      'const already = context.index.isOpen(piece.group) ? undefined : await context.index.read(piece.group); [¶ where already !== undefined]',
    'a stream group had lost a copy': '¶, context.log.info(`extent group ${piece.group} has lost a copy',
    'a new group was placed again':
      "¶; if (typeof error.facts.disk === 'string') context.suspect(error.facts.disk)",
    'a range of zeros cut the map': 'if (isAllZero(coalesced.get(page))) ¶, holes.push(',
  }),
  ...marks('stargate/vdisk-controller/vdisk-reads.ts', {
    'a read was lent': '[¶ where lent !== undefined]; if (lent === undefined) lend.giveUp()',
  }),
  ...marks('stargate/vdisk-controller/page-reader.ts', {
    'what a disk read was lent': '¶; this.#cache.put(group, at, taken, 0, count)',
  }),
  ...marks('stargate/vdisk-controller/vdisk-map.ts', {
    'a change of the map was a delta': '¶; const key = deltaKey(partition.rows.version + 1)',
    'a vBlock was folded': '¶; bytes += this.#putRow(put, index, digest[index], block)',
    'a delta was needed no more': '[¶ where gone.length > 0]; put.push({ key: digestKey',
    'deltas were read': '¶; deltas = read\n',
  }),
  ...marks('stargate/vdisk-controller/group-index.ts', {
    'a group was completed twice': "[¶ where now !== row]; if (now?.state !== 'whole')",
    'a dead group could not be freed yet':
      '¶, this.#access.platform.log.debug(`group ${id} is not freed yet`',
    'a group was freed': '¶; for (const id of gone) {\n      this.copies.forget',
    'a partition of groups ended before it was full': '¶; this.#counter = this.#registered = counter',
  }),
  ...marks('stargate/vdisk-controller/group-rows.ts', {
    'rows of several groups were one change':
      '[¶ where put.size > 1]; if (put.size > 0) await partition.change(',
    'a partition of groups was dropped': '¶; await partition.drop()',
    'a row was read anew, as its partition had changed': '[¶ where unknown.size > 0]; if (unknown.size > 0)',
  }),
  ...marks('stargate/vdisk-controller/reclaim.ts', {
    'a scan of the map broke off': '¶; this.#counting = undefined',
    'everything of a deleted vDisk was freed': 'if (emptyOnce) return ¶, true',
    'freeing a deleted vDisk was cut short': "if (hasCode(error, 'FENCED', 'NOT_OWNER')) return ¶, false",
  }),
  ...marks('stargate/vdisk-controller/compact.ts', {
    'compaction replaced entries': 'toWrite, packed)\n        ¶; chunk.forEach(',
    'compaction passed over an entry that moved on': '{ ¶; continue }\n        live.push({',
  }),
  ...marks('stargate/vdisk-controller/space-wait.ts', {
    'a guest waited for space': '¶; this.#waiters.push(',
    'space was made': '[¶ where still === undefined]; this.#overdue?.cancel()',
    'a guest waited for space in vain':
      '[¶ where still !== undefined]; if (still !== undefined) this.#nextAt',
  }),
  ...marks('stargate/vdisk-controller/copy-repair.ts', {
    'a bad copy was repaired': "if (what === 'bad')\n        ¶, log.warn(`a bad copy of",
    'a copy went to a second disk': '¶, suspect(target.disk.disk)\n',
    'the row had moved on when a copy was there':
      'if (row === undefined) { ¶; return await this.#settle(group) }\n      await this.#settleFrom(',
    'a copy that counts no more was left where it is': '¶, left.push({ ...copy, left: true })',
  }),
  ...marks('stargate/vdisk-controller/hosted-vdisk.ts', {
    'a copy that was gone was made anew': "[¶ where what === 'gone']; context.repairs.repaired(bytes)\n",
  }),
  ...marks('stargate/vdisk-controller/stream-writer.ts', {
    'a run of writes went to extent groups': '¶; const offset = run[0].offset\n',
    'a stream went through the log': "¶, this.#context.log.debug('a stream goes through the log'",
    'a stream had ragged edges': '[¶ where head.length > 0]; const tail = Buffer.concat(',
    'a stream was written on other disks': '¶, this.#giveUp(group)\n        if (error instanceof',
    'a stream of an older session left its groups':
      'for (const group of used) ¶, this.#giveUp(group)\n      throw error\n    }\n    // From here on',
  }),
  ...marks('stargate/extent-store/verified-read.ts', {
    'a page did not match its checksum': '¶, left.push(bad)',
    'a copy was not there': "if (hasCode(error, 'NOT_FOUND')) {\n        ¶, reader.badCopy(",
    'a copy could not be asked': "if (!hasCode(error, 'DISK_FAILED'))\n        return ¶, { left",
    'a copy could not be read': '¶, unreadable.push(run)',
  }),
  ...marks('stargate/extent-store/local-extents.ts', {
    'a trailer was there already': 'if (!(await holds(opened.file, trailer, position) && ¶))',
  }),
  ...marks('disk/folder-disk.ts', {
    'a disk left service': '¶, this.onFailed(this.#failure)',
    'a file system had no room': 'if (isFull(error))\n      return ¶, new NdfsError(',
  }),
  ...marks('disk/disk-space.ts', {
    'a disk answered no space': 'if (this.#usedBytes + bytes > limit)\n      throw ¶, new NdfsError(',
  }),
]
