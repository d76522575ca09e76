// Shells in which the blocks of the documentation run, and the comparison of what they print with what the page shows.
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))
const END = '--- end of the block, code'
const BLOCK_MS = 90_000

/** Ends the whole group once the test's process, whose id is `$0`, is gone: a killed run leaves no loop behind. */
const GUARD = '(while kill -0 "$0"; do sleep 5; done; kill -KILL -$$) </dev/null >/dev/null 2>&1 &'

export interface PageShell {
  /** Runs a block in this shell, whose variables and functions stay; answers what it printed. Throws unless it ends with 0. */
  run(script: string): Promise<string>
  close(): void
}

/** One bash. Through `cat`, because Node's own pipes are sockets, which `/dev/stderr` cannot open. */
export function openShell(env: Record<string, string>): PageShell {
  const folder = mkdtempSync(join(tmpdir(), 'distributor-page-'))
  const child = spawn('sh', ['-c', `${GUARD} bash -s 2>&1 | cat`, String(process.pid)], {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['pipe', 'pipe', 'inherit'],
    detached: true,
  })
  const output = gather(child)
  const file = join(folder, 'block.sh')
  return {
    async run(script) {
      writeFileSync(file, script)
      const from = output.text().length
      child.stdin!.write(`. ${file} </dev/null; printf '\\n%s %d\\n' '${END}' $?\n`)
      const [, printed = '', code] = await output.until(new RegExp(`^([\\s\\S]*?)\\n${END} (\\d+)\\n`), from)
      if (code !== '0') throw new Error(`the block ended with code ${code}:\n${script}\n${printed}`)
      return printed
    },
    close() {
      stop(child, 'SIGKILL')
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

export interface Terminal {
  script: string
  /** All that it has printed. */
  text(): string
  /** Ends it as Ctrl-C does. */
  close(): Promise<void>
}

/** A program that goes on beside the page, such as the service. */
export function openTerminal(script: string, env: Record<string, string>): Terminal {
  const child = spawn('bash', ['-c', `${GUARD}\n${script}`, String(process.pid)], {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  const output = gather(child)
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()))
  return {
    script,
    text: output.text,
    async close() {
      stop(child, 'SIGINT')
      await ended
    },
  }
}

function stop(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.exitCode === null && child.pid) process.kill(-child.pid, signal)
}

function gather(child: ChildProcess) {
  let all = ''
  let look = () => {}
  let end = () => {}
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      all += chunk
      look()
    })
  }
  child.once('close', () => end())
  return {
    text: () => all,
    /** What `pattern` finds in the output behind `from`, now or later. One caller at a time. */
    until: (pattern: RegExp, from: number) =>
      new Promise<RegExpExecArray>((resolve, reject) => {
        const fail = (what: string) => reject(new Error(`${what}:\n${all.slice(from)}`))
        const timer = setTimeout(() => fail('the block does not end'), BLOCK_MS)
        end = () => fail('the shell ended')
        look = () => {
          const found = pattern.exec(all.slice(from))
          if (!found) return
          clearTimeout(timer)
          resolve(found)
        }
        look()
      }),
  }
}

const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g
const TIME = /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g
/** Durations and counts that depend on the machine. */
const NUMBER = /(\b[\w-]*(?:_ms|_seconds|bytes|pid|retry-after)"? ?: ?)\d+(\.\d+)?/g
const WORDED = /\b\d+(\.\d+)?( s\b| ms\b| migrations\b|@)/g

/** What differs from run to run, such as ids and times, as one word each; and JSON with one kind of spaces. */
export function normalise(text: string): string {
  return text
    .replace(UUID, '<id>')
    .replace(TIME, '<time>')
    .replace(NUMBER, '$1<n>')
    .replace(WORDED, '<n>$2')
    .replace(/" ?: ?/g, '":')
    .replace(/, "/g, ',"')
    .replace(/[ \t\r]+$/gm, '')
    .trim()
}

/** A pattern of an output that a page shows. `…` stands for anything, and alone on a line for any number of lines. */
export function patternOf(shown: string): string {
  const lines = normalise(shown).split('\n')
  return lines
    .map((line, at) => {
      const end = at === lines.length - 1 ? '' : '\\n'
      if (line.trim() === '…') return end === '' ? '[\\s\\S]*' : '(?:.*\\n)*?'
      return line.split('…').map(literally).join('.*?') + end
    })
    .join('')
}

function literally(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')
}
