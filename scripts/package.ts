/**
 * `npm run package [-- --out DIR] [--version VERSION]`: a Debian package of one node, as `dist-packages/ndfs_VERSION_ARCHITECTURE.deb`. With another version
 * than package.json's, dpkg and the program itself name that: a next release of the same code, for tests of upgrades.
 *
 *   /usr/lib/ndfs/dist, package.json     the program, compiled
 *   /usr/lib/ndfs/node_modules           what it needs, as package-lock.json pins it
 *   /usr/lib/ndfs/node/bin/node          the Node.js that it was tested with
 *   /usr/bin/ndfs                        runs the one by the other
 *   /lib/systemd/system/ndfs.service     and the manual page, an example of a configuration, copyright, changelog
 *
 * The same commit gives the same bytes: times are those of the commit, owners root, and dpkg-deb sorts.
 */
import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { gzipSync } from 'node:zlib'
import { ndfsCommand } from '../cli/main.ts'
import { configExample } from '../src/local/config-file/config-example.ts'
import { manPage } from './man-page.ts'

const root = join(import.meta.dirname, '..')
const deploy = (name: string): string => join(root, 'deploy', name)

/** Debian's names of what Node.js calls `process.arch`. */
const architectures: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' }
/** Of a package: what a program reads while it runs, and licences. What was compiled for other machines, or by this one, is none of it. */
function isPartOf(path: string, isFolder: boolean): boolean {
  const name = basename(path)
  if (name === 'node_modules' || name.startsWith('.')) return false
  if (isFolder) return !/^(?:test|tests|spec|docs|benchmarks?|examples|integration|types|typings)$/.test(path)
  if (name.endsWith('.node')) return !/^build\//.test(path) && !isForOthers(name)
  return /\.(?:[cm]?js|json|wasm)$/.test(name) || /^(?:licen[cs]e|notice|copying)/i.test(name)
}

const isForOthers = (name: string): boolean =>
  /musl|darwin|win32/.test(name) || (/x64|arm64/.test(name) && !name.includes(process.arch))

interface PackageFile {
  readonly version: string
  readonly license?: string
}
interface Lock {
  readonly packages: Readonly<
    Record<string, PackageFile & { readonly dev?: boolean; readonly optional?: boolean }>
  >
}
const json = <T>(path: string): T => JSON.parse(readFileSync(path, 'utf8')) as T

function build(out: string, wished: string | undefined): string {
  const architecture = architectures[process.arch]
  if (architecture === undefined) throw new Error(`There is no package for ${process.arch}.`)
  const manifest = json<PackageFile>(join(root, 'package.json'))
  const version = wished ?? manifest.version
  const seconds = Number(git('log', '-1', '--format=%ct'))
  const stage = mkdtempSync(join(tmpdir(), 'ndfs-package-'))
  try {
    chmodSync(stage, 0o755)
    const put = (path: string, content: string | Buffer, mode = 0o644): void => {
      const file = join(stage, path)
      mkdirSync(dirname(file), { recursive: true })
      writeFileSync(file, content)
      chmodSync(file, mode)
    }
    const read = (name: string): string => readFileSync(deploy(name), 'utf8')
    stageProgram(stage)
    // Where the program has its version from, and where Node.js looks.
    for (const file of ['package.json', 'dist/src/base/version.js']) {
      const path = join(stage, 'usr/lib/ndfs', file)
      writeFileSync(path, readFileSync(path, 'utf8').replace(manifest.version, version))
    }
    const bundled = stagePackages(stage)
    put('usr/bin/ndfs', read('ndfs.sh'), 0o755)
    put('lib/systemd/system/ndfs.service', read('ndfs.service'))
    put('etc/ndfs/ndfs.yaml.example', configExample)
    const page = manPage({
      template: read('ndfs.8.in'),
      ndfs: ndfsCommand({ entry: '', nodeOptions: [] }),
      version,
      date: new Date(seconds * 1000).toISOString().slice(0, 10),
    })
    put('usr/share/man/man8/ndfs.8.gz', gzipSync(page, { level: 9 }))
    put('usr/share/doc/ndfs/copyright', copyright(bundled))
    put('usr/share/doc/ndfs/changelog.gz', gzipSync(changelog(version, seconds), { level: 9 }))
    put('usr/share/doc/ndfs/NEWS.gz', gzipSync(readFileSync(join(root, 'CHANGELOG.md')), { level: 9 }))
    put('usr/share/doc/ndfs/operating.md', readFileSync(join(root, 'docs/operating.md')))
    put('usr/share/lintian/overrides/ndfs', read('debian/lintian-overrides'))
    normalizeModes(stage)
    const control = read('debian/control.in').replaceAll(
      /@([A-Z]+)@/g,
      (_, word: string) =>
        ({ VERSION: version, ARCHITECTURE: architecture, SIZE: String(kibibytesIn(stage)) })[word] ?? '',
    )
    put('DEBIAN/control', control)
    put('DEBIAN/conffiles', '/etc/ndfs/ndfs.yaml.example\n')
    for (const script of ['postinst', 'prerm', 'postrm'])
      put(`DEBIAN/${script}`, read(`debian/${script}`), 0o755)
    mkdirSync(out, { recursive: true })
    const file = join(out, `ndfs_${version}_${architecture}.deb`)
    run('dpkg-deb', ['--root-owner-group', '-Zxz', '-z2', '--build', stage, file], {
      SOURCE_DATE_EPOCH: String(seconds),
    })
    return file
  } finally {
    rmSync(stage, { recursive: true, force: true })
  }
}

