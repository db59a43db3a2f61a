/**
 * The processes of one machine: a cluster that lives in one directory, and what starts, stops and connects to it.
 *
 *   up ──────┬──▶ store            Zeus and Medusa; started again whenever it ends
 *            ├──▶ node n1          each a process of its own, so that it can be killed; not started again by itself
 *            └──▶ node n2 …
 *   connect ────▶ any node         an NBD endpoint for one VM that outlives nodes
 *
 *  1. `up` resolves once reads and writes are served, or rejects with the reason, and then nothing that it started runs.
 *  2. `down` ends all that runs in a directory, frozen processes too, and nothing else: a process is known by its id
 *     and the instant of its start, so that an id used again is never killed.
 *  3. Nodes outlive `up` and the store: what is killed is only what was killed.
 *  4. A directory is used by one `up` at a time; each node's folder by one process at a time.
 *
 * Not here: what a node does (src/node.ts joins its parts), and how commands are written (cli/).
 */

/** Where a command's words go. `line` is for people, `event` for programs: an implementation shows one of the two. */
export interface Output {
  line(text: string): void
  event(event: { readonly event: string } & Readonly<Record<string, unknown>>): void
}

/** How this very program starts its own processes: the file that was run, and the options of Node.js it was run with. */
export interface Program {
  readonly entry: string
  readonly nodeOptions: readonly string[]
}

/** What `ndfs up` was asked for; what is left out was not said. */
export interface UpOptions {
  readonly dir: string
  readonly nodes?: number
  readonly blocks?: number
  readonly httpPort?: number
  readonly nbdPort?: number
  readonly nfsPort?: number
  /** NFS is served at all addresses that a node's machine has, or gets: one may move from node to node. */
  readonly nfsEverywhere?: boolean
  /** Clients that know no ports find those of NFS at port 111. */
  readonly portmap?: boolean
  readonly cacheBytes?: number
  readonly writeWaitMaxMs?: number
  /** A folder on another disk than the cluster's directory, for the copy of the store. */
  readonly storeCopy?: string
  /** A file that names engines which run already: they hold Zeus and Medusa, in place of a store of this machine. */
  readonly engines?: string
  /** For each node. */
  readonly disks?: readonly DiskWish[]
  /** Whoever is not named listens on this machine's loopback address. */
  readonly listen?: readonly ListenWish[]
}

/** A node, or the `store`, listens on an address of its own: others reach it there, also from another machine. */
export interface ListenWish {
  readonly name: string
  /** Without a port. */
  readonly address: string
}

export interface DiskWish {
  readonly tier: 'flash' | 'hdd'
  readonly capacityBytes: number
}

/** `DIR/cluster.json`: where a cluster's nodes are. `pid` is null while the node does not run. */
export interface ClusterFile {
  readonly nodes: readonly ClusterFileNode[]
}
export interface ClusterFileNode {
  readonly id: string
  readonly block: string
  readonly pid: number | null
  readonly http: string
  readonly peer: string
  readonly nbd: { readonly address: string; readonly socket: string }
  /** NFS, MOUNT and all else that its clients ask for, on one port. */
  readonly nfs?: { readonly address: string }
}
