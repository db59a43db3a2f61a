/** `ndfs config`: the file that an operator writes for a node of a cluster of many machines. */
import type { Command } from 'commander'
import { NdfsError } from '../src/base/errors.ts'
import { consoleOutput } from './console-output.ts'
import { usualConfigFile } from '../src/local/find-api.ts'
import { commandPlatform } from './processes.ts'

export function addConfigCommands(ndfs: Command): void {
  const config = ndfs.command('config').description('the configuration of a node of many machines')
  config
    .command('check')
    .description('whether a configuration has mistakes: prints each with its line and column')
    .argument('[file]', 'the file (/etc/ndfs/ndfs.yaml)')
    .option('--json', 'the result as JSON')
    .action(async (given: string | undefined, { json }: { json?: boolean }) => {
      const { mistakeLine, parseConfigFile } = await import('../src/local/config-file/config-file.ts')
      const file = given ?? usualConfigFile
      const bytes = await commandPlatform().files.readWhole(file)
      if (bytes === undefined) throw new NdfsError('NOT_FOUND', `Cannot find the configuration ${file}.`)
      const parsed = parseConfigFile(bytes.toString())
      const mistakes = 'mistakes' in parsed ? parsed.mistakes : []
      const lines = mistakes.map((mistake) => mistakeLine(file, mistake))
      consoleOutput(json).result({ file, mistakes }, lines.join('\n') || `${file}: no mistakes.`)
      if (mistakes.length > 0) process.exitCode = 1
    })
  config
    .command('example')
    .description('prints a configuration to begin with')
    .action(async () => {
      const { configExample } = await import('../src/local/config-file/config-example.ts')
      process.stdout.write(configExample)
    })
}
