/**
 * A chart as SVG: a group of bars for each job, each group on its own scale, since what is compared are the bars of one group. Each bar bears
 * its name and its figure, so that no colour must be told from another; text and bars suit light and dark pages.
 */
export interface Chart {
  readonly title: string
  readonly groups: readonly Group[]
  /** Below the bars, small. */
  readonly notes: readonly string[]
}
export interface Group {
  readonly name: string
  readonly bars: readonly Bar[]
}
export interface Bar {
  readonly name: string
  readonly value: number
  /** The figure in words. */
  readonly text: string
  /** How many times this value ours is. */
  readonly ratio?: number
  readonly kind: 'ours' | 'peer' | 'estimate'
}

const width = 860
const margin = 24
const nameWidth = 96
const labelWidth = 210
const barHeight = 16
const barGap = 4
const groupGap = 18
const titleHeight = 40
const nameHeight = 24
const noteHeight = 16
const barsLeft = margin + nameWidth
const barsWidth = width - barsLeft - labelWidth - margin

const style = `
  text { font: 12px system-ui, -apple-system, 'Segoe UI', sans-serif; fill: #1f2328 }
  .title { font-size: 16px; font-weight: 600 }
  .group { font-weight: 600 }
  .quiet, .note { fill: #656d76 }
  .note { font-size: 11px }
  .ours { fill: #0969da }
  .peer { fill: #afb8c1 }
  .estimate { fill: none; stroke: #afb8c1; stroke-dasharray: 3 2 }
  .ratio { font-weight: 600 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .quiet, .note { fill: #8d96a0 }
    .ours { fill: #4493f8 }
    .peer { fill: #545d68 }
    .estimate { stroke: #6e7681 }
  }`

export function chartSvg({ title, groups, notes }: Chart): string {
  const lines: string[] = []
  let y = margin + 12
  lines.push(text(margin, y, title, 'title'))
  y += titleHeight - 12
  for (const { name, bars } of groups) {
    y += nameHeight - 8
    lines.push(text(margin, y, name, 'group'))
    y += 8
    const largest = Math.max(...bars.map(({ value }) => value))
    for (const bar of bars) {
      lines.push(...barLines(bar, largest, y))
      y += barHeight + barGap
    }
    y += groupGap - barGap
  }
  for (const note of notes) {
    y += noteHeight
    lines.push(text(margin, y, note, 'note'))
  }
  const height = y + margin
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" ` +
    `role="img" aria-label="${escaped(title)}">\n<style>${style}\n</style>\n${lines.join('\n')}\n</svg>\n`
  )
}

function barLines({ name, value, text: figure, ratio, kind }: Bar, largest: number, y: number): string[] {
  const length = largest === 0 ? 0 : Math.max(1, Math.round((value / largest) * barsWidth))
  const base = y + barHeight - 4
  const label = `<tspan>${escaped(figure)}</tspan>${ratio === undefined ? '' : `<tspan class="ratio" dx="10">NDFS ${ratioText(ratio)}</tspan>`}`
  return [
    text(margin, base, name, kind === 'ours' ? '' : 'quiet'),
    `<rect class="${kind}" x="${barsLeft}" y="${y}" width="${length}" height="${barHeight}" rx="2"/>`,
    `<text x="${barsLeft + length + 8}" y="${base}">${label}</text>`,
  ]
}

export const ratioText = (ratio: number): string => `${ratio.toFixed(ratio >= 10 ? 0 : ratio >= 1 ? 1 : 2)}×`

const text = (x: number, y: number, content: string, kind: string): string =>
  `<text${kind === '' ? '' : ` class="${kind}"`} x="${x}" y="${y}">${escaped(content)}</text>`

const escaped = (content: string): string =>
  content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
