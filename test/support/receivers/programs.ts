// Programs of the servers that tests and demo deliver to: found on this machine, else installed. None is needed to run
// the product.
import { spawn } from 'node:child_process'
import { accessSync, constants, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { alone } from '../../../temporal-config/alone.mjs'
import { fetchingEnvironment, wholeEnvironment } from '../../../temporal-config/process/settings.ts'
import { buildWithGo, findGo } from '../../../temporal-config/stack/go.mjs'
import { programFolder } from '../../../temporal-config/stack/temporal-program.ts'

/** Where Debian puts servers, which is not on everybody's PATH. */
const SERVER_FOLDERS = ['/usr/sbin', '/usr/local/sbin', '/usr/lib/postgresql/15/bin']

interface Source {
  /** The program's file name. */
  program: string
  /** Debian's package. */
  apt?: string
  /** Go's command. */
  go?: string
}

/** By the name that the rest of the project uses. Versions of Go commands are those that build with Go 1.25. */
const SOURCES = {
  rabbitmq: { program: 'rabbitmq-server', apt: 'rabbitmq-server' },
  sshd: { program: 'sshd', apt: 'openssh-server' },
  mariadb: { program: 'mariadbd', apt: 'mariadb-server' },
  pgbouncer: { program: 'pgbouncer', apt: 'pgbouncer' },
  versitygw: { program: 'versitygw', go: 'github.com/versity/versitygw/cmd/versitygw@v1.8.0' },
  mailpit: { program: 'mailpit', go: 'github.com/axllent/mailpit@v1.27.11' },
  // Its own name is `server`.
  toxiproxy: { program: 'toxiproxy-server', go: 'github.com/Shopify/toxiproxy/v2/cmd/server@v2.5.0' },
} satisfies Record<string, Source>

export type ReceiverProgram = keyof typeof SOURCES
export const RECEIVER_PROGRAMS = Object.keys(SOURCES) as ReceiverProgram[]

/** The program's path where it is here already; installs nothing. */
export function findProgram(name: ReceiverProgram): string | undefined {
  const { program }: Source = SOURCES[name]
  const env = wholeEnvironment()
  const folders = [...(env.PATH ?? '').split(delimiter).filter(Boolean), ...SERVER_FOLDERS, programFolder(env)]
  return folders.map((folder) => join(folder, program)).find(isExecutable)
}

/** How a person gets it. */
export function howToGet(name: ReceiverProgram): string {
  const { apt, go, program }: Source = SOURCES[name]
  return apt ? `on Debian: apt-get install ${apt}` : `go install ${go}, called ${program} on PATH`
}

/** Whether `obtainProgram` has a way to get it here, or it is here already. */
export async function canObtain(name: ReceiverProgram): Promise<boolean> {
  if (findProgram(name)) return true
  const source: Source = SOURCES[name]
  return source.apt ? canUseApt() : (await findGo()) !== undefined
}

/**
 * The program's path; installed first where it is missing, by one process at a time: with apt as root on Debian, or with
 * Go into this user's cache. Throws with how to get it when that fails.
 */
export async function obtainProgram(name: ReceiverProgram, say: (line: string) => void): Promise<string> {
  const found = findProgram(name)
  if (found) return found
  const lock = join(tmpdir(), 'distributor-receivers.lock')
  return alone(lock, 'installing a server to deliver to', () => install(name, say), say)
}

async function install(name: ReceiverProgram, say: (line: string) => void): Promise<string> {
  const { apt, go, program }: Source = SOURCES[name]
  // Another process may have done it while this one waited.
  const found = findProgram(name)
  if (found) return found
  const began = performance.now()
  say(`${go ? `building ${program} with Go, once, about 2 to 3 minutes` : `installing ${program}`} …`)
  try {
    if (apt) await installWithApt(apt)
    else await installWithGo(go!, program, say)
  } catch (error) {
    throw new Error(`no ${program} here, and it cannot be installed: ${(error as Error).message}. ${howToGet(name)}`)
  }
  say(`installing ${program}: done in ${((performance.now() - began) / 1000).toFixed(1)} s`)
  const installed = findProgram(name)
  if (!installed) throw new Error(`${program} was installed, but it is not where it should be. ${howToGet(name)}`)
  return installed
}

async function installWithGo(target: string, name: string, say: (line: string) => void): Promise<void> {
  const go = await findGo()
  if (!go) throw new Error('there is no Go to build it with')
  const folder = programFolder(wholeEnvironment())
  mkdirSync(folder, { recursive: true })
  await buildWithGo(go.program, { target, folder, name, env: fetchingEnvironment(), say })
}

function canUseApt(): boolean {
  return process.getuid?.() === 0 && existsSync('/usr/bin/apt-get')
}

/** Debian's packages start their servers at once; ours are started by hand, elsewhere. */
const POLICY = '/usr/sbin/policy-rc.d'

async function installWithApt(name: string): Promise<void> {
  if (!canUseApt()) throw new Error('apt-get needs root on Debian')
  const ownPolicy = !existsSync(POLICY)
  if (ownPolicy) writeFileSync(POLICY, '#!/bin/sh\nexit 101\n', { mode: 0o755 })
  try {
    const packages = ['install', '-qq', '-y', '--no-install-recommends', name]
    try {
      await run('apt-get', packages)
    } catch {
      // The lists of packages may be missing or old.
      await run('apt-get', ['update', '-qq'])
      await run('apt-get', packages)
    }
  } finally {
    if (ownPolicy) rmSync(POLICY, { force: true })
  }
}

function run(command: string, args: string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const env = { ...fetchingEnvironment(), DEBIAN_FRONTEND: 'noninteractive' }
    const child = spawn(command, args, { env, stdio: ['ignore', 'ignore', 'pipe'] })
    let errors = ''
    child.stderr.on('data', (chunk) => {
      errors = (errors + chunk).slice(-2000)
    })
    child.once('error', reject)
    child.once('close', (code) => {
      if (code === 0) resolve()
      else reject(new Error(errors.trim().split('\n').slice(-3).join(' ') || `${command} ended with code ${code}`))
    })
  })
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}
