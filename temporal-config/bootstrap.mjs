// What every npm script runs first. It needs nothing but Node: it installs the packages when they are missing or older
// than the lock file, then becomes the program that was asked for.
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { alone } from './alone.mjs'
import { buildEarly } from './stack/early-temporal.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** Task → program, and whether it needs the development packages too. */
const tasks = {
  start: ['temporal-config/programs/start.ts', false],
  demo: ['test/demo/demo.ts', false],
  api: ['temporal-config/programs/api.ts', false],
  worker: ['temporal-config/programs/worker.ts', false],
  migrate: ['temporal-config/programs/migrate.ts', false],
  backup: ['temporal-config/programs/backup.ts', false],
  restore: ['temporal-config/programs/restore.ts', false],
  bench: ['test/bench/bench.ts', true],
  docs: ['test/docs.ts', true],
  test: ['test/run.mjs', true],
}

/** Tasks that start a Temporal server of their own unless one is named. */
const STARTS_TEMPORAL = new Set(['start', 'demo', 'test', 'bench'])

const [nodeMajor = 0, nodeMinor = 0] = process.versions.node.split('.').map(Number)
if (nodeMajor < 20 || (nodeMajor === 20 && nodeMinor < 19)) {
  refuse(`Node ${process.versions.node} is too old: 20.19 or newer is needed`)
}
const [name, ...args] = process.argv.slice(2)
const task = Object.hasOwn(tasks, name ?? '') ? tasks[name] : undefined
if (!task) refuse(`usage: bootstrap.mjs ${Object.keys(tasks).join('|')}`)
const [program, development] = task

if (!installed(development)) {
  // Not awaited: the program looks for Temporal when it needs it, and then waits for this build.
  if (STARTS_TEMPORAL.has(name)) buildEarly(process.env, console.error).catch((error) => console.error(error.message))
  await install(development)
}

// The S3 client warns about future Node requirements. An operator cannot act on that warning.
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true'

const file = join(root, program)
process.argv = [process.execPath, file, ...args]
// In this process, not in a child: signals arrive where they are handled, and a kill leaves no child behind.
const { register } = await import('tsx/esm/api')
register()
await import(pathToFileURL(file).href)

function refuse(line) {
  console.error(line)
  process.exit(1)
}

/** Whether node_modules holds what the lock file says; npm keeps its own list of what it has put there. */
function installed(withDevelopment) {
  const wanted = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages
  const listFile = join(root, 'node_modules', '.package-lock.json')
  if (!existsSync(listFile)) return false
  const present = JSON.parse(readFileSync(listFile, 'utf8')).packages
  return Object.entries(wanted).every(([path, entry]) => {
    // Optional ones are for other systems, or npm would have put them there.
    if (path === '' || entry.optional || entry.devOptional || (entry.dev && !withDevelopment)) return true
    return present[path]?.version === entry.version && existsSync(join(root, path, 'package.json'))
  })
}

async function install(withDevelopment) {
  const id = createHash('sha256').update(root).digest('hex').slice(0, 16)
  await alone(join(tmpdir(), `distributor-install-${id}.lock`), 'installing packages', async () => {
    // Another starter may have done it while this one waited.
    if (installed(withDevelopment)) return
    const began = performance.now()
    console.error('installing packages (npm ci) …')
    const code = await npm(['ci', '--no-audit', '--no-fund', '--ignore-scripts', '--include=dev', '--loglevel=error'])
    if (code !== 0) refuse(`npm ci ended with code ${code}`)
    console.error(`installing packages: done in ${((performance.now() - began) / 1000).toFixed(1)} s`)
  })
}

function npm(parameters) {
  const own = process.env.npm_execpath
  const [command, first] = own?.endsWith('.js') ? [process.execPath, [own]] : ['npm', []]
  return new Promise((resolve, reject) => {
    // stdout belongs to the program that follows.
    const child = spawn(command, [...first, ...parameters], { cwd: root, stdio: ['ignore', 2, 2] })
    child.once('error', reject)
    child.once('close', (code) => resolve(code ?? 1))
  })
}
