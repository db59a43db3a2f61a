import assert from 'node:assert/strict'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { nodePlatform } from '../platform/node-platform.ts'
import { giveTokenToUser, newToken, takeTokenFromUser, userApis, userFolder, userToken } from './token.ts'

const { files, chance } = nodePlatform({ level: 'silent' })

test("the user's copy of a token is for the user's eyes only, and taken back unless it was replaced", async (t) => {
  const before = process.env.XDG_CONFIG_HOME
  const home = await mkdtemp(join(tmpdir(), 'ndfs-token-'))
  process.env.XDG_CONFIG_HOME = home
  t.after(async () => {
    if (before === undefined) delete process.env.XDG_CONFIG_HOME
    else process.env.XDG_CONFIG_HOME = before
    await rm(home, { recursive: true })
  })
  const [ours, theirs] = [newToken(chance), newToken(chance)]
  assert.notEqual(ours, theirs)
  const api = '127.0.0.1:9440'
  assert.deepEqual(await userApis(files), [])
  await giveTokenToUser(files, api, ours)
  assert.equal(await userToken(files, api), ours)
  assert.deepEqual(await userApis(files), [api])
  assert.equal((await stat(join(userFolder(), 'tokens', api))).mode & 0o777, 0o600)
  assert.equal((await stat(join(userFolder(), 'tokens'))).mode & 0o777, 0o700)
  await giveTokenToUser(files, api, theirs)
  await takeTokenFromUser(files, api, ours)
  assert.equal(await userToken(files, api), theirs)
  await takeTokenFromUser(files, api, theirs)
  assert.equal(await userToken(files, api), undefined)
})
