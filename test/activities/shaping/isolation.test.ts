// Nothing of one evaluation outlives it: an expression that rewrites the library that runs it changes nothing for others,
// nor for its own tenant's next payload.
import { execFileSync } from 'node:child_process'
import { afterAll, describe, expect, it } from 'vitest'
import { createShaper } from '../../../activities/shaping/shaper.ts'
import { cachedByText, clearTextCaches } from '../../../activities/shaping/text-cache.ts'

const shaper = createShaper()
afterAll(() => shaper.close())

function evaluate(tenant: string, expression: string, payload: unknown = {}, by = shaper): Promise<string> {
  const words = {
    tenant_id: tenant,
    distribution_id: 'd',
    delivery_id: 'x',
    data_type: 't',
    accepted_at: new Date(0),
  }
  return by.shape(tenant, [{ expression }], Buffer.from(JSON.stringify(payload)), words).then(
    ({ body }) => body.toString(),
    (error: Error) => `refused: ${error.message}`,
  )
}

const HONEST = '{"iban": iban, "total": $sum(items.price), "name": $uppercase(name)}'
const SECRET = { iban: 'IT60X0542811101000000123456', items: [{ price: 10 }, { price: 32 }], name: 'x' }
const RIGHT = '{"iban":"IT60X0542811101000000123456","total":42,"name":"X"}'

/** Each makes `$sum` or another function answer something else, by a way that cannot be seen before it runs. */
const POISONS = [
  // Out of a function that is called, a list, a lookup and a payload's keys.
  '($get := function(){ $sum }; {} ~> |$get()|{"implementation": function($a){ 666 }}|; 1)',
  '($get := function(){ [$sum, $uppercase] }; {} ~> |$get()|{"implementation": $get}|; 1)',
  '($get := function(){ {"f": $sum} }; {} ~> |$lookup($get(), "f")|{"implementation": $get}|; 1)',
  '($get := function(){ $sum }; {} ~> |$get()|$$|; 1)',
  '($get := function(){ $sum }; {} ~> |$get()|{}, ["implementation", "signature"]|; 1)',
  '($get := function(){ $sum }; {} ~> |$get()|{}, "_jsonata" & "_function"|; 1)',
  '($get := function(){ $sum }; {} ~> |$get().signature|{"validate": $get}|; 1)',
  '($get := function(){ $clone }; {} ~> |$get()|{"implementation": $get}|; {} ~> |$|{"a":1}|; 1)',
  // The frames, the syntax tree and the options of the evaluation itself.
  `($f := function(){ 1 }; $get := function(){ $f }; {} ~> |$get()|{}, "_jsonata" & "_lambda"|;
    {} ~> |$get().environment.global|{"stash": $$.secret}|; {} ~> |$get().environment.base|{"depth": -1000000000}|;
    {} ~> |$get().body|{"type": "string", "value": "poisoned"}|; $get().environment.bind("sum", $get); 1)`,
]

