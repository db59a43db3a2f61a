/** Clocks of people may be wrong: that is told, and nothing else comes of it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Scene } from './support.ts'

const hourMs = 3_600_000

test('a node whose clock is an hour ahead is told by every node, and the cluster is as well as before', async () => {
  const scene = await Scene.begin({ seed: 1 })
  const { cluster, world } = scene
  const [wrong, ...others] = cluster.names
  const clocksOf = async (via = others[0]): Promise<string[]> => {
    const { problems, health } = await scene.ask(via, (management) => management.status())
    assert.equal(health, 'ok')
    return problems.filter((problem) => problem.startsWith(`the clock of ${wrong} `))
  }
  world.jumpWallClock(wrong, hourMs)
  const guest = scene.guest(wrong)
  await scene.done(guest.write(0, 32))
  for (const via of cluster.names) {
    const [told, ...more] = await clocksOf(via)
    assert.deepEqual(more, [])
    const seconds = Number(/ is ([\d.]+) s ahead, held against that of n\d: /.exec(told)?.[1])
    assert.ok(Math.abs(seconds - hourMs / 1000) < 15, told)
  }
  await scene.done(guest.read(0, 32))
  await scene.finish()
})
