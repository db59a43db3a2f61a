/**
 * docs/operating.md as a person reads it who types what stands there: its command lines, the files that it shows, and which of both were used. So the document and
 * what was tried can't part.
 *
 * A command line is a line that is indented by four spaces; what stands behind two spaces or more is told about it. A file is an indented block below a line
 * that ends with the file's name and a colon.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const file = join(import.meta.dirname, '../../docs/operating.md')

interface Line {
  readonly section: string
  readonly text: string
}

export class Manual {
  readonly #lines: readonly Line[]
  readonly #used = new Set<string>()

  constructor(text = readFileSync(file, 'utf8')) {
    let section = ''
    this.#lines = text.split('\n').flatMap((line): Line[] => {
      section = /^#+ (.*)/.exec(line)?.[1] ?? section
      const [, shown] = /^ {4}(\S.*)/.exec(line) ?? []
      return shown === undefined ? [] : [{ section, text: shown.split(/ {2,}/)[0] }]
    })
  }

  /** The command line as it is typed: it must stand in the document word for word, and `words` take the place of the document's. */
  command(written: string, words: Readonly<Record<string, string>> = {}): string {
    assert.ok(
      this.#lines.some(({ text }) => text === written),
      `docs/operating.md has no command line "${written}"`,
    )
    this.#used.add(written)
    return Object.entries(words).reduce((line, [word, own]) => {
      assert.ok(line.includes(word), `"${written}" has no ${word}`)
      return line.replaceAll(word, own)
    }, written)
  }

  /** All indented lines of a section that begin as a line of that file does. */
  fileIn(section: string, isOfFile: (line: string) => boolean): string {
    const lines = this.#lines.filter((line) => line.section === section && isOfFile(line.text))
    assert.ok(lines.length > 0, `docs/operating.md shows no such file in "${section}"`)
    for (const { text } of lines) this.#used.add(text)
    return `${lines.map(({ text }) => text).join('\n')}\n`
  }

  /** What nobody has typed of these sections. */
  unused(sections: readonly string[]): readonly string[] {
    for (const section of sections)
      assert.ok(
        this.#lines.some((line) => line.section === section),
        `docs/operating.md has no commands in "${section}"`,
      )
    return this.#lines
      .filter(({ section, text }) => sections.includes(section) && !this.#used.has(text))
      .map(({ section, text }) => `${section}: ${text}`)
  }
}
