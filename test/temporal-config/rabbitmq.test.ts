// The RabbitMQ of tests and demo: what it leaves behind.
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { expect, it } from 'vitest'
import { runProgram } from '../support/programs.ts'
import { describeWith, INSTALL_MS } from '../support/receivers/needs.ts'
import { startRabbitmq } from '../support/receivers/rabbitmq.ts'

const describe = await describeWith('rabbitmq')
const onLinux = it.runIf(process.platform === 'linux')

/** The folder of the server with this pid; all of its processes have it in their environment. */
function folderOf(pid: number): string {
  return /\0HOME=([^\0]*)/.exec(`\0${readFileSync(`/proc/${pid}/environ`, 'utf8')}`)![1]!
}

/** Commands of the living processes that belong to the folder; zombies have no environment. */
function processesOf(folder: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const environment = readFileSync(`/proc/${pid}/environ`, 'utf8')
        return environment.includes(folder) ? [readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')[0]!] : []
      } catch {
        return []
      }
    })
}

describe('a RabbitMQ', () => {
  onLinux(
    'leaves neither process nor file when it is closed',
    async () => {
      const rabbitmq = await startRabbitmq({ user: 'tester', password: 'tested' })
      const folder = folderOf(rabbitmq.pid())
      expect(processesOf(folder).length).toBeGreaterThan(1)
      await rabbitmq.close()
      await expect.poll(() => processesOf(folder)).toEqual([])
      expect(existsSync(folder)).toBe(false)
    },
    INSTALL_MS,
  )

  onLinux('ends with its starter, by whatever way that ends', async () => {
    const holder = runProgram('test/support/receivers/rabbitmq-holder.ts')
    const line = await holder.line((text) => text.startsWith('holds '))
    const folder = folderOf(Number(line.split(' ')[1]))
    expect(processesOf(folder).length).toBeGreaterThan(1)
    holder.child.kill('SIGKILL')
    await holder.exited
    await expect.poll(() => processesOf(folder)).toEqual([])
    rmSync(folder, { recursive: true })
  })
})
