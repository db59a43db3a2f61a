/** Planted bugs of histories that seeds meet too seldom: each is found by the directed scenario that tells its history. */
import { patch, type PlantedBug } from './planted-bug.ts'

export const scenarioBugs: readonly PlantedBug[] = [
  {
    name: 'fence does not wait for the last grant',
    breaks: 'I2',
    does: 'A replica agrees to a fence while a grant that it gave to the older owner still runs.',
    patches: [
      patch(
        'stargate/oplog/replica-log.ts',
        'if (waitMs > 0) await this.#platform.clock.sleep(waitMs)',
        'if (waitMs > 1e9) await this.#platform.clock.sleep(waitMs)',
      ),
    ],
    scenario: { file: 'sim/scenarios/critical/leases.test.ts', tests: 'C11: a peer that is asked to fence' },
  },
  {
    name: 'restarted replica fences at once',
    breaks: 'I2',
    does: 'A replica that was just started forgets the grants that it gave before, and agrees to a fence at once (F1).',
    patches: [
      patch(
        'stargate/oplog/replica-log.ts',
        'const runsOutAt = Math.max(lowerGrantAt, this.#startedAt) + leaseMs + leaseMarginMs',
        'const runsOutAt = lowerGrantAt + leaseMs + leaseMarginMs',
      ),
    ],
    scenario: { file: 'sim/scenarios/critical/leases.test.ts', tests: 'F1: a replica that was restarted' },
  },
  {
    name: 'own replica fenced, ownership goes on',
    breaks: 'I4',
    does: "A fence accepted by the owner's own replica does not end its ownership.",
    patches: [patch('stargate/oplog/replica-log.ts', 'this.onFenced(id, epoch)', 'void 0')],
    scenario: {
      file: 'sim/scenarios/critical/leases.test.ts',
      tests: "C11: a fence at the owner's own replica",
    },
  },
  {
    name: 'disk taken for another of its name',
    breaks: 'I1',
    does: 'A log disk answers for its name whatever its incarnation, so that a blank one passes for an empty log (M2).',
    patches: [
      patch(
        'stargate/oplog/remote-oplog.ts',
        'replicas.find(({ ref }) => ref.disk === disk && ref.incarnation === incarnation)',
        "replicas.find(({ ref }) => ref.disk === disk && incarnation !== '')",
      ),
    ],
    scenario: { file: 'sim/scenarios/major/takeover.test.ts', tests: 'M2: a blank disk' },
  },
  {
    name: 'row read before its epoch is raised',
    breaks: 'I1',
    does: "A taker goes by the row as it was before it raised the row's epoch, and the older owner may have changed it since (C1).",
    patches: [
      patch(
        'stargate/vdisk-controller/vdisk-row.ts',
        'const seen = (await access.medusa.get(vdiskPartition(vdisk), [])).static\n    if (seen.version === 0)',
        'const early = await access.medusa.get(vdiskPartition(vdisk), [stateRowKey]), seen = early.static\n    if (seen.version === 0)',
      ),
      patch(
        'stargate/vdisk-controller/vdisk-row.ts',
        'row.#state = decodeVDiskState(rows[0].value)',
        'row.#state = decodeVDiskState(early.rows[0].value)',
      ),
    ],
    scenario: { file: 'sim/scenarios/critical/ownership.test.ts', tests: 'C1: what the first of two takers' },
  },
  {
    name: 'stale session accepted',
    breaks: 'I2',
    does: 'A request of an older session takes effect after the client has begun a newer one.',
    patches: [
      patch(
        'stargate/vdisk-controller/sender-sessions.ts',
        'else if (number < newest) throw stale(name, number, newest)',
        'else if (number < 0) throw stale(name, number, newest)',
      ),
    ],
    scenario: { file: 'sim/scenarios/critical/repeats.test.ts', tests: 'F3: pages of a stream' },
  },
  {
    name: 'repair writes what it has not verified',
    breaks: 'I5',
    does: 'A bad copy is replaced by what the bad copy itself says.',
    patches: [
      patch(
        'stargate/extent-store/replicated-extent-store.ts',
        'if (!this.#isHere(copies[0])) {',
        'if (copies.length === 0) {',
      ),
      patch(
        'stargate/extent-store/replicated-extent-store.ts',
        'await this.#readFrom(copies, access, wanted)\n',
        '(await this.readCopy(access, copies[copies.length - 1], groupPage(0), pages), true)\n',
      ),
    ],
    scenario: { file: 'sim/scenarios/major/extent-groups.test.ts', tests: 'M4: a bad copy' },
  },
  {
    name: 'lost page read as zeros',
    breaks: 'I5',
    does: 'Where no copy gives a page the guest gets zeros, not an error.',
    patches: [
      patch(
        'stargate/extent-store/verified-read.ts',
        "  throw new NdfsError(\n    'CORRUPT_EXTENT',\n    `Cannot read ${facts.pages.join(', ')} of extent group ${access.group}: each of its",
        "  if (1) return void wanted.target.fill(0); throw new NdfsError(\n    'CORRUPT_EXTENT',\n    `Cannot read ${facts.pages.join(', ')} of extent group ${access.group}: each of its",
      ),
    ],
    scenario: { file: 'sim/scenarios/major/extent-groups.test.ts', tests: 'M8: a page whose every copy' },
  },
  {
    name: 'deleted on an incomplete scan',
    breaks: 'I7',
    does: 'Groups that a scan of the map which broke off did not see count as dead.',
    patches: [
      patch(
        'stargate/vdisk-controller/reclaim.ts',
        '      this.#counting = undefined\n      throw error',
        '      void error\n      this.#context.ledger.countedAll()',
      ),
    ],
    scenario: { file: 'sim/scenarios/major/extent-groups.test.ts', tests: 'M10: a row of the map' },
  },
  {
    name: 'forwarded request forwarded again',
    breaks: 'I2',
    does: 'A node that is no longer the owner hands a request that was forwarded to it on to the one who is (C10).',
    patches: [
      patch(
        'stargate/front-end-adapter/vdisk-router.ts',
        'new OwnerDoor(platform, node, peers, controller, mayOwn)',
        'new OwnerDoor(platform, node, Object.assign(peers, { locations: options.locations }), controller, mayOwn)',
      ),
      patch(
        'stargate/front-end-adapter/owner-door.ts',
        'const vdisk = this.#owned(header)',
        "const on = (peers as any).locations.owner(header.vdisk); if (kind === 'vdisk.write' && this.#controller.hosted(header.vdisk) === undefined && on !== undefined && on.node !== this.#node) return [await peers.call(on.node, kind, [encodeForward({ ...header, epoch: on.epoch }), payload], { lane: 'forward' })]; const vdisk = this.#owned(header)",
      ),
      patch(
        'stargate/front-end-adapter/owner-door.ts',
        "import { decodeForward, encodeAnswer, type ForwardHeader } from './forwarding.ts'",
        "import { decodeForward, encodeAnswer, encodeForward, type ForwardHeader } from './forwarding.ts'",
      ),
    ],
    scenario: {
      file: 'sim/scenarios/critical/repeats.test.ts',
      tests: 'C10: a former owner that gets a late',
    },
  },
  {
    name: 'grants go on after a fence',
    breaks: 'I2',
    does: 'A replica that was fenced still grants reads to the owner under the older epoch.',
    patches: [
      patch(
        'stargate/oplog/replica-log.ts',
        'if (epoch < vdisk.epoch || episode.epoch !== epoch || episode.sealedAt !== undefined) return undefined',
        'if (episode.epoch !== epoch || episode.sealedAt !== undefined) return undefined',
      ),
    ],
    scenario: {
      file: 'sim/scenarios/critical/leases.test.ts',
      tests: 'C11: an owner that nobody but its peer.*seed 1',
    },
  },
  {
    name: 'lease counted from the answer',
    breaks: 'I2',
    does: 'The owner counts a grant from when the answer came, and the peer from when it gave it.',
    patches: [
      patch(
        'stargate/oplog/heartbeat.ts',
        'this.#tell(want, disk.ref, sentAt, answers[index]?.[at] ?? refused)',
        'this.#tell(want, disk.ref, this.#platform.clock.now(), answers[index]?.[at] ?? refused)',
      ),
    ],
    scenario: {
      file: 'sim/scenarios/critical/leases.test.ts',
      tests: 'C11: a grant counts from when.*seed 1',
    },
  },
  {
    name: 'drained sequence recorded before the map',
    breaks: 'I3',
    does: 'A drain records in the row that it is done, and then changes the map.',
    patches: [
      patch(
        'stargate/vdisk-controller/drain.ts',
        'await changeMap(map, entries, coalesced, written)',
        'void written',
      ),
      patch(
        'stargate/vdisk-controller/drain.ts',
        '      least,\n    )\n  } finally {',
        '      least,\n    ); await changeMap(map, entries, coalesced, written)\n  } finally {',
      ),
    ],
    scenario: { file: 'sim/scenarios/critical/power.test.ts', tests: 'C3: power goes everywhere' },
  },
  {
    name: "late replica's longer tail believed",
    breaks: 'I2',
    does: 'A replica that was away when its episode was sealed is not cut, and what it has beyond the end is read (M1).',
    patches: [
      patch(
        'stargate/vdisk-controller/takeover.ts',
        'for (let at = 0; at < bytes.length && next <= to;) {',
        'for (let at = 0; at < bytes.length;) {',
      ),
      patch('stargate/oplog/replica-log.ts', 'episode.seal(end)', 'void end'),
    ],
    scenario: { file: 'sim/scenarios/critical/ownership.test.ts', tests: 'M1: what a replica has beyond' },
  },
  {
    name: 'session not recorded in the row',
    breaks: 'I2',
    does: 'A newer session of a client is known to the owner alone, and the next one takes requests of the older (F3).',
    patches: [
      patch(
        'stargate/vdisk-controller/sender-sessions.ts',
        'await this.#row.update((state) => {',
        'await Promise.resolve((state: { clients: Record<string, number> }) => {',
      ),
    ],
    scenario: { file: 'sim/scenarios/critical/repeats.test.ts', tests: 'F3: the owner after the next one' },
  },
  {
    name: 'reads go on while the row is changed',
    breaks: 'I2',
    does: 'Grants of the old episode count while the outcome of naming the new one is not known (F2).',
    patches: [
      patch(
        'stargate/vdisk-controller/vdisk-log.ts',
        'lease.suspend()\n        await row.update',
        'void 0\n        await row.update',
      ),
    ],
    scenario: { file: 'sim/scenarios/critical/leases.test.ts', tests: 'F2: reads stop before.*seed 1' },
  },
  {
    name: 'acknowledged before the row names the episode',
    breaks: 'I1',
    does: 'Records that have synced on the replicas of an attempt are acknowledged before the row names it (M1).',
    patches: [
      patch(
        'stargate/vdisk-controller/vdisk-log.ts',
        "if (current === undefined || !current.named || this.#state !== 'open') return",
        'if (current === undefined) return',
      ),
      patch(
        'stargate/vdisk-controller/vdisk-log.ts',
        'episode.onProgress = look',
        'episode.onProgress = () => (this.#advance(), look())',
      ),
    ],
    scenario: { file: 'sim/scenarios/critical/episodes.test.ts', tests: 'M1: nothing is acknowledged' },
  },
  {
    name: 'takeover shows the tail at once',
    breaks: 'I1',
    does: 'A taker counts what it kept as acknowledged, though it lies on one replica of the old episode only.',
    patches: [
      patch(
        'stargate/vdisk-controller/takeover.ts',
        'return { entries, mark: Math.max(mark, state.drained) as Sequence }',
        'return { entries, mark: Math.max(mark, last, state.drained) as Sequence }',
      ),
    ],
    scenario: { file: 'sim/scenarios/critical/episodes.test.ts', tests: 'M1: what a taker shows' },
  },
  {
    name: 'mark over what one replica has',
    breaks: 'I1',
    does: 'A taker that reached some replicas of the old episode counts what these have as if all had it.',
    patches: [
      patch(
        'stargate/vdisk-controller/takeover.ts',
        'if (fenced.length === episode.replicas.length) mark',
        'if (fenced.length > 0) mark',
      ),
    ],
    scenario: { file: 'sim/scenarios/critical/episodes.test.ts', tests: 'M1: what a taker shows' },
  },
  {
    name: 'overlay of another instant than the base',
    breaks: 'I2',
    does: 'A read looks at the log again when its base has come, and a drain may have taken away what lay over it.',
    patches: [
      patch(
        'stargate/vdisk-controller/vdisk-reads.ts',
        'paintLater.push({ bytes, fragments: plan.paint.map(ownCopy) })',
        '{ const reads = this; paintLater.push({ bytes, get fragments() { return reads.#plan(page).paint } }) }',
      ),
    ],
    scenario: { file: 'sim/scenarios/critical/episodes.test.ts', tests: 'I2: a read is of one instant' },
  },
  {
    name: 'overlay in memory that is used again',
    breaks: 'I2',
    does: 'A read keeps views of what lies in the log while its base comes, and a drain may have given that memory back.',
    patches: [patch('stargate/vdisk-controller/vdisk-reads.ts', 'plan.paint.map(ownCopy)', 'plan.paint')],
    scenario: { file: 'sim/scenarios/critical/episodes.test.ts', tests: 'I2: a read is of one instant' },
  },
  {
    name: 'guests refused while dead pages fill the disks',
    breaks: 'I10',
    does: 'A guest that finds no room is told so before anything that is dead was given back.',
    patches: [
      patch(
        'stargate/vdisk-controller/hosted-vdisk.ts',
        'await this.#spaceWait.wait(bytes, lacking)',
        'await Promise.reject<void>(lacking)',
      ),
    ],
    scenario: { file: 'sim/scenarios/major/full-disks.test.ts', tests: 'I10: random overwrites go on' },
  },
  {
    name: 'attempt under way cut as never named',
    breaks: 'I1',
    does: 'A node cuts episodes that the row does not name though their epoch is not over, and its row may name them yet.',
    patches: [
      patch(
        'stargate/vdisk-controller/vdisk-host.ts',
        '.filter((tail) => epochOfEpisode(tail.episode) < epoch && !episodes.some(({ id }) => id === tail.episode))',
        '.filter((tail) => epochOfEpisode(tail.episode) <= epoch && !episodes.some(({ id }) => id === tail.episode))',
      ),
    ],
    scenario: { file: 'sim/scenarios/critical/episodes.test.ts', tests: 'M1: an attempt' },
  },
  {
    name: 'fenced epoch not persisted',
    breaks: 'I4',
    does: 'A replica agrees to a fence that it forgets when it is restarted.',
    patches: [
      patch('stargate/oplog/replica-log.ts', 'await this.#log.persistTable()\n', 'await Promise.resolve()\n'),
    ],
    scenario: { file: 'sim/scenarios/critical/episodes.test.ts', tests: 'C11: a replica that was restarted' },
  },
  {
    name: 'torn tail trusted',
    breaks: 'I2',
    does: "A record's checksum is not looked at, so that a write cut short by a crash passes for a record.",
    patches: [
      patch(
        'stargate/oplog/record.ts',
        'if (crc32c(source.subarray(at + 4, at + bytes)) !== source.readUInt32LE(at)) return undefined',
        'if (source.readUInt32LE(at) === 0) return undefined',
      ),
    ],
    scenario: { file: 'sim/scenarios/critical/power.test.ts', tests: 'C4: of a write that' },
  },
  {
    name: 'synced mark ahead of the sync',
    breaks: 'progress',
    does: 'A batch says that it is synced itself, so that a torn one passes for damage of what was promised.',
    patches: [patch('stargate/oplog/physical-log.ts', 'synced: this.#end,', 'synced: this.#end + bytes,')],
    scenario: { file: 'sim/scenarios/critical/power.test.ts', tests: 'C4: of a write that' },
  },
  {
    name: 'replayed tail not made durable',
    breaks: 'I1',
    does: 'What replay read is vouched for without being put on stable media first.',
    patches: [
      patch(
        'stargate/oplog/physical-log.ts',
        'else await this.#makeDurable()',
        'else await Promise.resolve()',
      ),
    ],
    scenario: { file: 'sim/scenarios/critical/power.test.ts', tests: 'I1: a log says' },
  },
]
