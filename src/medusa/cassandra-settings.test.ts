import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parse } from 'yaml'
import { cassandraYaml, requiredSettings } from './cassandra-config.ts'
import { settingsSentence, wrongSettings } from './cassandra-settings.ts'

const written = (): Map<string, string> => {
  const yaml = cassandraYaml({
    ...{
      cluster: 'c',
      address: '10.0.0.1',
      seeds: ['10.0.0.1'],
      datacenter: 'dc1',
      rack: 'b1',
      folder: '/d',
    },
  })
  return new Map(Object.entries(parse(yaml) as object).map(([name, value]) => [name, String(value)]))
}

test('C3: what is written for a server has all that is asked of it', () => {
  assert.deepEqual(
    wrongSettings(written()).map(({ setting }) => setting),
    [],
  )
})

test('C3: each setting that durability rests on is missed, by server, name, value, and what to set', () => {
  for (const [setting, wanted] of Object.entries(requiredSettings)) {
    const settings = written().set(setting, 'otherwise')
    const wrong = wrongSettings(settings)
    assert.deepEqual(wrong, [{ setting, value: 'otherwise', wanted }])
    settings.delete(setting)
    assert.equal(wrongSettings(settings)[0].value, undefined)
  }
  const sentence = settingsSentence('10.0.0.1:9042', [
    { setting: 'commitlog_sync', value: 'periodic', wanted: ['batch', 'group'] },
  ])
  assert.match(
    sentence,
    /10\.0\.0\.1:9042: commitlog_sync is periodic and must be batch or group\. Set it in/,
  )
})
