// Which hosts an entry of `allowed_hosts` covers, in every spelling that a configuration may use.
import { describe, expect, it } from 'vitest'
import { allowedHostProblem, covers, coversEntry } from '../../../activities/destinations/secrets/allowed-hosts.ts'

describe('an entry of allowed_hosts', () => {
  it.each([
    ['example.net', 'example.net', true],
    ['example.net', 'EXAMPLE.net', true],
    ['Example.NET', 'example.net', true],
    ['example.net', 'example.net.', true],
    ['example.net.', 'example.net', true],
    ['127.0.0.1', '::ffff:127.0.0.1', true],
    ['example.net', '１２７.0.0.1', false],
    ['example.net', 'a.example.net', false],
    ['example.net', 'example.net.evil.org', false],
    ['example.net', 'evilexample.net', false],
    ['example.net', '', false],
    ['*.example.net', 'a.example.net', true],
    ['*.example.net', 'A.b.Example.NET.', true],
    ['*.example.net', 'example.net', false],
    ['*.example.net', '.example.net', false],
    ['*.example.net', 'evilexample.net', false],
    ['*.example.net', 'a.example.net.evil.org', false],
    ['*.0.0.1', '127.0.0.1', false],
    ['*.1', '127.0.0.1', false],
    ['127.0.0.1', '127.0.0.1', true],
    ['127.0.0.1', '127.1', true],
    ['127.0.0.1', '127.0.0.2', false],
    ['::1', '[::1]', true],
    ['[::1]', '::1', true],
    ['0:0:0:0:0:0:0:1', '::1', true],
    ['2001:DB8::A', '2001:db8:0:0:0:0:0:a', true],
    ['::1', '::2', false],
    ['xn--bcher-kva.example', 'bücher.example', true],
  ])('%s covers %s: %s', (entry, host, expected) => {
    expect(covers([entry], host)).toBe(expected)
  })

  it('covers no host if it is empty', () => {
    expect(covers([], 'example.net')).toBe(false)
  })

  it.each(['*', '*.', '*.*.example.org', 'a.*.example.org', 'example.org:443', 'https://example.org', 'example.org/x'])(
    'is refused: %s',
    (entry) => {
      expect(allowedHostProblem(entry)).toBeDefined()
    },
  )

  it.each(['127.0.0.1:80', '[::1]:80', '*.127.0.0.1', 'a b', '', 'user@example.org', 'x'.repeat(300)])(
    'is refused: %s',
    (entry) => {
      expect(allowedHostProblem(entry)).toBeDefined()
    },
  )

  it.each(['example.org', 'EXAMPLE.org.', '*.example.org', '10.0.0.8', '::1', '[2001:db8::1]', 'my_host', 'localhost'])(
    'is taken: %s',
    (entry) => {
      expect(allowedHostProblem(entry)).toBeUndefined()
    },
  )

  it.each([
    [['a.example'], 'a.example', true],
    [['*.example'], 'a.example', true],
    [['*.example'], '*.a.example', true],
    [['*.example'], '*.example', true],
    [['a.example'], '*.a.example', false],
    [['*.a.example'], '*.example', false],
    [[], 'a.example', false],
  ])('%j covers the entry %s: %s', (entries, entry, expected) => {
    expect(coversEntry(entries, entry)).toBe(expected)
  })
})
