// Suspends a server and all its child processes: connections stay open, and nothing answers.
import { readdirSync, readFileSync } from 'node:fs'

/** Returns a function that lets them continue. */
export function freeze(pid: number): () => void {
  // The parent first, so that no child is added meanwhile.
  process.kill(pid, 'SIGSTOP')
  const all = [pid, ...childrenOf(pid)]
  for (const one of all.slice(1)) signal(one, 'SIGSTOP')
  return () => {
    for (const one of all.toReversed()) signal(one, 'SIGCONT')
  }
}

function childrenOf(pid: number): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((one) => one > 0 && parentOf(one) === pid)
}

function parentOf(pid: number): number | undefined {
  try {
    // The second field, the name, may hold spaces and brackets.
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
  } catch {
    return undefined
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {
    // It has ended meanwhile.
  }
}
