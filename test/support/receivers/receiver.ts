// One server to deliver to, started on free loopback ports in a temporary folder. It ends together with its starter.
import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { launch, type RunningServer, type ServerCommand, untilReady } from '../../../temporal-config/stack/server.ts'

const SETPRIV = '/usr/bin/setpriv'
const RESTARTS = 5

/** A server of its kind that runs here and now. */
export interface Receiver {
  host: '127.0.0.1'
  port: number
  /** The server's own process, for tests that stop or kill it. */
  pid(): number
  /** Ends it in order and starts it again on the same port, with what it held. */
  restart(): Promise<void>
  /** Ends it and removes all that it wrote. */
  close(): Promise<void>
}

export interface ReceiverProcess {
  /** For messages. */
  name: string
  command: Omit<ServerCommand, 'log_file'>
  /** Holds all that the server writes; `temporaryFolder` makes one. Removed at the end. */
  folder: string
  port: number
  /** Asked until it is true. */
  answers: () => Promise<boolean>
  /** Runs after the server has ended, before its folder goes. */
  atEnd?: () => Promise<void> | void
}

/** Starts the server and returns once it answers; on failure nothing of it is left. */
export async function startReceiver(options: ReceiverProcess): Promise<Receiver> {
  const log = join(options.folder, 'server.log')
  let server: RunningServer
  // In the normal case `close` is called; this is for a starter that ends in another way.
  const killAtExit = () => {
    try {
      process.kill(server.process.pid, 'SIGKILL')
    } catch {
      // It has ended.
    }
    rmSync(options.folder, { recursive: true, force: true })
  }
  const start = async () => {
    server = await launch({ ...withItsStarter(options.command), log_file: log })
    await untilReady(server, options.name, log, 60_000, options.answers)
  }
  process.once('exit', killAtExit)
  const close = async () => {
    await server?.stop()
    await options.atEnd?.()
    process.off('exit', killAtExit)
    rmSync(options.folder, { recursive: true, force: true })
  }
  try {
    await start()
  } catch (error) {
    await close()
    throw error
  }
  return {
    host: '127.0.0.1',
    port: options.port,
    pid: () => server.process.pid,
    async restart() {
      await server.stop()
      for (let attempt = 1; ; attempt++) {
        try {
          return await start()
        } catch (error) {
          // Some connection going out may have been given the port meanwhile; it will not have it for long.
          if (attempt === RESTARTS) throw error
          await wait(1000)
        }
      }
    },
    close,
  }
}

/** Linux ends the server when its starter dies, also by kill -9. Elsewhere such a server stays. */
function withItsStarter<Command extends { program: string; args: string[]; user?: ServerCommand['user'] }>(
  command: Command,
): Command {
  if (!existsSync(SETPRIV)) return command
  return { ...command, program: SETPRIV, args: ['--pdeathsig', 'KILL', '--', command.program, ...command.args] }
}
