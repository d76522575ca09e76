// The processes in which shaping runs: what one payload may cost, and that others do not pay for it.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { createShaper } from '../../../activities/shaping/shaper.ts'
import { ShapingError } from '../../../activities/shaping/shaping-error.ts'

const WORDS = { tenant_id: 'acme', distribution_id: 'd', delivery_id: 'x', data_type: 't', accepted_at: new Date(0) }
const REGEX_WITHOUT_END = { expression: '$match(a, /(a+)+$/)' }
const EXPLODING = Buffer.from(JSON.stringify({ a: `${'a'.repeat(60)}!` }))

/** Of the processor's time: however busy the machine is, it says the same. */
const shaper = createShaper({ timeoutMs: 1500, memoryMb: 192 })
afterAll(() => shaper.close())
const PATIENT = 120_000

const shape = (config: object, payload = Buffer.from('{"a":1.0}'), tenant = 'acme') =>
  shaper.shape(tenant, [config], payload, WORDS)

function shapingProcessesOf(parent: number): string[] {
  const running = execFileSync('ps', ['-o', 'pid=,args=', '--ppid', String(parent)]).toString()
  return [...running.matchAll(/(\d+) .* shaping$/gm)].map(([, pid]) => pid!)
}

describe('shaping', () => {
  it(
    'takes ten megabytes, and leaves the event loop of its caller alone',
    async () => {
      const row = `{"id":12345678901234567890,"fee":1.0,"text":"${'x'.repeat(60)}"}`
      const payload = Buffer.from(`{"rows":[${Array(100_000).fill(row).join(',')}]}`)
      const usual = createShaper()
      let longest = 0
      let last = performance.now()
      const watching = setInterval(() => {
        const now = performance.now()
        longest = Math.max(longest, now - last)
        last = now
      }, 5)
      const { body } = await usual.shape('acme', [{ exclude: ['rows.text'], output: 'ndjson' }], payload, WORDS)
      clearInterval(watching)
      usual.close()
      expect(body.toString()).toMatch(/^\{"rows":\[\{"id":12345678901234567890,"fee":1.0\},/)
      expect(longest).toBeLessThan(1000)
    },
    PATIENT,
  )

  it(
    'ends what runs without end, while others go on',
    async () => {
      await Promise.all([shape({ include: ['a'] }), shape({ include: ['a'] }, undefined, 'other')])
      const endless = [shape(REGEX_WITHOUT_END, EXPLODING), shape(REGEX_WITHOUT_END, EXPLODING)].map((one) =>
        one.then(
          () => 'shaped',
          (error: Error) => error.message,
        ),
      )
      let ended = 0
      for (const one of endless) void one.then(() => ended++)
      // Another tenant has a process to itself, whatever the first one does with the other.
      for (let count = 0; count < 5; count++) {
        expect((await shape({ include: ['a'] }, undefined, 'other')).body.toString()).toBe('{"a":1.0}')
      }
      // They take turns on that one.
      expect(ended).toBeLessThan(2)
      expect(await Promise.all(endless)).toEqual(['it took longer than 1.5 s', 'it took longer than 1.5 s'])
      expect((await shape({ include: ['a'] })).body.toString()).toBe('{"a":1.0}')
    },
    PATIENT,
  )

  it(
    'ends the check of a document sooner than a shape, because a submission waits for it',
    async () => {
      const own = createShaper({ checkMs: 400 })
      const document = Buffer.from(JSON.stringify({ a: `${'a'.repeat(60)}!` }))
      const check = own.check('acme', { properties: { a: { pattern: '^(a+)+$' } } }, document)
      await expect(check).rejects.toThrow(/^it took longer than 0.4 s$/)
      // More than twice as much work as a check may do, and honest.
      const slow = { expression: '$sum([1..1500000].($ * 2))' }
      expect((await own.shape('acme', [slow], Buffer.from('{}'), WORDS)).body.toString()).toBe('2250001500000')
      own.close()
    },
    PATIENT,
  )

  it(
    'gives a tenant that has none a process soon, whatever two others do',
    async () => {
      const own = createShaper()
      const run = (tenant: string, config: object, payload: Buffer) => own.shape(tenant, [config], payload, WORDS)
      await run('honest', { include: ['a'] }, Buffer.from('{"a":1}'))
      const settled: string[] = []
      const endless = ['a', 'b'].map((tenant) =>
        run(tenant, REGEX_WITHOUT_END, EXPLODING).then(
          () => settled.push(tenant),
          (error: Error) => settled.push(error.message),
        ),
      )
      // Both have a process, and each may use 20 s of the processor.
      for (let count = 0; count < 3; count++) {
        const { body } = await run('honest', { include: ['a'] }, Buffer.from('{"a":1}'))
        expect(body.toString()).toBe('{"a":1}')
      }
      expect(settled).toEqual([])
      own.close()
      await Promise.all(endless)
    },
    PATIENT,
  )

  it.each([
    '[1..4000000].[1..4000000]',
    '$pad("x", 500000000)',
    '$map([1..3000000], function($v){ {"a": $v, "b": [$v]} })',
  ])('ends an expression that takes all memory, and no other process: %s', async (expression) => {
    const error = await shape({ expression }).then(
      () => undefined,
      (thrown: unknown) => thrown,
    )
    expect(error).toBeInstanceOf(ShapingError)
    expect((error as ShapingError).message).toMatch(/more than 192 MiB|longer than|more than 33554432 bytes/)
    expect((await shape({ include: ['a'] })).body.toString()).toBe('{"a":1.0}')
  })

  it(
    'reads a schema that refers to one definition many times',
    async () => {
      const fields = (count: number, schema: object) =>
        Object.fromEntries(Array.from({ length: count }, (_, n) => [`k${n}`, schema]))
      const a = { type: 'object', properties: fields(300, { type: 'string' }) }
      const output_schema = { $defs: { a }, properties: fields(500, { $ref: '#/$defs/a' }) }
      const patient = createShaper({ timeoutMs: 10_000 })
      expect(await patient.checkShape('acme', { output_schema, expression: '(' })).toEqual([
        { path: ['expression'], issue: expect.stringMatching(/^is not JSONata/) },
      ])
      patient.close()
    },
    PATIENT,
  )

  it(
    'waits no longer than its caller does, and lets the next one through',
    async () => {
      const own = createShaper({ processes: 1, timeoutMs: 1500 })
      await own.shape('acme', [{ include: ['a'] }], Buffer.from('{"a":1}'), WORDS)
      const running = own.shape('acme', [REGEX_WITHOUT_END], EXPLODING, WORDS, AbortSignal.abort(new Error('gone')))
      await expect(running).rejects.toThrow('gone')
      const both = new AbortController()
      const first = own.shape('acme', [REGEX_WITHOUT_END], EXPLODING, WORDS, both.signal)
      const second = own.shape('acme', [REGEX_WITHOUT_END], EXPLODING, WORDS, both.signal)
      const other = own.shape('other', [{ include: ['a'] }], Buffer.from('{"a":1}'), WORDS)
      both.abort(new Error('gone too'))
      await expect(first).rejects.toThrow('gone too')
      await expect(second).rejects.toThrow('gone too')
      expect((await other).body.toString()).toBe('{"a":1}')
      own.close()
    },
    PATIENT,
  )

  it.runIf(process.platform === 'linux')(
    'blames nobody for a process that was killed or hardly got to run',
    async () => {
      const own = createShaper({ processes: 1, kept: 1, timeoutMs: 400, silentMs: 2000 })
      for (const signal of ['SIGKILL', 'SIGSTOP'] as const) {
        const before = new Set(shapingProcessesOf(process.pid))
        await own.shape('acme', [{ include: ['a'] }], Buffer.from('{"a":1}'), WORDS)
        const [pid] = shapingProcessesOf(process.pid).filter((one) => !before.has(one))
        process.kill(Number(pid), signal)
        const lost = await own.shape('acme', [{ include: ['a'] }], Buffer.from('{"a":1}'), WORDS).catch((e) => e)
        // A kill may be noticed before the next order is given: then it is carried out by another process.
        if (signal === 'SIGSTOP') expect(lost).toBeInstanceOf(Error)
        expect(lost).not.toBeInstanceOf(ShapingError)
      }
      own.close()
    },
    PATIENT,
  )

  it.runIf(process.platform === 'linux')('is what the kernel ends first when memory is short', async () => {
    await shape({ include: ['a'] })
    const [pid] = shapingProcessesOf(process.pid)
    expect(readFileSync(`/proc/${pid}/oom_score_adj`, 'utf8').trim()).toBe('1000')
  })

  it.runIf(process.platform === 'linux')('gives nothing of its caller to what it runs', async () => {
    const { body } = await shape({ expression: '$keys($distribution)' })
    expect(JSON.parse(body.toString())).toEqual(['tenant_id', 'distribution_id', 'delivery_id', 'data_type'])
    const [pid] = shapingProcessesOf(process.pid)
    expect(readFileSync(`/proc/${pid}/environ`, 'utf8')).not.toMatch(/PATH|HOME|TEST_|=.*KEY/)
  })

  it('checks a document against a schema, by the path to each fault', async () => {
    const schema = {
      properties: {
        rows: { items: { properties: { fee: { type: 'number' } }, required: ['id'], additionalProperties: false } },
      },
    }
    const document = Buffer.from('{"rows":[{"id":1,"fee":"a"},{"fee":99999999999999999999},{"id":1,"fee":1,"~/x":2}]}')
    expect(await shaper.check('acme', { ...schema, properties: { ...schema.properties } }, document)).toEqual(
      expect.arrayContaining([
        { path: ['rows', 0, 'fee'], issue: 'must be number' },
        { path: ['rows', 1, 'id'], issue: 'is required' },
        { path: ['rows', 2, '~/x'], issue: 'is not allowed here' },
      ]),
    )
  })

  it.runIf(process.platform === 'linux')(
    'leaves nothing behind when its caller is killed in the middle of it',
    async () => {
      const tsx = import.meta.resolve('tsx')
      const program = fileURLToPath(new URL('./endless.ts', import.meta.url))
      const caller = spawn(process.execPath, ['--import', tsx, program], { stdio: ['ignore', 'pipe', 'inherit'] })
      await once(caller.stdout, 'data')
      const [shaping] = shapingProcessesOf(caller.pid!)
      expect(shaping).toBeDefined()
      caller.kill('SIGKILL')
      await expect.poll(() => existsSync(`/proc/${shaping}`), { timeout: 20_000 }).toBe(false)
    },
    PATIENT,
  )

  it(
    'ends with its caller',
    async () => {
      const own = createShaper({ processes: 1 })
      await own.shape('acme', [{ include: ['a'] }], Buffer.from('{"a":1}'), WORDS)
      const under = own.shape('acme', [REGEX_WITHOUT_END], EXPLODING, WORDS)
      own.close()
      await expect(under).rejects.toThrow(/ended/)
      await expect(own.shape('acme', [{ include: ['a'] }], Buffer.from('{"a":1}'), WORDS)).rejects.toThrow('has ended')
    },
    PATIENT,
  )
})
