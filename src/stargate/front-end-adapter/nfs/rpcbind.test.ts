/** The real `rpcbind`, in namespaces of its own: its port, and its socket in /run, are not this machine's. */
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { execFile, spawnSync } from 'node:child_process'
import { promisify } from 'node:util'

const folder = new URL('.', import.meta.url).href
const inNamespaces = ['-m', '-n', '--kill-child', '--pid', '--fork', '--mount-proc']

function missing(): string | false {
  for (const program of ['rpcbind', 'rpcinfo', 'ip', 'unshare'])
    if (spawnSync('sh', ['-c', `PATH=$PATH:/usr/sbin:/sbin command -v ${program}`]).status !== 0)
      return `${program} is not installed`
  return spawnSync('unshare', [...inNamespaces, 'true']).status === 0 ? false : 'namespaces need root'
}

/** Runs a program beside an `rpcbind`, with `rpcinfo()` at hand; resolves to the facts that it prints, as JSON. */
async function besideRpcbind(body: string): Promise<unknown> {
  const program = `
    import { execFileSync } from 'node:child_process'
    const { nodePlatform } = await import('${folder}../../../platform/node-platform.ts')
    const { RpcPrograms } = await import('${folder}nfs-server.ts')
    const { MemoryTree } = await import('${folder}memory-tree-for-tests.ts')
    const { nfs3Program } = await import('${folder}nfs3-protocol.ts')
    const { mount3Program } = await import('${folder}mount3-protocol.ts')
    const { connectRpc } = await import('${folder}rpc-client.ts')
    const { encodePortMapping } = await import('${folder}portmap2-protocol.ts')
    const platform = nodePlatform({ level: 'silent' })
    const tree = new MemoryTree()
    const start = () => new RpcPrograms({ platform, programs: [nfs3Program(tree.nfs), mount3Program(tree.mount)] })
    const rpcinfo = () =>
      execFileSync('rpcinfo', ['-p', '127.0.0.1'], { encoding: 'utf8' })
        .split('\\n')
        .filter((line) => /^ *10000[35]/.test(line))
        .map((line) => line.trim().split(/ +/).slice(0, 4).join(' '))
        .sort()
    const facts = []
    ${body}
    console.log(JSON.stringify(facts))`
  const script = `
    PATH=$PATH:/usr/sbin:/sbin
    ip link set lo up && mount -t tmpfs none /run && rpcbind
    exec "$0" --input-type=module -e "$1"`
  const args = [...inNamespaces, 'sh', '-ec', script, process.execPath, program]
  const { stdout } = await promisify(execFile)('unshare', args, { timeout: 60_000 })
  return JSON.parse(stdout)
}

const entries = (port: number): string[] => [
  `100003 3 tcp ${port}`,
  `100005 3 tcp ${port}`,
  `100005 3 udp ${port}`,
]

test(
  'rpcbind has our programs while we serve, and those of a node that died are replaced',
  { skip: missing() },
  async () => {
    const facts = await besideRpcbind(`
    const first = start()
    await first.listen('127.0.0.1:2049')
    facts.push(await first.announce('127.0.0.1:111'), rpcinfo())
    const second = start()
    await second.listen('127.0.0.1:2050')
    facts.push((await second.announce('127.0.0.1:111')).by, rpcinfo())
    await second.close()
    await first.close()
    facts.push(rpcinfo())
    // What a node leaves that dies without a word.
    for (const [program, protocol] of [[100003, 'tcp'], [100005, 'tcp'], [100005, 'udp']]) {
      const client = await connectRpc(platform, 'unix:/run/rpcbind.sock', 1000)
      const mapping = { program, version: 3, protocol: protocol === 'tcp' ? 6 : 17, port: 2051 }
      await client.call({ program: 100000, version: 2, procedure: 1 }, (writer) => encodePortMapping(writer, mapping), 1000)
      client.close()
    }
    facts.push(rpcinfo())
    const third = start()
    await third.listen('127.0.0.1:2052')
    facts.push(await third.announce('127.0.0.1:111'), rpcinfo())
    await third.close()
  `)
    assert.deepEqual(facts, [
      { by: 'rpcbind' },
      entries(2049),
      'nobody',
      entries(2049),
      [],
      entries(2051),
      { by: 'rpcbind' },
      entries(2052),
    ])
  },
)