function stageProgram(stage: string): void {
  const lib = join(stage, 'usr/lib/ndfs')
  run(process.execPath, [
    ...[join(root, 'node_modules/typescript/bin/tsc'), '-p', join(root, 'tsconfig.build.json')],
    ...[
      '--outDir',
      join(lib, 'dist'),
      '--sourceMap',
      'false',
      '--incremental',
      'false',
      '--tsBuildInfoFile',
      'null',
    ],
  ])
  cpSync(join(root, 'package.json'), join(lib, 'package.json'))
}

/** Each package's name, version and licence. */
function stagePackages(stage: string): string[] {
  const lib = join(stage, 'usr/lib/ndfs')
  const { packages } = json<Lock>(join(root, 'package-lock.json'))
  const bundled: string[] = []
  for (const [path, { dev, optional, version, license }] of Object.entries(packages)) {
    if (path === '' || dev === true) continue
    const from = join(root, path)
    if (!existsSync(from)) {
      if (optional === true) continue
      throw new Error(`${path} is not installed: run npm ci.`)
    }
    if (/^node_modules\/node-linux-/.test(path)) {
      mkdirSync(join(lib, 'node/bin'), { recursive: true })
      cpSync(join(from, 'bin/node'), join(lib, 'node/bin/node'))
      cpSync(join(from, 'LICENSE'), join(lib, 'node/LICENSE'))
      bundled.push(`Node.js ${version} (its licence: /usr/lib/ndfs/node/LICENSE)`)
      continue
    }
    cpSync(from, join(lib, path), {
      recursive: true,
      dereference: true,
      // Packages below one are entries of their own.
      filter: (source) => source === from || isPartOf(relative(from, source), statSync(source).isDirectory()),
    })
    bundled.push(
      `${path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length)} ${version} (${license ?? 'see its folder'})`,
    )
  }
  if (!existsSync(join(lib, 'node/bin/node'))) throw new Error('node-linux-* is not installed: run npm ci.')
  return bundled
}

const copyright = (bundled: readonly string[]): string => `NDFS

Copyright 2026 The NDFS authors

Licensed under the Apache License, Version 2.0. On Debian systems its text is in /usr/share/common-licenses/Apache-2.0.

The package contains other programs, each under a licence of its own, whose text stands beside it in /usr/lib/ndfs:

${bundled.map((line) => ` ${line}`).join('\n')}
`

/** dpkg's form. What is new in a release is told in NEWS. */
const changelog = (version: string, seconds: number): string => `ndfs (${version}) unstable; urgency=medium

  * What is new is told in NEWS.gz.

 -- The NDFS authors <ndfs@localhost>  ${new Date(seconds * 1000).toUTCString().replace('GMT', '+0000')}
`

function normalizeModes(folder: string): void {
  chmodSync(folder, 0o755)
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) normalizeModes(path)
    // Whatever npm made executable is run by nobody here.
    else chmodSync(path, /\/usr\/bin\/|\/node\/bin\/node$/.test(path) ? 0o755 : 0o644)
  }
}

function kibibytesIn(folder: string): number {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).reduce(
    (sum, name) => sum + Math.ceil(statSync(join(folder, name)).size / 1024),
    0,
  )
}

function git(...args: string[]): string {
  return execFileSync('git', args, { cwd: root, encoding: 'utf8' }).trim()
}

function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): void {
  execFileSync(command, args, { stdio: ['ignore', 'ignore', 'inherit'], env: { ...process.env, ...env } })
}

const { values } = parseArgs({
  options: { out: { type: 'string', default: join(root, 'dist-packages') }, version: { type: 'string' } },
})
console.log(build(resolve(values.out), values.version))
