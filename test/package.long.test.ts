/** The Debian package: what is in it runs by itself, and what becomes of a machine where it is installed, removed and purged. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { ClusterFile } from '../src/local/local.ts'
import { run, tryRun } from './support/run.ts'
import { without } from './support/tools.ts'

const project = join(import.meta.dirname, '..')
const skip = without('dpkg-deb')
let folder: string
let file: string

const build = async (name: string): Promise<string> =>
  (
    await run(process.execPath, [join(project, 'scripts/package.ts'), '--out', join(folder, name)], {
      seconds: 300,
    })
  ).trim()

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ndfs-package-'))
  if (skip === false) file = await build('one')
})
after(() => rmSync(folder, { recursive: true, force: true }))

test('the same sources give the same package', { skip, timeout: 300_000 }, async () => {
  assert.ok(readFileSync(await build('two')).equals(readFileSync(file)))
})

test(
  'what is in the package runs by its own Node.js, wherever it lies',
  { skip, timeout: 180_000 },
  async () => {
    const root = join(folder, 'root')
    await run('dpkg-deb', ['-x', file, root])
    const ndfs = join(root, 'usr/bin/ndfs')
    const env = { PATH: '/usr/bin:/bin', HOME: folder, XDG_CONFIG_HOME: join(folder, 'config') }
    const { version } = JSON.parse(readFileSync(join(project, 'package.json'), 'utf8')) as { version: string }
    assert.equal(await run(ndfs, ['--version'], { env }), `${version}\n`)
    const example = join(root, 'etc/ndfs/ndfs.yaml.example')
    assert.equal(await run(ndfs, ['config', 'check', example], { env }), `${example}: no mistakes.\n`)
    const broken = join(folder, 'broken.yaml')
    writeFileSync(broken, readFileSync(example, 'utf8').replace('tier: flash', 'tier: flsh'))
    const { code, stdout } = await tryRun(ndfs, ['config', 'check', broken], { env })
    assert.deepEqual(
      [code, stdout],
      [1, `${broken}:36:53: disks[0].tier is "flsh": it should be flash or hdd\n`],
    )

    const dir = join(folder, 'cluster')
    const disk = ['--disk', 'flash:1GiB']
    await run(ndfs, ['up', '--detach', '--dir', dir, '--nodes', '1', ...disk], { env })
    try {
      const { nodes } = JSON.parse(readFileSync(join(dir, 'cluster.json'), 'utf8')) as ClusterFile
      assert.equal(readlinkSync(`/proc/${nodes[0].pid}/exe`), join(root, 'usr/lib/ndfs/node/bin/node'))
      assert.match(await run(ndfs, ['status', '--dir', dir], { env }), /^health +ok$/m)
    } finally {
      await run(ndfs, ['down', '--dir', dir], { env })
    }
  },
)

const skipRoot = skip || (process.getuid?.() === 0 ? without('unshare', 'mount', 'adduser') : 'needs root')

/** This machine's own files, seen through a layer that takes all changes and goes with the process. */
const inALayer = (script: string): string => `set -e
mount -t tmpfs tmpfs ${folder}/layer
cd ${folder}/layer
mkdir upper work root
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root
mount --bind /dev root/dev
mount -t proc proc root/proc
cp ${file} root/tmp/ndfs.deb
chroot root /bin/sh -ec '${script}'
`

test(
  'installing, removing and purging leave alone what guests have stored, and the key to it',
  { skip: skipRoot, timeout: 180_000 },
  async () => {
    mkdirSync(join(folder, 'layer'), { recursive: true })
    const script = inALayer(`
    dpkg -i /tmp/ndfs.deb >/tmp/log 2>&1 || { cat /tmp/log; exit 1; }
    stat -c "%U:%G %a" /etc/ndfs /var/lib/ndfs
    ndfs config check /etc/ndfs/ndfs.yaml.example
    setpriv --reuid ndfs --regid ndfs --init-groups touch /etc/ndfs/ndfs.yaml /etc/ndfs/cluster.key /var/lib/ndfs/member.json
    install -d -o ndfs /srv/ndfs/flash0 && touch /srv/ndfs/flash0/stored
    dpkg -r ndfs >>/tmp/log 2>&1
    ls /etc/ndfs /var/lib/ndfs /srv/ndfs/flash0
    dpkg -P ndfs >>/tmp/log 2>&1
    ls /etc/ndfs /var/lib/ndfs /srv/ndfs/flash0
    dpkg -i /tmp/ndfs.deb >/tmp/log 2>&1
    touch /var/lib/ndfs/removed
    dpkg -P ndfs >>/tmp/log 2>&1
    ls -d /etc/ndfs || ls /var/lib/ndfs /srv/ndfs/flash0
  `)
    const { stdout, stderr, code } = await tryRun('unshare', ['--mount', 'sh', '-c', script], {
      seconds: 120,
    })
    assert.equal(code, 0, stderr)
    assert.equal(
      stdout,
      `root:ndfs 770
ndfs:ndfs 750
/etc/ndfs/ndfs.yaml.example: no mistakes.
/etc/ndfs:
cluster.key
ndfs.yaml
ndfs.yaml.example

/srv/ndfs/flash0:
stored

/var/lib/ndfs:
member.json
/etc/ndfs:
cluster.key
ndfs.yaml

/srv/ndfs/flash0:
stored

/var/lib/ndfs:
member.json
/srv/ndfs/flash0:
stored

/var/lib/ndfs:
member.json
removed
`,
    )
  },
)

test(
  'lintian finds no error in the package',
  { skip: skip || without('lintian'), timeout: 180_000 },
  async () => {
    const { stdout, code } = await tryRun('lintian', ['--fail-on', 'error', file], { seconds: 170 })
    assert.equal(code, 0, stdout)
  },
)
