// The process in which payloads of one tenant are shaped and checked, one at a time. It runs expressions, regular expressions
// and schemas of tenants, which may never end or may use all memory; then only this process is killed. Before it serves another
// tenant it forgets everything of the previous one. After an expression that can change objects it serves no other tenant.
import { writeFileSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import { type Costly, costlyProblems } from './costly-parts.ts'
import { readNumbers } from './exact-numbers.ts'
import { documentProblems, jsonSchemaProblems } from './json-schema.ts'
import type { Order, Outcome, Report } from './messages.ts'
import { forgetRealm, hasUpdated } from './realm/realm.ts'
import { shaped } from './shape.ts'
import { ShapingError } from './shaping-error.ts'
import { clearTextCaches } from './text-cache.ts'
import { WATCH, type Watched } from './watch.ts'

/** See `Watched`. */
const current = new Int32Array(new SharedArrayBuffer(8))
let orders = 0
let tenant: string | undefined

function switchTo(tenantId: string): void {
  if (tenant === tenantId) return
  if (tenant !== undefined && hasUpdated()) throw new Error('this process belongs to another tenant')
  tenant = tenantId
  clearTextCaches()
  forgetRealm()
}

async function carryOut(order: Order): Promise<Outcome> {
  orders += 1
  Atomics.store(current, 1, order.limitMs)
  Atomics.store(current, 0, orders)
  try {
    switchTo(order.tenantId)
    if (order.kind === 'check_schema') {
      const schema = readNumbers(order.schema).value as Record<string, unknown> | boolean
      return { kind: 'checked', problems: jsonSchemaProblems(schema, order.schema) }
    }
    if (order.kind === 'check_shape') {
      return { kind: 'checked', problems: costlyProblems(JSON.parse(order.parts) as Costly) }
    }
    if (order.kind === 'check') {
      const document = readNumbers(bufferOf(order.document).toString('utf8'))
      return { kind: 'checked', problems: documentProblems(order.schema, document, order.document.length) }
    }
    const result = await shaped(order.shapes, bufferOf(order.payload), order.words, order.warns)
    return { kind: 'shaped', ...result }
  } catch (error) {
    if (error instanceof ShapingError) return { kind: 'refused', step: error.step, message: error.message }
    // A stack overflow of our own code; those of expressions and schemas are caught elsewhere.
    if (error instanceof RangeError)
      return { kind: 'refused', step: 'limits', message: 'it is too large or nests too deep' }
    return { kind: 'broken', error: error instanceof Error ? (error.stack ?? error.message) : String(error) }
  }
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

function say(report: Report): void {
  process.send?.(report)
}

// When the machine runs out of memory, Linux ends this process and not its parent. Other systems do not have the file.
try {
  writeFileSync('/proc/self/oom_score_adj', '1000')
} catch {}
// Ctrl-C reaches every process of the terminal; the parent ends this process after its last delivery.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {})
process.on('disconnect', () => process.exit(0))
// A promise that one order left behind must not end the process during the next order.
process.on('unhandledRejection', () => {})
process.on('message', (order: Order) => {
  const before = process.cpuUsage()
  void carryOut(order).then((outcome) => {
    Atomics.store(current, 0, 0)
    const { user, system } = process.cpuUsage(before)
    say({
      kind: 'done',
      outcome,
      used_ms: (user + system) / 1000,
      held_bytes: process.memoryUsage.rss(),
      bound: hasUpdated(),
    })
  })
})
const watched: Watched = { order: current, idleMs: Number(process.argv[2]) }
const watch = new Worker(WATCH, { eval: true, execArgv: [], workerData: watched })
// Sent only after the watch has started: its start needs this thread, which an order may keep busy.
watch.once('message', () => {
  watch.unref()
  say({ kind: 'ready' })
})
