/** Planted bugs of data at rest: draining, the map, extent groups and their files, the cache, what is freed. */
import { damage, failingDisks, failingWrites, streams, patch, type PlantedBug } from './planted-bug.ts'

const drain = 'stargate/vdisk-controller/drain.ts'
const localExtents = 'stargate/extent-store/local-extents.ts'
const vdiskMap = 'stargate/vdisk-controller/vdisk-map.ts'
const mapDelta = 'stargate/vdisk-controller/map-delta.ts'
const fullDiskTest = 'src/stargate/oplog/full-disk.test.ts'
const mapTest = 'src/stargate/vdisk-controller/vdisk-map.test.ts'

export const dataBugs: readonly PlantedBug[] = [
  {
    name: 'group row before its files',
    breaks: 'I3',
    does: "A group's row says `whole` before its files are written.",
    patches: [
      patch(
        drain,
        "await extents.write(access, groupPage(0), bytes, 'maintenance', trailer)",
        "void extents.write(access, groupPage(0), bytes, 'maintenance', trailer).catch(() => undefined)",
      ),
    ],
  },
  {
    name: 'group files not synced',
    breaks: 'I3',
    does: "The bytes of a group's file are not synced before its row says that it is whole.",
    patches: [patch(localExtents, 'await Promise.all([file.sync(), opened.named])', 'await opened.named')],
  },
  {
    name: 'index trimmed beyond the drain',
    breaks: 'I2',
    does: 'After a drain the index forgets all that was acknowledged, also what came while it was under way.',
    patches: [
      patch(
        'stargate/vdisk-controller/drain-schedule.ts',
        'index.trim(result.pages, result.drained)',
        'index.trim(result.pages, vdiskLog.acknowledged)',
      ),
    ],
  },
  {
    name: 'coalescing picks the older byte',
    breaks: 'I2',
    does: 'Where records of a prefix overlap within a page, a drain lets the older bytes win.',
    patches: [
      patch(
        drain,
        'paint(target(i), chunk[i].plan.paint)',
        'paint(target(i), [...chunk[i].plan.paint].reverse())',
      ),
    ],
  },
  {
    name: 'base of a ragged write not read',
    breaks: 'I2',
    does: 'A drain fills what a ragged write leaves open of a page with zeros, whatever lies beneath.',
    patches: [
      patch(
        'stargate/vdisk-controller/page-plan.ts',
        'const { group, at } = mapped()\n  return { base: group, at, paint: fragments }',
        'const { at } = mapped()\n  return { base: hole, at, paint: fragments }',
      ),
    ],
  },
  {
    name: 'discard leaves the edges',
    breaks: 'I2',
    does: 'A large zero or discard spares the pages at its ends that it covers in part.',
    patches: [
      patch(
        'stargate/vdisk-controller/log-index.ts',
        'this.#putZeroPages(sequence, offset, firstWhole * pageBytes)\n    this.#putZeroPages(sequence, pastWhole * pageBytes, end)',
        'void firstWhole\n    void pastWhole',
      ),
    ],
    scenario: { file: 'sim/scenarios/critical/draining.test.ts', tests: 'I2: of a large zero' },
  },
  {
    name: 'stream completes ragged edges',
    breaks: 'I2',
    does: 'A stream reads the pages at its ends, completes them and writes them whole, over what came meanwhile (C6).',
    patches: [
      patch(
        'stargate/vdisk-controller/hosted-vdisk.ts',
        'return this.#streamWriter.write(offset, payload, () => {',
        'const ragged = offset % 4096, whole = Buffer.alloc(Math.min(Math.ceil((ragged + payload.length) / 4096) * 4096, this.#sizeBytes - offset + ragged)); return this.#reads.read(offset - ragged, whole).then(() => (payload.copy(whole, ragged), this.#streamWriter.write(offset - ragged, whole, () => {',
      ),
      patch(
        'stargate/vdisk-controller/hosted-vdisk.ts',
        'this.#sessions.assertNewest(senders)\n          })\n        }',
        'this.#sessions.assertNewest(senders)\n          })))\n        }',
      ),
    ],
    plan: streams,
  },
  {
    name: 'cache keyed without the page',
    breaks: 'I2',
    does: 'The cache takes any page of a group for any other.',
    patches: [
      patch(
        'stargate/extent-cache/page-table.ts',
        'group * pagesPerGroupMax + page',
        'group * pagesPerGroupMax + (page & 0x3fe)',
      ),
    ],
  },
  {
    name: 'checksum not checked',
    breaks: 'I5',
    does: "What a disk gives is passed on without a look at the row's checksums.",
    patches: [
      patch(
        'stargate/extent-store/verified-read.ts',
        'for (const bad of badRuns(wanted.target, run, wanted.checksums)) {',
        'for (const bad of badRuns(wanted.target, run, wanted.checksums).slice(0, 0)) {',
      ),
    ],
    plan: damage,
  },
  {
    name: 'failed sync tried again',
    breaks: 'I6',
    does: 'A sync that failed is repeated, and its success vouches for bytes that are gone.',
    patches: [
      patch(
        'disk/folder-disk.ts',
        'throw this.#disk.failedToSync(error, `sync ${this.name}`)',
        'await this.#file.sync()',
      ),
    ],
    plan: failingDisks,
  },
  {
    name: 'failed write keeps its disk in service',
    breaks: 'I6',
    does: 'A write that failed is an error to its caller alone: the disk goes on as if nothing had been.',
    patches: [
      patch(
        'disk/folder-disk.ts',
        'throw this.#disk.failedToChange(error, `write ${this.name}`)',
        "throw new NdfsError('UNAVAILABLE', messageOf(error))",
      ),
    ],
    plan: failingWrites,
  },
  {
    name: 'files removed before the row says so',
    breaks: 'I7',
    does: "A dead group's files are unlinked before its row says `deleting`.",
    patches: [
      patch(
        'stargate/vdisk-controller/group-index.ts',
        'this.#open.delete(id)\n      const marked',
        'for (const copy of one.row?.copies ?? []) await this.#extents.remove(id, copy).catch(() => undefined)\n      const marked',
      ),
    ],
    plan: failingDisks,
  },
  {
    name: 'rows of others go with a dead group',
    breaks: 'I3',
    does: 'The partition of a dead group is dropped without a look at who else has a row in it.',
    patches: [
      patch(
        'stargate/vdisk-controller/group-index.ts',
        'areLast && this.#isFinished(beside.at(-1)!, registered)',
        'areLast || true',
      ),
    ],
    plan: streams,
  },
  {
    name: 'deleted without a grace',
    breaks: 'I7',
    does: 'Files are unlinked while reads that found the group in the map are under way.',
    patches: [
      patch(
        'stargate/vdisk-controller/reclaim.ts',
        'await Promise.all([reader.settled(), clock.sleep(graceMs)])',
        'await Promise.resolve([reader, clock])',
      ),
    ],
    plan: failingDisks,
  },
  {
    name: 'pinned groups taken for dead',
    breaks: 'I7',
    does: 'A group that only an undrained record names counts as dead.',
    patches: [
      patch(
        'stargate/vdisk-controller/group-ledger.ts',
        'if (this.#named.has(group) || this.#pins.has(group) || this.#freeing.has(group)) continue',
        'if (this.#named.has(group) || this.#freeing.has(group)) continue',
      ),
    ],
    plan: streams,
  },
  {
    name: 'compaction replaces what moved on',
    breaks: 'I2',
    does: 'Compaction points pages to its copy though the map names a newer group for them by now (C5).',
    patches: [
      patch(
        'stargate/vdisk-controller/compact.ts',
        'block.groups[page % pagesPerVBlock] !== victim ||',
        'block.groups[page % pagesPerVBlock] === 0 && ',
      ),
    ],
    plan: streams,
  },
  {
    name: 'copies on one node',
    breaks: 'I1',
    does: "Placement takes two disks of one node for an extent group's copies.",
    patches: [
      patch(
        'stargate/extent-store/placement.ts',
        'left = left.filter(({ ref }) => ref.node !== best.ref.node)',
        'left = left.filter(({ ref }) => ref !== best.ref)',
      ),
      patch(
        'stargate/extent-store/placement.ts',
        'first(({ block }) => !blocks.has(block)) ||',
        'first(({ block }) => blocks.has(block)) ||',
      ),
    ],
  },
  {
    name: 'group file names not synced',
    breaks: 'I3',
    does: "The folder is not synced when a group's file was made in it.",
    patches: [
      patch(
        'stargate/extent-store/open-files.ts',
        'const named = this.#disk.syncNames(folder)',
        'const named = Promise.resolve(folder)',
      ),
    ],
  },
  {
    name: 'a body given back while it is written',
    breaks: 'I1',
    does: 'The memory of a request is used again while its disk still writes it: a copy is acknowledged, and holds other bytes.',
    patches: [
      patch(
        'peer/incoming-connection.ts',
        'const bytes = headerBytes + body.length',
        'if (this.#handlers.optionsOf(kind).endsBody === true) queueMicrotask(() => giveBack(body)); const bytes = headerBytes + body.length',
      ),
    ],
    plan: streams,
  },
  {
    name: 'pages given back while they are written',
    breaks: 'I3',
    does: 'The memory of a drained group is used again while its copies are being written.',
    patches: [
      patch(
        drain,
        "await extents.write(access, groupPage(0), bytes, 'maintenance', trailer)",
        "const writing = extents.write(access, groupPage(0), bytes, 'maintenance', trailer); queueMicrotask(() => bytes.forEach(giveBack)); await writing",
      ),
    ],
  },
  {
    name: 'guests let into the reserve',
    breaks: 'I10',
    does: 'Guests may fill a disk to its last byte.',
    patches: [
      patch(
        'disk/disk-space.ts',
        'return Math.max(0, this.#guestBytesMax - this.#asideBytes)',
        'return this.#capacityBytes',
      ),
    ],
    scenario: { file: 'sim/scenarios/critical/space.test.ts', tests: 'I10: streams fill' },
  },
  {
    name: 'drains let into what the log keeps',
    breaks: 'I10',
    does: 'Drains and copies may fill a disk to its last byte, and its log finds no room for a fence.',
    patches: [
      patch(
        'disk/disk-space.ts',
        'return Math.max(0, this.#capacityBytes - this.#keptBytes)',
        'return this.#capacityBytes',
      ),
    ],
    scenario: { file: 'src/disk/folder-disk.test.ts', tests: 'what is kept for the log' },
  },
  {
    name: 'room that the log keeps is shown to drains',
    breaks: 'I10',
    does: 'Placement takes for free what the log keeps: a disk that refuses a drain is chosen for it again and again.',
    patches: [
      patch(
        'disk/disk-space.ts',
        "maintenanceFreeBytes: Math.max(0, this.#limitOf('maintenance') - this.#usedBytes)",
        'maintenanceFreeBytes: this.#capacityBytes - this.#usedBytes',
      ),
    ],
    scenario: { file: 'src/disk/folder-disk.test.ts', tests: 'what is kept for the log' },
  },
  {
    name: 'guests let into segments for fences',
    breaks: 'I10',
    does: 'A guest appends to a segment that a restart began, though its log may get too few others for the next restarts.',
    patches: [
      patch(
        'stargate/oplog/physical-log.ts',
        "if (purpose === 'guest') return this.#taken() <=",
        "if (purpose === 'guest') return this.#taken() <= 2 +",
      ),
    ],
    scenario: { file: fullDiskTest, tests: 'a log takes fences on a full disk' },
  },
  {
    name: 'log counted by its size, not by the room of its disk',
    breaks: 'I10',
    does: 'A log takes records for all segments of its size, though its disk has no room for them and for fences.',
    patches: [
      patch(
        'stargate/oplog/physical-log.ts',
        'this.#slots.length + more - segmentsExtra)',
        'this.segmentsMax)',
      ),
    ],
    scenario: { file: fullDiskTest, tests: 'a log takes fences on a full disk' },
  },
  {
    name: 'what restarts took of a full disk stays taken',
    breaks: 'I10',
    does: 'A segment that a restart took of a full disk stays when it is free, and what is given back goes to the log before drains.',
    patches: [patch('stargate/oplog/physical-log.ts', ' || this.#isDiskShort()', '')],
    scenario: { file: fullDiskTest, tests: 'what restarts took of a full disk' },
  },
  {
    name: 'delta dropped while it is needed',
    breaks: 'I5',
    does: 'A delta of the map is deleted while the own row of one of its vBlocks is one version short of it.',
    patches: [
      patch(
        vdiskMap,
        'if (folded[index] < delta.versionOf(index)) return true',
        'if (folded[index] + 1 < delta.versionOf(index)) return true',
      ),
    ],
    scenario: { file: mapTest, tests: 'M18: what few pages' },
  },
  {
    name: 'missing delta passed over',
    breaks: 'I5',
    does: 'A vBlock is put together though a delta upon it is missing, and what it lacks is read as it was before.',
    patches: [
      patch(mapDelta, 'if (made !== version + 1) return version', 'if (made < version) return version'),
    ],
    scenario: { file: mapTest, tests: 'M18: a row or delta that is lost' },
  },
  {
    name: 'vBlock folded as it was before',
    breaks: 'I2',
    does: 'A vBlock that a change folds is written with the version of what its deltas made of it, and the bytes of its own row.',
    patches: [
      patch(
        vdiskMap,
        'if (applyDeltas(deltas, index, block, own, placeOf) !== digest[index])',
        'if (applyDeltas(deltas, index, emptyVBlock(), own, placeOf) !== digest[index])',
      ),
    ],
    scenario: { file: mapTest, tests: 'M18: what few pages' },
  },
]
