import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Manual } from './manual.ts'

const text = `# Title
Prose with apt install nothing.

## Install

    apt install ./ndfs_NEW.deb               on n2, and so on
    tickTime=500
    systemctl restart ndfs

## Other

    reboot
`

test('a command is typed as it stands in the document, with other words in place of its own', () => {
  const manual = new Manual(text)
  assert.equal(manual.command('apt install ./ndfs_NEW.deb', { NEW: '2' }), 'apt install ./ndfs_2.deb')
  assert.throws(() => manual.command('apt install nothing'), /has no command line/)
  assert.throws(() => manual.command('reboot', { now: 'later' }), /has no now/)
  assert.equal(
    manual.fileIn('Install', (line) => line.includes('=')),
    'tickTime=500\n',
  )
})

test('what nobody has typed of a section is told', () => {
  const manual = new Manual(text)
  manual.command('apt install ./ndfs_NEW.deb')
  manual.fileIn('Install', (line) => line.includes('='))
  assert.deepEqual(manual.unused(['Install']), ['Install: systemctl restart ndfs'])
  assert.throws(() => manual.unused(['Gone']), /has no commands in "Gone"/)
})
