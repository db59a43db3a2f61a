/**
 * Which of the critical histories of HISTORIES.md are staged here, and what the others wait for. coverage.test.ts holds it against
 * the titles of the tests: a history that is said to be staged has a test that begins with its name, and no other has one.
 */
export const staged: Readonly<Record<string, string>> = {
  C1: 'two takers, the row raised and read in each order',
  C2: 'changes of rows, map and groups that take effect after they were sent again',
  C3: 'power goes everywhere during a drain; what Cassandra has to be told waits for Cassandra',
  C4: 'power goes everywhere with writes under way, of two vDisks in one log',
  C5: 'writes and drains beside a compaction; flattening waits for clones',
  C6: 'streams with ragged edges',
  C10: 'forwarded writes that arrive late, at an owner that was replaced, or is one again',
  C11: 'an owner that is cut off, stands still, or is fenced at its own replica',
  C12: 'a vDisk without traffic whose owner or log peer is gone for good',
  F1: 'a replica that was restarted',
  F2: 'a new episode whose naming got no answer',
  F3: 'a client that went on to another node; NFS clients wait for NFS',
  F6: 'a change of episodes whose outcome is unknown, with and without a taker',
  F7: 'a rotten record of another vDisk, and a replica that has lost what it had',
  F9: 'a base that is only out of reach',
  F10: 'one of two nodes, and a log disk that hangs',
  F11: 'all power gone, and no traffic',
  F12: 'drains cut short, and fences; a map that is older than its vDisk says is shown in vdisk-map.test.ts',
}

export const waiting: Readonly<Record<string, string>> = {
  C7: 'snapshots',
  C8: 'clones',
  C9: 'snapshots and clones',
  F4: 'snapshots',
  F5: 'clones',
  F8: 'clones',
}
