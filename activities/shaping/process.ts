// The process in which payloads are shaped and checked, one at a time. What tenants write runs here: an expression, a
// regular expression or a schema may run without end or take all memory, and then this process is ended and nothing else.
import { writeFileSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import { type Shape, shapeConfig } from './config.ts'
import { documentProblems, jsonSchemaProblems } from './json-schema.ts'
import { type Costly, costlyProblems } from './judge.ts'
import type { Order, Outcome, Report } from './messages.ts'
import { remembered } from './remembered.ts'
import { shaped } from './shape.ts'
import { ShapingError } from './shaping-error.ts'

/**
 * A thread of its own, for a loop or a regular expression lets nothing else in: it ends the process when an order has taken
 * too much of the processor's time (a busy machine is nobody's fault), and when the parent is gone.
 */
const WATCH = `
const { parentPort, workerData } = require('node:worker_threads')
const { order, limit } = workerData
const parent = process.ppid
let watched = 0
let before = 0
setInterval(() => {
  if (process.ppid !== parent) process.kill(process.pid, 'SIGKILL')
  const { user, system } = process.cpuUsage()
  const used = (user + system) / 1000
  const current = Atomics.load(order, 0)
  if (current !== watched) [watched, before] = [current, used]
  else if (current !== 0 && used - before > limit) process.kill(process.pid, 'SIGXCPU')
}, 100)
parentPort.postMessage('watching')
`
/** The order that is being carried out; 0 for none. */
const current = new Int32Array(new SharedArrayBuffer(4))
let orders = 0

async function carryOut(order: Order): Promise<Outcome> {
  const { id } = order
  orders += 1
  Atomics.store(current, 0, orders)
  try {
    if (order.kind === 'judge') {
      const schema = JSON.parse(order.schema) as Record<string, unknown> | boolean
      return { kind: 'checked', id, problems: jsonSchemaProblems(schema) }
    }
    if (order.kind === 'judge_shape') {
      return { kind: 'checked', id, problems: costlyProblems(JSON.parse(order.parts) as Costly) }
    }
    if (order.kind === 'check') {
      const document: unknown = JSON.parse(bufferOf(order.document).toString('utf8'))
      return { kind: 'checked', id, problems: documentProblems(order.schema, document, order.document.length) }
    }
    const result = await shaped(order.shapes.map(readShape), bufferOf(order.payload), order.words)
    return { kind: 'shaped', id, ...result }
  } catch (error) {
    if (error instanceof ShapingError) return { kind: 'refused', id, step: error.step, message: error.message }
    // Of a stack of ours: everything else is caught where it happens.
    if (error instanceof RangeError)
      return { kind: 'refused', id, step: 'limits', message: 'it is too large or nests too deep' }
    return { kind: 'broken', id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) }
  }
}

/** What was stored is what was checked, unless a newer version checks more. */
const readShape = remembered((text): Shape => {
  const parsed = shapeConfig.safeParse(JSON.parse(text))
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  throw new ShapingError('limits', `the stored configuration is not valid: ${issue!.path.join('.')}: ${issue!.message}`)
})

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

function say(report: Report): void {
  process.send?.(report)
}

// When the machine runs out of memory, this process goes and not the one that it works for. Linux alone knows the file.
try {
  writeFileSync('/proc/self/oom_score_adj', '1000')
} catch {}
// Ctrl-C reaches every process of the terminal; the parent ends this one once its last delivery is done.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {})
process.on('disconnect', () => process.exit(0))
// What one order may have left behind must not end the work on the next one, which is another tenant's.
process.on('unhandledRejection', () => {})
process.on('message', (order: Order) => {
  const before = process.cpuUsage()
  void carryOut(order).then((outcome) => {
    Atomics.store(current, 0, 0)
    const { user, system } = process.cpuUsage(before)
    say({ kind: 'done', outcome, used_ms: (user + system) / 1000 })
  })
})
const limit = Number(process.argv[2])
const watch = new Worker(WATCH, { eval: true, execArgv: [], workerData: { order: current, limit } })
// Not before: its start needs this thread, which an order may keep for itself.
watch.once('message', () => {
  watch.unref()
  say({ kind: 'ready' })
})
