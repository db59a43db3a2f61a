/**
 * What a trace of system calls says of order: was each reply sent after its record lay on stable media on every node that
 * holds it?
 *
 * The trace is that of one strace over the processes of all nodes (`-f -y -xx`), so its lines are in one order. A call that
 * ended stands in it (whole, or as `resumed`) before the thread that made it goes on, and so before anything that
 * follows from its end. A reply whose call begins in an earlier line did not wait for it.
 *
 *   17  pwrite64(25</…/oplog/segment-0>, "\x4e\x44…", 8192, 4096 <unfinished ...>     what is written, and where
 *   17  <... pwrite64 resumed>)           = 8192                                       it is on stable media: O_DSYNC
 *   12  write(31<socket:[42]>, "\x67\x44\x66\x98…", 16) = 16                            the reply
 */

/** Each write's payload has this in it, followed by eight digits: which request of the connection it was, from 1. */
export const payloadMark = 'NDFSmark'
export const markOf = (request: number): string => payloadMark + String(request).padStart(8, '0')

export interface Place {
  readonly path: string
  readonly fd: number
  readonly pid: number
}

export interface OrderOptions {
  /** Which node's medium a file lies on; undefined for what is no medium: sockets, logs for people. */
  readonly nodeOf: (place: Place) => string | undefined
  /** Whether a write to it is on stable media when it has returned. */
  readonly isSynced: (place: Place) => boolean
  readonly copies: number
}

export interface Order {
  /** Replies that came after as many durable copies as there must be. */
  readonly inOrder: number
  /** One line each: what was sent too early, and what was missing. */
  readonly violations: readonly string[]
}

interface Call {
  readonly name: string
  readonly place: Place
  readonly text: string
  /** What a sync will have made durable when it ends. */
  readonly covers: ReadonlySet<number>
}

const writes = ['pwrite64', 'pwritev', 'pwritev2', 'write', 'writev', 'sendmsg', 'sendto']
const syncs = ['fsync', 'fdatasync']

const hexOf = (text: string): string => Buffer.from(text, 'latin1').toString('hex')
const markPattern = new RegExp(`${hexOf(payloadMark)}((?:3[0-9]){8})`, 'g')
/** A simple reply without an error, and its cookie. */
const replyPattern = /6744669800000000([0-9a-f]{16})/g

/** The bytes of all strings in a line of strace -xx, as hex digits. */
const bytesIn = (text: string): string =>
  [...text.matchAll(/"([^"]*)"/g)].map(([, bytes]) => bytes.replaceAll('\\x', '')).join('')

/** strace -xx prints paths so too. */
const plain = (path: string): string =>
  path.startsWith('\\x') ? Buffer.from(path.replaceAll('\\x', ''), 'hex').toString() : path

const marksIn = (text: string): number[] =>
  [...bytesIn(text).matchAll(markPattern)].map(([, digits]) =>
    Number(Buffer.from(digits, 'hex').toString('latin1')),
  )

export function orderIn(trace: string, options: OrderOptions): Order {
  const { nodeOf, isSynced, copies } = options
  /** By request: on which nodes it is durable. */
  const durable = new Map<number, Set<string>>()
  /** By file: what was written and not synced yet. */
  const unsynced = new Map<string, Set<number>>()
  const underWay = new Map<string, Call>()
  const answered = new Set<number>()
  const violations: string[] = []

  const begin = (call: Call): void => {
    if (!writes.includes(call.name) || nodeOf(call.place) !== undefined) return
    for (const [, cookie] of bytesIn(call.text).matchAll(replyPattern)) {
      const request = Number(BigInt(`0x${cookie}`))
      if (answered.has(request)) continue
      answered.add(request)
      const on = [...(durable.get(request) ?? [])]
      if (on.length < copies)
        violations.push(
          `request ${request} was answered when it was durable on ${on.length === 0 ? 'no node' : on.join(', ')}`,
        )
    }
  }
  const end = ({ name, place, text, covers }: Call, result: string): void => {
    const node = nodeOf(place)
    if (node === undefined || result.startsWith('-1')) return
    const lasts = (request: number): void => {
      const on = durable.get(request)
      if (on === undefined) durable.set(request, new Set([node]))
      else on.add(node)
    }
    if (syncs.includes(name)) for (const request of covers) lasts(request)
    else if (isSynced(place)) marksIn(text).forEach(lasts)
    else {
      const waiting = unsynced.get(place.path) ?? new Set()
      for (const request of marksIn(text)) waiting.add(request)
      unsynced.set(place.path, waiting)
    }
  }

  for (const line of trace.split('\n')) {
    const resumed = /^(\d+) +<\.\.\. \w+ resumed>.*\) += (-?\d+)/.exec(line)
    if (resumed !== null) {
      const call = underWay.get(resumed[1])
      underWay.delete(resumed[1])
      if (call !== undefined) end(call, resumed[2])
      continue
    }
    const begun = /^(\d+) +(\w+)\((\d+)<(.*?)>(?=[,)]| <unfinished)/.exec(line)
    if (begun === null) continue
    const [, thread, name, fd, printedPath] = begun
    const path = plain(printedPath)
    const place = { path, fd: Number(fd), pid: Number(thread) }
    const covers = new Set(syncs.includes(name) ? unsynced.get(path) : [])
    const call: Call = { name, place, text: line, covers }
    begin(call)
    const result = /\) += (-?\d+)[^"]*$/.exec(line)
    if (line.endsWith('<unfinished ...>')) underWay.set(thread, call)
    else if (result !== null) end(call, result[1])
  }
  return { inOrder: answered.size - violations.length, violations }
}
