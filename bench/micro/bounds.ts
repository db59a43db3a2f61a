/**
 * What each hot part was last seen to take on a quiet machine, and how much more is let through. A change that makes a part cheaper should
 * lower its line, or the next one may use it up unseen: `npm run bench:micro -- --table` prints the lines as they are now.
 *
 *   ratio   time of one operation ÷ time of one round of the reference (reference.ts), in the same run
 *   bytes   allocated by one operation
 */
import type { Measured } from './measure.ts'

/** Ratios differ from processor to processor, as its memory is faster or its checksums are. */
const ratioFactor = 2.5
/** Bytes differ where something is compiled in another way, and with Node.js's version. */
const bytesFactor = 1.3
/** For parts that allocate nothing: less than the smallest object. */
const bytesSlack = 12

// prettier-ignore
const seen: Readonly<Record<string, readonly [ratio: number, bytes: number]>> = {
  'NBD read request and reply':                       [  0.091,    209],
  'NBD write request and reply':                      [   0.15,    662],
  'oplog record encoded':                             [   0.48,    584],
  'oplog append message encoded, each record':        [ 0.0079,     59],
  'oplog append message verified, each record':       [   0.44,   1128],
  'oplog batch encoded, each record':                 [   0.13,    189],
  'small peer frame written':                         [  0.093,    206],
  'small peer frame read':                            [  0.078,    224],
  'append frame written, each record':                [    0.4,    350],
  'append frame read, each record':                   [   0.57,   4336],
  'log index put and get':                            [  0.038,    144],
  'log index put and get, shifted by 512 bytes':      [  0.084,    288],
  'log index put and trimmed':                        [  0.036,    232],
  'map row of one run encoded':                       [   0.32,    148],
  'map row of one run decoded':                       [   0.53,   2312],
  'map row of 256 runs encoded':                      [    6.1,   2232],
  'map row of 256 runs decoded':                      [    4.2,   7386],
  'group index looked up':                            [  0.031,     56],
  'extent cache hit, 4 KiB':                          [   0.22,      0],
  'extent cache miss':                                [   0.01,      0],
  'extent cache put, another page goes':              [   0.15,      0],
  'crc32c of 4 KiB':                                  [   0.26,     16],
  'crc32c of pages, by their own, each page':         [ 0.0016,      9],
}

export const names = Object.keys(seen)

/** What is over its bound, in a sentence each; nothing where all is well. */
export function faultsOf(name: string, { ratio, bytes }: Measured): string[] {
  if (seen[name] === undefined)
    return ['it has no line in bench/micro/bounds.ts: npm run bench:micro -- --table prints one']
  const [seenRatio, seenBytes] = seen[name]
  const ratioMax = seenRatio * ratioFactor
  const bytesMax = seenBytes * bytesFactor + bytesSlack
  return [
    ...(ratio > ratioMax
      ? [
          `it takes ${ratio.toFixed(3)} of the reference's time, and may take ${ratioMax.toFixed(3)}: ${ratioFactor} × the ${seenRatio} last seen`,
        ]
      : []),
    ...(bytes > bytesMax
      ? [
          `it allocates ${bytes.toFixed(0)} bytes, and may allocate ${bytesMax.toFixed(0)}: ${bytesFactor} × the ${seenBytes} last seen`,
        ]
      : []),
  ]
}

/** A line of the table above. */
export const lineOf = (name: string, { ratio, bytes }: Measured): string =>
  `  ${`'${name}':`.padEnd(52)}[${ratio.toPrecision(2).padStart(7)}, ${bytes.toFixed(0).padStart(6)}],`
