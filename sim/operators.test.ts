import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hasCode } from '../src/base/errors.ts'
import type { NodeId } from '../src/base/ids.ts'
import { KiB, MiB } from '../src/base/units.ts'
import { Cluster } from './cluster.ts'
import { Operator, type Operation, operations } from './operators.ts'
import { findSectorViolation } from './sector-history.ts'

const start = (seed: number): Promise<Cluster> =>
  Cluster.start({ seed, nodes: 3, oplogSegmentBytes: MiB, cacheBytes: 256 * KiB })

test('an operator does everything that can be done, and nothing is left of it', async () => {
  const cluster = await start(1)
  const { world } = cluster
  let lastStamp = 0
  const operator = new Operator(cluster, {
    copies: 2,
    lasting: [],
    containers: [],
    nextStamp: () => ++lastStamp,
    log: () => undefined,
  })
  const working = operator.run()
  await world.run(world.now + 20_000)
  operator.stop()
  await world.play(() => working)
  for (const operation of Object.keys(operations) as Operation[])
    assert.ok((operator.counts.get(operation) ?? 0) > 0, `it never did: ${operation}`)
  for (const { history } of operator.histories) assert.equal(findSectorViolation(history), undefined)
  const left = await world.play(() => cluster.node(cluster.names[0])!.management.listContainers())
  assert.deepEqual(left, [])
  cluster.database.close()
})

test('a container that vanishes after its operator was told that it is there is found out', async () => {
  const cluster = await start(2)
  const { world } = cluster
  let lastStamp = 0
  const operator = new Operator(cluster, {
    copies: 2,
    lasting: [],
    containers: [],
    nextStamp: () => ++lastStamp,
    log: (line) => {
      if (line.startsWith('create a container'))
        cluster.database.exec("DELETE FROM zeus_keys WHERE key LIKE 'container/%'")
    },
  })
  await assert.rejects(
    world.play(() => operator.run()),
    /an operator was told NOT_FOUND/,
  )
  cluster.database.close()
})

test('a size that only an owner out of reach knows is not shown as an older one', async () => {
  const cluster = await start(4)
  const { world } = cluster
  const [here, there] = cluster.names
  const managementOf = (node: NodeId) => cluster.node(node)!.management
  const vdisk = { container: 'c', name: 'd' }
  await world.play(async () => {
    await managementOf(here).createContainer({ name: 'c', copies: 2 })
    await managementOf(here).createVDisk({ ...vdisk, sizeBytes: MiB })
    await managementOf(here).changeVDisk(vdisk, { sizeBytes: 2 * MiB })
  })
  world.cut(here, there)
  await world.play(async () => {
    assert.equal((await managementOf(here).showVDisk(vdisk)).sizeBytes, 2 * MiB)
    await assert.rejects(managementOf(there).showVDisk(vdisk), (error) => hasCode(error, 'UNAVAILABLE'))
    const [listed] = await managementOf(there).listVDisks()
    assert.equal(listed.sizeBytes, undefined)
    assert.match(listed.reason ?? '', /its owner n1 can't be asked now/)
    assert.equal((await managementOf(there).showContainer('c')).sizeBytes, undefined)
    // It would be smaller, and nobody has said that this may be.
    const smaller = managementOf(there).changeVDisk(vdisk, { sizeBytes: 1.5 * MiB })
    await assert.rejects(smaller, (error) => hasCode(error, 'UNAVAILABLE'))
  })
  cluster.database.close()
})

test('nodes are listed by others at every moment of a start', async () => {
  const cluster = await start(3)
  const { world } = cluster
  const [here, starting] = cluster.names
  cluster.end(starting, 'kill')
  await world.run(world.now + 5_000)
  cluster.startNode(starting)
  let asked = 0
  while (cluster.node(starting) === undefined) {
    const listed = await world.play(() => cluster.node(here)!.management.listNodes())
    assert.equal(listed.length, 3)
    asked++
  }
  assert.ok(asked > 3)
  cluster.database.close()
})
