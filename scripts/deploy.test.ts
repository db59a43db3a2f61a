import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { test } from 'node:test'
import { parse } from 'yaml'
import { parseConfigFile } from '../src/local/config-file/config-file.ts'

const read = (name: string): string => readFileSync(join(import.meta.dirname, '../deploy', name), 'utf8')

interface Compose {
  readonly services: Record<string, { networks: { ndfs: { ipv4_address?: string } }; volumes: string[] }>
  readonly volumes: Record<string, null>
}

test('the nodes of deploy/compose.yaml run by configurations without mistakes, at the addresses that it gives them', () => {
  const { services, volumes } = parse(read('compose.yaml'), { merge: true }) as Compose
  for (const node of ['n1', 'n2', 'n3']) {
    const parsed = parseConfigFile(read(`compose/${node}.yaml`))
    assert.ok('config' in parsed, JSON.stringify(parsed))
    const { config } = parsed
    assert.equal(config.node, node)
    for (const address of Object.values(config.listen))
      assert.ok(address?.startsWith(`${services[node].networks.ndfs.ipv4_address}:`))
    const servers = [
      ...(config.zeus.zookeeper?.servers ?? []).map((server) => server.replace(/:2181$/, '')),
      ...(config.medusa.cassandra?.contactPoints ?? []),
    ]
    assert.equal(servers.length, 6)
    for (const server of servers) assert.ok(server in services, server)
  }
  const mounted = Object.values(services).flatMap((service) =>
    service.volumes.map((one) => one.split(':')[0]),
  )
  assert.deepEqual(mounted.sort(), Object.keys(volumes).sort())
})

interface Entry {
  readonly said: (text: string) => Promise<void>
  readonly stop: () => void
  readonly ended: Promise<{ code: number | null; out: string }>
  readonly running: () => boolean
}

/** The container's entry point, with a program of these lines in place of `ndfs`. */
async function withEntry(lines: string, args: readonly string[], work: (entry: Entry) => Promise<void>) {
  const folder = mkdtempSync(join(tmpdir(), 'ndfs-entry-'))
  writeFileSync(join(folder, 'ndfs'), `#!/bin/sh\n${lines}\n`, { mode: 0o755 })
  const child = spawn(join(import.meta.dirname, '../deploy/container-entry.sh'), args, {
    env: { PATH: [folder, process.env.PATH].join(delimiter) },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let out = ''
  const heard = new Set<() => void>()
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (bytes: Buffer) => {
      out += bytes.toString()
      for (const hear of heard) hear()
    })
  const ended = new Promise<{ code: number | null; out: string }>((resolve) =>
    child.once('close', (code) => resolve({ code, out })),
  )
  const said = (text: string): Promise<void> =>
    new Promise((resolve) => {
      const hear = (): void => (out.includes(text) ? resolve() : undefined)
      heard.add(hear)
      hear()
    })
  try {
    const stop = (): void => void child.kill('SIGTERM')
    await work({ said, stop, ended, running: () => child.exitCode === null && child.signalCode === null })
  } finally {
    child.kill('SIGTERM')
    await ended
    rmSync(folder, { recursive: true })
  }
}

const entryTest = { timeout: 20_000 }

test(
  'a container whose node may not be started again by itself stays, empty, until it is told to stop',
  entryTest,
  async () => {
    for (const [code, why] of [
      [4, 'it was removed from its cluster'],
      [5, 'its release does not serve'],
    ] as const)
      await withEntry(
        `echo node; exit ${code}`,
        ['node', '--json'],
        async ({ said, stop, ended, running }) => {
          await said(`The node has ended with exit code ${code} and is not started again: ${why}`)
          assert.ok(running())
          stop()
          const { code: last, out } = await ended
          assert.equal(last, code)
          assert.equal(out.match(/^node$/gm)?.length, 1)
        },
      )
  },
)

test(
  'a container ends as its node does with any other code, so that its policy starts it again',
  entryTest,
  async () => {
    for (const code of [0, 1, 3])
      await withEntry(`exit ${code}`, ['node'], async ({ ended }) => {
        assert.deepEqual(await ended, { code, out: '' })
      })
  },
)

test(
  'the order to stop reaches the node, and the container waits until it has sealed its logs',
  entryTest,
  () =>
    withEntry(
      `trap 'sleep 1; echo sealed; exit 0' TERM; echo serves; while :; do sleep 0.1; done`,
      ['node'],
      async ({ said, stop, ended }) => {
        await said('serves')
        stop()
        assert.deepEqual(await ended, { code: 0, out: 'serves\nsealed\n' })
      },
    ),
)

test('a removed node that was told to stop leaves no empty container behind', entryTest, () =>
  withEntry(
    `trap 'exit 4' TERM; echo serves; while :; do sleep 0.1; done`,
    ['node'],
    async ({ said, stop, ended }) => {
      await said('serves')
      stop()
      assert.deepEqual(await ended, { code: 4, out: 'serves\n' })
    },
  ),
)

test(
  'any other command of the container is that command itself, with its input and its code',
  entryTest,
  () =>
    withEntry('echo "$@"; exit 4', ['init', '--yes', 'a b'], async ({ ended }) => {
      assert.deepEqual(await ended, { code: 4, out: 'init --yes a b\n' })
    }),
)
