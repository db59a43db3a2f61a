/** Rare branches of the owner: its log, taking over, rows of unknown outcome, sessions, leases, routing. */
import type { Mark } from './mark.ts'

const marks = (file: string, at: Readonly<Record<string, string>>): Mark[] =>
  Object.entries(at).map(([name, text]) => ({ name, file, at: text }))

export const ownerMarks: readonly Mark[] = [
  ...marks('stargate/vdisk-controller/vdisk-log.ts', {
    'a replica refused to grant':
      "if (!grant.ok)\n      ¶, this.#linkFailed(current, link, new NdfsError('PEER_UNREACHABLE'",
    'a replica had lost records': 'else if (grant.last < grant.acknowledged)\n      ¶, this.#linkFailed(',
    'an append timed out': 'now - link.owesSince > appendTimeoutMs)\n          ¶, this.#linkFailed(',
    'an attempt at an episode was dropped':
      '¶, this.#tellEnd(episode, end)\n          await clock.sleep(pauseMs)',
    'an episode was swapped for another': 'if (old !== undefined) ¶, this.#tellEnd(old, end)',
    'a replica failed while its episode was named':
      "return ¶, await this.#reopen('a replica failed as it was named')",
    'a log waited for disks or a drain': '¶; this.#waitsFor = waitsFor\n',
    'a write waited too long for its copies':
      'if (entry.settle !== undefined && entry.arrivedAt <= since)\n        ¶, this.#settle(',
    'a seal had to wait': 'this.#acknowledged !== this.#last) return ¶, false',
  }),
  ...marks('stargate/vdisk-controller/takeover.ts', {
    'a taker met a closed row': 'open.end !== undefined) return ¶, { entries',
    'a taker kept a tail behind the mark':
      '[¶ where fenced.length > 0 && fenced.some((one) => (one.tail?.last ?? 0) > Math.max(state.drained, ...fenced.map((each) => each.acknowledged)))]; const { mark, last } = endOf(',
    'a mark rose over what all replicas have': '[¶ where end > mark]; return Math.max(mark, end)',
    'a taker reached no replica': 'if (fenced.length === 0)\n    throw ¶, new NdfsError(',
    'a taker met a higher epoch at a replica':
      "if (hasCode(error, 'FENCED') || !(error instanceof NdfsError)) throw ¶, error\n      failures.push",
    'a taker had to read from another replica': '¶; failure = error\n',
  }),
  ...marks('stargate/vdisk-controller/vdisk-row.ts', {
    'a taker met a row of its epoch or a higher one':
      'if (seen.epoch >= epoch)\n      throw ¶, new NdfsError(',
  }),
  ...marks('stargate/vdisk-controller/owned-partition.ts', {
    'a partition changed while it was raised':
      'return new OwnedPartition(access, name, ownership, result.static, seen); ¶',
    'a change met a later owner': 'throw ¶, fenced(this.name, this.#ownership.epoch, result.static.epoch)',
    'a read of rows met a later owner': 'throw ¶, fenced(this.name, this.#ownership.epoch, seen.epoch)',
    'a change was asked of an owner that is none':
      'if (!this.#ownership.alive || this.#unknown)\n      throw ¶, new NdfsError(',
  }),
  ...marks('medusa/medusa.ts', {
    'the outcome of a change was not known': '¶; mayHaveBeenMade = true\n',
    'it was found to be made': "if (now.changeId === change.id) return ¶, 'applied'",
    'it was found not to be made yet': "return ¶, 'not yet'",
    'it was found to be overtaken': "return ¶, 'conflict'\n",
    'it was given up': 'if (!keepTrying()) throw ¶, error',
    'a conflict was with the change itself':
      "if (isOurs) return ¶, { outcome: 'applied', static: result.static }",
  }),
  ...marks('stargate/vdisk-controller/hosted-vdisk.ts', {
    'a vDisk was served before its first episode':
      "[¶ where this.#log.openEpisode === undefined]; this.#phase = 'serving'",
    'a read was proved by the row': '¶, await this.#row.proveOwnership()',
    'a write waited for room': 'if (entered instanceof Promise) ¶, this.#drains.start()',
    'a vDisk was given up with its log open':
      '¶, this.#context.platform.log.debug(`vDisk ${this.id} is given up with',
  }),
  ...marks('stargate/vdisk-controller/sender-sessions.ts', {
    'a request of an older session was refused':
      'else if (number < newest) throw ¶, stale(name, number, newest)',
    'an older session was not admitted': 'if (number < newest) throw ¶, stale(name, number, newest)\n    if',
    'a session could not be recorded':
      '¶; if (this.#newest.get(name) === number) this.#newest.set(name, before)',
  }),
  ...marks('stargate/vdisk-controller/vdisk-host.ts', {
    'a claim was tried again above the row': '¶; atLeast = error.facts.epoch + 1',
    'a claim failed and was given up': '!this.#hosted.has(vdisk)) ¶, this.#giveUp(vdisk, epoch, node)',
    'the own replica ended an ownership':
      'if (hosted !== undefined && hosted.epoch < epoch)\n      ¶, hosted.lost(',
    'an attempt of an owner that is gone was cut': '¶, replica.seal(vdisk, id, end)',
    'a deletion was finished by another owner': '¶; this.#finishDeletion(row)',
  }),
  ...marks('stargate/front-end-adapter/owner-door.ts', {
    'a forward was refused as not owner':
      "if (hosted === undefined || hosted.epoch !== epoch)\n      throw ¶, new NdfsError('NOT_OWNER'",
    'a vDisk was handed over': '?.epoch === epoch) ¶, await controller.release(vdisk, to)',
  }),
  ...marks('stargate/front-end-adapter/vdisk-router.ts', {
    'a vDisk was taken from a silent owner': '¶; platform.log.warn(`vDisk ${vdisk} is taken from',
    'a read was repeated at the new owner':
      'throw error\n        return ¶, this.#readAnywhere(offset, target)',
    'a silent owner was found alive': '[probe], { timeoutMs })\n      return ¶, true',
    'a claim waited for the node that was meant': '¶, await platform.clock.sleep(2 * lookAgainMs)\n      if',
  }),
  ...marks('zeus/sqlite-zeus.ts', {
    'a claim met a live owner': 'this.#lives(last)) throw ¶, inUse(',
  }),
  ...marks('zeus/store-zeus-session.ts', {
    'a node lost its session': "¶; this.#stop('lost')",
  }),
  ...marks('peer/outgoing-lane.ts', {
    'a half open connection was given up': "¶; const error = new Error('nothing was heard from it",
  }),
]