describe('an expression', () => {
  it.each(POISONS)('changes nothing for other tenants or for the next payload of its tenant: %s', async (poison) => {
    expect(await evaluate('victim', HONEST, SECRET)).toBe(RIGHT)
    await evaluate('evil', poison, { implementation: 666, secret: 'of an earlier payload' })
    expect(await evaluate('victim', HONEST, SECRET)).toBe(RIGHT)
    expect(await evaluate('evil', HONEST, SECRET)).toBe(RIGHT)
  })

  it('leaves nothing that the next one can read', async () => {
    const open = '($f := function(){ 1 }; $get := function(){ $f }; {} ~> |$get()|{}, "_jsonata" & "_lambda"|;'
    const leave = `${open} {} ~> |$get().environment.global|{"stash": "kept"}|; $get().environment.global.stash)`
    expect(await evaluate('evil', leave)).toBe('"kept"')
    expect(await evaluate('evil', `${open} $get().environment.global.stash)`)).toBe('refused: finds nothing')
  })

  it.each([
    '{} ~> |$sum|{"implementation": $zip}|',
    '$ ~> |$uppercase|{}, "implementation"|',
    '($s := $sum; {} ~> |$s|{"implementation": 1}|)',
    '($a := $sum; $b := [1, $a]; {} ~> |$b|{"implementation": 1}|)',
    '($f := function($x){ $x }; {} ~> |$f|{"body": 1}|)',
    '($f := function($x){ $x }; {} ~> |$f.environment|{"base": 1}|)',
    '{} ~> |function($x){ $x }|{"body": 1}|',
    '{} ~> |(1; $sum)|{"implementation": 1}|',
    '{} ~> |true ? $sum : $zip|{"implementation": 1}|',
    '{} ~> |$substring(?, 1)|{"body": 1}|',
    '($r := /a/; {} ~> |$r|{"x": 1}|)',
    '{} ~> |$|{}, "_jsonata_function"|',
    '($t := |$sum|{"implementation": 1}|; {} ~> $t)',
    '$eval("1")',
    '($e := $eval; $e("1"))',
    '[3, 1] ~> $shuffle',
    '$random',
  ])('that visibly changes a function is refused when it is written: %s', async (expression) => {
    const [problem] = await shaper.checkShape('evil', { expression })
    expect(problem?.issue).toMatch(/functions cannot be changed|text may not become code|must be the same document/)
  })

  it.each([
    '$ ~> |items|{"total": $sum(price), "net": price / 1.22}|',
    '$ ~> |items[price > $max([1, 2])]|{"big": true}, ["price", "name"]|',
    '($f := function($x){ $x * 2 }; $ ~> |$map(items, function($i){ $i })|{"twice": $f(price)}|)',
    '($rows := items; $ ~> |$rows|{"seen": true}|)',
    'items ~> $map(function($i){ $i.price }) ~> $sum',
  ])('that changes a document is not: %s', async (expression) => {
    expect(await shaper.checkShape('acme', { expression })).toEqual([])
    expect(await evaluate('acme', expression, SECRET)).not.toMatch(/^refused/)
  })

  it('ends at once, with an error, when it waits for something that never happens', async () => {
    const message = /^refused: never ends: it waits for an object with a function named "then"/
    for (const expression of [
      '{"then": /a/}',
      '[{"then": /a/}, 1]',
      '{"x": {"then": /a/}}.x',
      '($f := function($x){ {"then": $x} }; $f(function($ok, $no){ 1 }))',
      '$map([1, 2], function($v){ {"then": /a/} })',
    ]) {
      expect(await evaluate('acme', expression), expression).toMatch(message)
    }
    expect(await evaluate('acme', '{"a": {"then": 1}, "b": $map([1], function($v){ $v })}')).toBe(
      '{"a":{"then":1},"b":1}',
    )
  })

  it('cannot leave its realm', async () => {
    const payload = { __proto__: 1, constructor: { prototype: { x: 1 } }, a: [1] }
    for (const name of ['constructor', '__proto__', 'prototype', 'toString']) {
      expect(await evaluate('acme', `$lookup($sum, "${name}")`, payload)).toBe('refused: finds nothing')
      expect(await evaluate('acme', `$lookup(a, "${name}")`, payload)).toBe('refused: finds nothing')
    }
    const polluted = '($merge([{"a": 1}, $$.p]); {} ~> |$|$$.p|; {"a": 1})'
    await evaluate('acme', polluted, JSON.parse('{"p": {"__proto__": {"polluted": 1}}}'))
    expect(await evaluate('acme', '{"a": {}.polluted, "b": 1}')).toBe('{"b":1}')
  })
})

describe('what is remembered', () => {
  it('is forgotten before the next tenant', () => {
    let made = 0
    const known = cachedByText((text) => `${text} ${++made}`)
    expect([known('a'), known('a')]).toEqual(['a 1', 'a 1'])
    clearTextCaches()
    expect(known('a')).toBe('a 2')
  })
})

describe.runIf(process.platform === 'linux')('a shaping process', () => {
  const running = () => execFileSync('ps', ['-o', 'pid=,args=', '--ppid', String(process.pid)]).toString()
  const pids = () => [...running().matchAll(/(\d+) .* shaping$/gm)].map(([, pid]) => pid!)

  /** The processes that carried out the payloads of these tenants, one after the other. */
  async function serving(expression: string, tenants: string[]): Promise<string[]> {
    const before = new Set(pids())
    const own = createShaper({ processes: 1, kept: 1 })
    const seen: string[] = []
    for (const tenant of tenants) {
      expect(await evaluate(tenant, expression, { x: 1 }, own)).toBe('{"x":1}')
      seen.push(...pids().filter((one) => !before.has(one)))
    }
    own.close()
    return seen
  }

  it('in which an expression with the update operator ran never serves another tenant', async () => {
    const [first, second, other, back] = await serving('$ ~> |$|{"x": 1}|', ['a', 'a', 'b', 'a'])
    expect(second).toBe(first)
    expect(new Set([first, other, back]).size).toBe(3)
  })

  it('serves another tenant if nothing was changed in it and no more may be created', async () => {
    expect(new Set(await serving('$', ['a', 'b', 'a'])).size).toBe(1)
  })

  it('is one of a limited number, even with many tenants', async () => {
    const before = new Set(pids())
    const own = createShaper({ processes: 2, kept: 3 })
    let most = 0
    const watching = setInterval(() => {
      most = Math.max(most, pids().filter((one) => !before.has(one)).length)
    }, 100)
    const tenants = Array.from({ length: 8 }, (_, n) => `t${n}`)
    const answers = await Promise.all(
      [...tenants, ...tenants].map((tenant) => evaluate(tenant, '$.x', { x: tenant }, own)),
    )
    clearInterval(watching)
    expect(answers).toEqual([...tenants, ...tenants].map((tenant) => JSON.stringify(tenant)))
    expect(most).toBeLessThanOrEqual(3)
    own.close()
  })
})
