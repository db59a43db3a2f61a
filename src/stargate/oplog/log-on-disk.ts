/** What a log disk holds of each vDisk, read without taking the log into use: for whoever makes metadata anew from disks. */
import type { EpisodeId, Epoch, Sequence, VDiskId } from '../../base/ids.ts'
import type { Disk } from '../../disk/disk.ts'
import type { Platform } from '../../platform/platform.ts'
import { findSegments, replay } from './replay.ts'

export interface LogOfVDisk {
  /** The highest that was seen here. */
  epoch: Epoch
  /** All up to here was drained, as far as the log was told. */
  freed: Sequence
  readonly episodes: Map<EpisodeId, EpisodeInLog>
  /** The end of what the records have written, in bytes. */
  endBytes: number
  /** The newest record that says a size; 0: none does. */
  resized: Sequence
  /** Records that name a group which was freed. */
  readonly ofFreedGroups: { readonly episode: EpisodeId; readonly sequence: Sequence }[]
}

export interface EpisodeInLog {
  episodeFirst: Sequence
  /** The records that are here, behind what was freed; one among them may be damaged. */
  first: Sequence
  last: Sequence
  hasOpen: boolean
}

export interface LogOnDisk {
  readonly vdisks: ReadonlyMap<VDiskId, LogOfVDisk>
  /** Why it can't say for certain what it held. */
  readonly uncertain?: string
}

/** Reads the whole log, a segment at a time; changes nothing. `namesFreed`: whether the payload of a record that names extent groups names one that was freed. */
export async function readLog(
  disk: Disk,
  { files, log }: Pick<Platform, 'files' | 'log'>,
  namesFreed: (payload: Buffer) => boolean,
): Promise<LogOnDisk> {
  let memory: Buffer = Buffer.alloc(0)
  const scratch = (bytes: number): Buffer => {
    if (memory.length < bytes) memory = files.alignedBuffer(bytes)
    return memory.subarray(0, bytes)
  }
  const vdisks = new Map<VDiskId, LogOfVDisk>()
  const of = (vdisk: VDiskId): LogOfVDisk => {
    let found = vdisks.get(vdisk)
    if (found === undefined) {
      found = {
        epoch: 0 as Epoch,
        freed: 0 as Sequence,
        episodes: new Map(),
        endBytes: 0,
        resized: 0 as Sequence,
        ofFreedGroups: [],
      }
      vdisks.set(vdisk, found)
    }
    return found
  }
  const { segments, segmentBytes } = await findSegments(disk, scratch, log)
  try {
    if (segmentBytes === undefined) return { vdisks }
    const place = { incarnation: disk.ref.incarnation, segmentBytes }
    const { uncertain } = await replay(segments, place, scratch, log, {
      table: (table) => {
        for (const { vdisk, epoch, freed } of table.vdisks) Object.assign(of(vdisk), { epoch, freed })
      },
      extent: ({ vdisk, episode, sequence }, payload) => {
        const found = of(vdisk)
        if (sequence > found.freed && namesFreed(payload)) found.ofFreedGroups.push({ episode, sequence })
      },
      record: (_position, _bytes, header) => {
        const found = of(header.vdisk)
        found.epoch = Math.max(found.epoch, header.epoch) as Epoch
        if (header.sequence <= found.freed) return
        const end = header.kind === 'size' ? header.length : header.offset + header.length
        found.endBytes = Math.max(found.endBytes, end)
        if (header.kind === 'size') found.resized = Math.max(found.resized, header.sequence) as Sequence
        const { episode: id, episodeFirst, sequence } = header
        const episode = found.episodes.get(id) ?? {
          episodeFirst,
          first: sequence,
          last: sequence,
          hasOpen: false,
        }
        found.episodes.set(id, episode)
        episode.first = Math.min(episode.first, sequence) as Sequence
        episode.last = Math.max(episode.last, sequence) as Sequence
        episode.hasOpen ||= header.kind === 'open'
      },
      // Others of the episode have it. Where it was the last one here, its episode ends before it.
      lost: () => undefined,
    })
    return { vdisks, ...(uncertain === undefined ? {} : { uncertain }) }
  } finally {
    for (const { file } of segments) await file.close()
  }
}
