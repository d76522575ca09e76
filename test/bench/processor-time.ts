// Processor time from Linux' /proc: what a run costs, whoever else uses the machine.
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'

/** Name → process; what its descendants use is its own, but for those that are named themselves. */
export type Roots = Record<string, number>
/** Milliseconds of processor time, by the names of the roots. */
export type ProcessorTime = Record<string, number>

/** What has been used so far; undefined where there is no /proc. */
export function processorTime(roots: Roots): ProcessorTime | undefined {
  if (process.platform !== 'linux') return undefined
  const all = new Map(processes().map((one) => [one.pid, one]))
  const names = new Map(Object.entries(roots).map(([name, pid]) => [pid, name]))
  const sums: ProcessorTime = Object.fromEntries(Object.keys(roots).map((name) => [name, 0]))
  for (const { pid, ticks } of all.values()) {
    let ancestor: number | undefined = pid
    while (ancestor !== undefined && !names.has(ancestor)) ancestor = all.get(ancestor)?.parent
    const name = ancestor === undefined ? undefined : names.get(ancestor)
    if (name !== undefined) sums[name]! += ticks * millisecondsPerTick()
  }
  return sums
}

/** What was used between two looks. */
export function used(before: ProcessorTime, after: ProcessorTime): ProcessorTime {
  return Object.fromEntries(Object.entries(after).map(([name, ms]) => [name, ms - (before[name] ?? 0)]))
}

/** The child of `parent` whose command line `matches`, or undefined. */
export function childOf(parent: number, matches: RegExp): number | undefined {
  if (process.platform !== 'linux') return undefined
  return processes().find((one) => one.parent === parent && matches.test(commandOf(one.pid)))?.pid
}

function processes(): { pid: number; parent: number; ticks: number }[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const stat = readFileSync(`/proc/${name}/stat`, 'utf8')
        // Behind the name in parentheses: field 4 is the parent, 14 to 17 the own time and that of ended children.
        const fields = stat
          .slice(stat.lastIndexOf(')') + 2)
          .split(' ')
          .map(Number)
        return [{ pid: Number(name), parent: fields[1]!, ticks: fields.slice(11, 15).reduce((sum, one) => sum + one) }]
      } catch {
        // Ended since the folder was read.
        return []
      }
    })
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
  } catch {
    return ''
  }
}

let tickMs: number | undefined

function millisecondsPerTick(): number {
  tickMs ??= 1000 / Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))
  return tickMs
}
