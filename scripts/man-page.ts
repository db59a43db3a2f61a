/** The manual page ndfs(8): deploy/ndfs.8.in, and the commands as the program itself knows them. */
import type { Command } from 'commander'

export interface ManPage {
  readonly template: string
  readonly ndfs: Command
  readonly version: string
  /** `2026-01-31` */
  readonly date: string
}

export function manPage({ template, ndfs, version, date }: ManPage): string {
  const words: Record<string, string> = {
    DATE: date,
    VERSION: version,
    COMMANDS: commandsIn(ndfs).join('\n'),
  }
  return template.replaceAll(/@([A-Z]+)@/g, (_, word: string) => words[word])
}

/** Those that can be given: a command that has nothing but subcommands is none. */
function commandsIn(command: Command): string[] {
  const help = command.createHelp()
  const options = help
    .visibleOptions(command)
    .filter(({ long }) => long !== '--help' && long !== '--version')
    .flatMap((option) => ['.TP', `\\fB${roff(option.flags)}\\fR`, roff(help.optionDescription(option))])
  const below = help.visibleCommands(command).filter((one) => one.name() !== 'help')
  const isOne = command.parent !== null && (below.length === 0 || options.length > 0)
  const own = isOne ? [`.SS "${roff(usageOf(command))}"`, `${roff(command.description())}.`, ...options] : []
  return [...own, ...below.flatMap(commandsIn)]
}

/** `ndfs vdisk create <container/name>`, without the options, which follow. */
function usageOf(command: Command): string {
  const names: string[] = []
  for (let one: Command | null = command; one !== null; one = one.parent) names.unshift(one.name())
  const values = command.registeredArguments.map((one) =>
    one.required ? `<${one.name()}>` : `[${one.name()}]`,
  )
  return [...names, ...values].join(' ')
}

/** Text that troff takes as it stands. */
const roff = (text: string): string =>
  text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('"', '\\(dq')
    .replaceAll("'", '\\(aq')
    .replace(/^\./, '\\&.')
