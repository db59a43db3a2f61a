/** `ndfs certificate`: what nodes prove themselves by, where operators have no authority of their own. */
import { resolve } from 'node:path'
import type { Command } from 'commander'
import { initAuthority, issueInto } from '../src/local/certificate-files.ts'
import { countArgument } from './arguments.ts'
import { consoleOutput } from './console-output.ts'
import { commandPlatform } from './processes.ts'

interface CertificateOptions {
  readonly dir: string
  readonly days: number
  readonly json?: boolean
}

const daysMax = 36_500
const authorityDays = 3650
/** What public authorities may give at the most: often enough that it is no surprise. */
const nodeDays = 397

export function addCertificateCommands(ndfs: Command): void {
  const certificate = ndfs
    .command('certificate')
    .description('certificates for TLS between nodes, and for clients of NBD')
  const leaf = (name: string, description: string, days: number): Command =>
    certificate
      .command(name)
      .description(description)
      .requiredOption('--dir <dir>', 'the folder of the authority: keep it off the nodes')
      .option('--days <n>', 'how long it holds', countArgument(1, daysMax), days)
      .option('--json', 'the result as JSON')
  leaf('init', 'makes an authority', authorityDays)
    .option('--name <name>', 'what it is called in certificates', 'NDFS')
    .action(async ({ dir, days, json, name }: CertificateOptions & { name: string }) => {
      const made = await initAuthority(resolve(dir), { name, days }, commandPlatform())
      consoleOutput(json).result(
        made,
        `Made the authority ${name}. Nodes get ${made.certFile}; ${made.keyFile} stays here.`,
      )
    })
  leaf('issue', 'issues a certificate, in place of an older one of that name', nodeDays)
    .argument('<name>', 'a node (`n1`), the `store`, or a client')
    .argument('[hosts...]', 'names and addresses by which it is called: clients of NBD look for those')
    .action(async (name: string, hosts: string[], { dir, days, json }: CertificateOptions) => {
      const made = await issueInto(resolve(dir), [name, ...hosts], days, commandPlatform())
      consoleOutput(json).result(made, `Issued ${made.certFile}, with its key in ${made.keyFile}.`)
    })
}
