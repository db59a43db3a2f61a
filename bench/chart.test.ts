import assert from 'node:assert/strict'
import { test } from 'node:test'
import { chartSvg, ratioText } from './chart.ts'

const chart = (ours: number, peer: number): string =>
  chartSvg({
    title: 'Reads & writes',
    groups: [
      {
        name: 'read <cold>',
        bars: [
          { name: 'NDFS', value: ours, text: `${ours}/s`, kind: 'ours' },
          { name: 'Peer', value: peer, text: `${peer}/s`, kind: 'peer', ratio: ours / peer },
        ],
      },
    ],
    notes: ['a note'],
  })

const widths = (svg: string): number[] =>
  [...svg.matchAll(/<rect [^>]*width="(\d+)"/g)].map(([, width]) => Number(width))

test('bars are as long as their values, on the scale of their group', () => {
  const [ours, peer] = widths(chart(400, 100))
  assert(Math.abs(ours / peer - 4) < 0.05, `${ours} and ${peer}`)
})

test('a bar of next to nothing is seen, and one of nothing breaks nothing', () => {
  assert.deepEqual(widths(chart(1_000_000, 1))[1], 1)
  assert.deepEqual(widths(chart(0, 0)), [0, 0])
})

test('each bar bears its name and figure, and a peer the ratio', () => {
  const svg = chart(400, 100)
  for (const text of ['NDFS', 'Peer', '400/s', '100/s', 'NDFS 4.0×', 'a note'])
    assert(svg.includes(text), text)
})

test('what is written in it breaks no markup', () => {
  const svg = chart(1, 1)
  assert(svg.includes('Reads &amp; writes') && svg.includes('read &lt;cold&gt;'))
})

test('it has colours for light and for dark pages', () => {
  assert.match(chart(1, 1), /prefers-color-scheme: dark/)
})

test('ratios have as many digits as say something', () => {
  assert.equal(ratioText(12.4), '12×')
  assert.equal(ratioText(0.444), '0.44×')
})
