/** `ndfs upgrade status` and `ndfs upgrade finish`: the cluster's format, and what the nodes' releases serve. */
import type { Command } from 'commander'
import type { UpgradeInfo } from '../src/management/management.ts'
import { clientFor, type Common, leaf } from './cluster-commands.ts'
import { consoleOutput } from './console-output.ts'
import { upgradeText } from './tables.ts'

export function addUpgradeCommands(ndfs: Command): void {
  const upgrade = ndfs.command('upgrade').description("the nodes' releases, and the format of the cluster")
  leaf(upgrade, 'status', 'which release each node has, and what finish would do').action(
    async (options: Common) => {
      const info = await (await clientFor(options)).get<UpgradeInfo>('/api/v1/upgrade')
      consoleOutput(options.json).result(info, upgradeText(info))
    },
  )
  leaf(
    upgrade,
    'finish',
    'raises the format to the newest that every node serves; there is no way back to releases that do not serve it',
  ).action(async (options: Common) => {
    const info = await (await clientFor(options)).change<UpgradeInfo>('POST', '/api/v1/upgrade/finish', {})
    consoleOutput(options.json).result(info, `The cluster's format is ${info.format}.`)
  })
}
