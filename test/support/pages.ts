// The pages of the documentation, and the fenced blocks in them.
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))

/** Paths of all pages, from the project's folder. */
export const PAGES = [
  'README.md',
  'CONTRIBUTING.md',
  'CHANGELOG.md',
  ...readdirSync(`${root}docs`)
    .filter((name) => name.endsWith('.md'))
    .sort()
    .map((name) => `docs/${name}`),
]

export function readPage(page: string): string {
  return readFileSync(`${root}${page}`, 'utf8')
}

export interface Block {
  page: string
  /** Of its first line, counted from 1. */
  line: number
  /** The first word after the fence: `sh`, `json`, `text` … */
  language: string
  /** The second word: for `sh` and `text` the terminal, such as `terminal-2`. */
  terminal: string | null
  text: string
  /** The reason in the comment `<!-- not run: … -->` directly above the block. */
  notRun: string | null
  /** Nothing but blank lines stands between the block before it and this one. */
  follows: boolean
}

/** The fenced blocks of a page, from top to bottom. */
export function blocksOf(page: string, text: string = readPage(page)): Block[] {
  const lines = text.split('\n')
  const blocks: Block[] = []
  let endOfLast = -1
  for (let at = 0; at < lines.length; at++) {
    const fence = /^```(\w*)(?: (\S+))?$/.exec(lines[at]!)
    if (!fence) continue
    const end = lines.indexOf('```', at + 1)
    if (end < 0) throw new Error(`${page}:${at + 1}: the block has no end`)
    const [, language = '', terminal = null] = fence
    const notRun = /^<!-- not run: (.+) -->$/.exec(lines[at - 1] ?? '')?.[1] ?? null
    const follows = endOfLast >= 0 && lines.slice(endOfLast + 1, at).every((line) => line === '')
    blocks.push({ page, line: at + 2, language, terminal, text: lines.slice(at + 1, end).join('\n'), notRun, follows })
    endOfLast = end
    at = end
  }
  return blocks
}

/** The anchors of a page's headings, as GitHub makes them. */
export function anchorsOf(page: string): string[] {
  const prose = readPage(page).replace(/^```[\s\S]*?^```$/gm, '')
  return [...prose.matchAll(/^#+ (.*)$/gm)].map(([, title = '']) =>
    title
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  )
}
