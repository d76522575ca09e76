// A lock between processes of this machine, for work that two of them must not do at once. Needs nothing but Node.
import { readFileSync, rmSync, writeFileSync } from 'node:fs'

/**
 * Runs `work` while no other process runs work under the same lock file. A process that has died
 * no longer holds the lock.
 *
 * @template T
 * @param {string} lock path of the lock file
 * @param {string} doing describes the work in the message to a process that waits
 * @param {() => Promise<T>} work
 * @param {(line: string) => void} [say]
 * @returns {Promise<T>}
 */
export async function alone(lock, doing, work, say = console.error) {
  await take(lock, doing, say)
  try {
    return await work()
  } finally {
    rmSync(lock, { force: true })
  }
}

async function take(lock, doing, say) {
  for (let told = false; ; ) {
    try {
      writeFileSync(lock, String(process.pid), { flag: 'wx' })
      return
    } catch (error) {
      if (error.code !== 'EEXIST') throw error
    }
    const pid = readPid(lock)
    if (pid !== undefined && !alive(pid)) rmSync(lock, { force: true })
    else {
      if (!told) say(`waiting for process ${pid}, which is ${doing}`)
      told = true
      await new Promise((resolve) => setTimeout(resolve, 200))
    }
  }
}

function readPid(lock) {
  try {
    return Number(readFileSync(lock, 'utf8')) || undefined
  } catch {
    return undefined
  }
}

/** @type {import('./alone.d.mts').alive} */
export function alive(pid) {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === 'EPERM'
  }
}
