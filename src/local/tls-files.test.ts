import assert from 'node:assert/strict'
import { chmod, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { hasCode } from '../base/errors.ts'
import { nodePlatform } from '../platform/node-platform.ts'
import type { Log } from '../platform/platform.ts'
import { initAuthority, issueInto } from './certificate-files.ts'
import { sharedKeysIn, TlsFiles } from './tls-files.ts'

const usual = nodePlatform({ level: 'silent' })

async function begin(t: TestContext) {
  const folder = await mkdtemp(join(tmpdir(), 'ndfs-tls-'))
  t.after(() => rm(folder, { recursive: true }))
  const logged: string[] = []
  const note = (message: string, facts?: object): void =>
    void logged.push(`${message} ${JSON.stringify(facts)}`)
  const log: Log = { debug: note, info: note, warn: note, error: note, with: () => log }
  await initAuthority(folder, { name: 'a test', days: 100 }, usual)
  const issue = (days: number) => issueInto(folder, ['n1', '10.0.0.1'], days, usual)
  const until = async (wanted: RegExp): Promise<void> => {
    for (let tries = 0; !logged.some((line) => wanted.test(line)); tries++) {
      assert.ok(tries < 300, `${wanted} is not in ${logged.join('\n')}`)
      await sleep(10)
    }
  }
  const open = async (paths: Parameters<typeof TlsFiles.open>[0]): Promise<TlsFiles> => {
    const files = await TlsFiles.open(paths, 'peers', { ...usual, log })
    t.after(() => files.close())
    return files
  }
  return { folder, logged, issue, until, open }
}
const isRefused = (error: unknown): boolean => hasCode(error, 'REFUSED')

test('a certificate that takes another’s place is used; what does not fit is not, and said', async (t) => {
  const { folder, issue, until, open } = await begin(t)
  const paths = { ...(await issue(60)), caFile: join(folder, 'ca.pem') }
  const files = await open(paths)
  const [side, ends] = [files.side, files.expiresAt]
  assert.ok(ends !== undefined && Math.abs(ends - Date.now() - 60 * 86_400_000) < 60_000)
  await until(/as its files say .*"daysLeft":(59|60)/)
  await issue(20)
  await until(/ends soon, or has ended.*"daysLeft":(19|20)/)
  assert.notEqual(files.side, side)
  const last = files.side
  await writeFile(paths.certFile, 'half of')
  await until(/stays as it was: .*Cannot use the certificate/)
  assert.equal(files.side, last)
})

test('keys by identity are replaced whole, and their file is nobody else’s to read', async (t) => {
  const { folder, open, until, logged } = await begin(t)
  const pskFile = join(folder, 'keys.psk')
  const line = (identity: string): string => `${identity}:${'0123456789abcdef'.repeat(2)}\n`
  await writeFile(pskFile, line('alice'), { mode: 0o644 })
  await assert.rejects(open({ pskFile }), /others may read it. Do `chmod 600/)
  await chmod(pskFile, 0o600)
  const files = await open({ pskFile })
  assert.equal(files.expiresAt, undefined)
  const { side } = files
  await writeFile(`${pskFile}.new`, line('alice') + line('bob'), { mode: 0o600 })
  await rename(`${pskFile}.new`, pskFile)
  for (let tries = 0; files.side === side && tries < 300; tries++) await sleep(10)
  assert.notEqual(files.side, side)
  await rm(pskFile)
  await until(/stays as it was: /)
  assert.ok(!logged.some((text) => text.includes('0123456789abcdef')))
})

test('lines of shared keys that make no sense are refused by number, without their keys', () => {
  const key = '00112233445566778899aabbccddeeff'
  assert.deepEqual(
    [...sharedKeysIn(`# of hosts\n\nalice:${key}\nbob:${key}00\n`, 'f').keys()],
    ['alice', 'bob'],
  )
  for (const wrong of [
    '',
    '# none',
    key,
    `:${key}`,
    `alice:${key.slice(2)}`,
    `alice:${key}0`,
    `alice:${key}\nalice:${key}`,
    'alice:secret',
  ])
    assert.throws(
      () => sharedKeysIn(wrong, 'f'),
      (error) => isRefused(error) && !String(error).includes(key) && !String(error).includes('secret'),
      wrong,
    )
})

test('an authority is made once, and issues for what can be named', async (t) => {
  const { folder, issue } = await begin(t)
  await assert.rejects(initAuthority(folder, { name: 'another', days: 1 }, usual), (error) =>
    hasCode(error, 'ALREADY_EXISTS'),
  )
  await issue(1)
  for (const name of ['', 'ca', '../n1', 'n 1', '*.example', 'n1,n2'])
    await assert.rejects(issueInto(folder, [name], 1, usual), isRefused, name)
  await assert.rejects(issueInto(join(folder, 'none'), ['n1'], 1, usual), (error) =>
    hasCode(error, 'NOT_FOUND'),
  )
})
