// `npm test`: lint, type check and all tests, whatever the outcome of the earlier ones; then what was skipped, and as
// the last line how many passed and failed. Arguments go to vitest, and then only the tests run.
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { canObtain, findProgram, howToGet, obtainProgram, RECEIVER_PROGRAMS } from './support/receivers/programs.ts'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const args = process.argv.slice(2)
let child

for (const signal of ['SIGINT', 'SIGTERM']) {
  // In a terminal the child has had it too; vitest takes a second one as impatience, so it goes on only once.
  process.on(signal, () => {
    if (!process.stdin.isTTY || signal === 'SIGTERM') child?.kill(signal)
  })
}

const folder = mkdtempSync(join(tmpdir(), 'distributor-results-'))
const results = join(folder, 'results.json')
const failures = []
if (args.length === 0) {
  for (const [title, program, parameters] of [
    ['lint', bin('@biomejs/biome', 'biome'), ['check']],
    ['typecheck', bin('typescript', 'tsc'), ['--noEmit']],
  ]) {
    const began = performance.now()
    const code = await run(program, parameters)
    console.log(`${title}: ${code === 0 ? 'clean' : 'failed'} (${((performance.now() - began) / 1000).toFixed(1)} s)`)
    if (code !== 0) failures.push(title)
  }
}
// Before the tests and not beside them, where it would slow them down. One that cannot be had fails or skips its tests.
if (args.length === 0) {
  for (const name of RECEIVER_PROGRAMS) {
    if (await canObtain(name)) await obtainProgram(name, console.log).catch((error) => console.log(error.message))
  }
}
const vitest = ['run', '--reporter=default', '--reporter=json', `--outputFile.json=${results}`, ...args]
const code = await run(bin('vitest', 'vitest'), vitest)
const report = read(results)
rmSync(folder, { recursive: true, force: true })

const tests = report?.testResults.flatMap((file) => file.assertionResults) ?? []
const passed = tests.filter((test) => test.status === 'passed').length
const skipped = tests.filter((test) => test.status !== 'passed' && test.status !== 'failed')
// A file that cannot be loaded has no tests to count.
const broken =
  report?.testResults.filter((file) => file.status === 'failed' && file.assertionResults.length === 0) ?? []
let failed = tests.length - passed - skipped.length + broken.length + failures.length
if (process.env.CI) failed += skipped.length
if (code !== 0 && failed === 0) failed = 1

for (const title of failures) console.log(`failed: ${title}`)
for (const test of skipped) console.log(`skipped: ${test.fullName}`)
if (skipped.length > 0) {
  for (const name of RECEIVER_PROGRAMS) if (!findProgram(name)) console.log(`no ${name}: ${howToGet(name)}`)
}
if (skipped.length === 0) console.log('nothing was skipped')
console.log(`${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1

function bin(packageName, command) {
  const manifest = createRequire(import.meta.url).resolve(`${packageName}/package.json`)
  const declared = JSON.parse(readFileSync(manifest, 'utf8')).bin
  return join(dirname(manifest), typeof declared === 'string' ? declared : declared[command])
}

function run(program, parameters) {
  return new Promise((resolve, reject) => {
    child = spawn(process.execPath, [program, ...parameters], { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] })
    child.once('error', reject)
    child.once('close', (exitCode) => resolve(exitCode ?? 1))
  })
}

function read(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    return undefined
  }
}
