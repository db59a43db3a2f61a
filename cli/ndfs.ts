#!/usr/bin/env node
// The first lines run on any Node.js that knows modules, and import nothing that needs a newer one: a machine with an
// old Node.js hears a sentence, or is served by the Node.js that came with the package.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const [majorMin, minorMin] = [22, 13]
const [major, minor] = process.versions.node.split('.').map(Number)

if (major > majorMin || (major === majorMin && minor >= minorMin)) {
  const { main } = await import('./main.ts')
  await main({ entry: fileURLToPath(import.meta.url), nodeOptions: process.execArgv })
} else {
  const newer = nodeOfThePackage()
  if (newer === undefined) {
    console.error(
      `Cannot run ndfs: this is Node.js ${process.versions.node} and it needs ${majorMin}.${minorMin} or newer. ` +
        'Install Node.js 24 (LTS), or run `npm ci` here, which brings one on Linux.',
    )
    process.exitCode = 1
  } else runWith(newer)
}

/** The optional package node-linux-ARCH, wherever npm put it. */
function nodeOfThePackage(): string | undefined {
  try {
    const packageFile = createRequire(import.meta.url).resolve(`node-linux-${process.arch}/package.json`)
    const node = join(dirname(packageFile), 'bin', 'node')
    return existsSync(node) ? node : undefined
  } catch {
    return undefined
  }
}

function runWith(node: string): void {
  const child = spawn(node, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], { stdio: 'inherit' })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal))
  child.on('exit', (code, signal) => {
    process.exitCode = code ?? 1
    if (signal !== null) process.kill(process.pid, 'SIGKILL')
  })
}
